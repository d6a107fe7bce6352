"""Prompts as a model gets them: coordinates and labels, in SAM's convention."""

import numpy as np
from jaxtyping import Float32, Int

from zim_plugins.core.prompt import Prompt

PAD, BACKGROUND, FOREGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""Labels of prompt tokens; the last two are a box's corners."""


def prompt_tokens(prompt: Prompt) -> tuple[Float32[np.ndarray, "n 2"], Int[np.ndarray, " n"]]:
    """Clicks, then the box's corners, as XY [px of the prompt's own frame] and labels.

    As in SAM, one token of padding follows where there is no box.
    """
    points = np.zeros((0, 2)) if prompt.points is None else prompt.points
    labels = np.zeros(0, dtype=np.int64) if prompt.labels is None else prompt.labels
    if prompt.box is not None:
        points = np.concatenate([points, prompt.box.reshape(2, 2)])
        labels = np.concatenate([labels, [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]])
    else:
        points = np.concatenate([points, np.zeros((1, 2))])
        labels = np.concatenate([labels, [PAD]])
    return points.astype(np.float32), labels.astype(np.int64)
