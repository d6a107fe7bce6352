"""Clicks from NVOS's scribbles, as SA3D takes them: pixels of the skeleton, thinned at random."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from zim_plugins.core import Prompt

from .datasets import LabelError, Scribbles, read_drawn

POSITIVE_SHARE, NEGATIVE_SHARE = 0.02, 0.005
"""Shares of the skeletons' pixels that become clicks, in SA3D's load_nvos."""
MAX_STRETCH = 0.02
"""How far the scribbles' aspect ratio may be from the view's."""


def scribble_prompt(scribbles: Scribbles, size: tuple[int, int], seed: int) -> Prompt:
    """Clicks of a view.

    Args:
        scribbles: images of strokes, of any resolution.
        size: (H, W) of the view [px], to which clicks are scaled.
        seed: of the thinning; the same seed gives the same clicks.

    Raises:
        LabelError: scribbles are empty, damaged or of another shape than the view.
    """
    rng = np.random.default_rng(seed)
    points, labels = [], []
    for files, share, label in ((scribbles.positive, POSITIVE_SHARE, 1), (scribbles.negative, NEGATIVE_SHARE, 0)):
        drawn = _union(files)
        check_shape(files[0], drawn.shape, size)
        kept = thin(drawn, share, rng)
        if not len(kept):
            raise LabelError(f"{files[0]} is empty: nothing is drawn on it")
        points.append(kept * [size[1] / drawn.shape[1], size[0] / drawn.shape[0]])
        labels.append(np.full(len(kept), label))
    return Prompt(points=np.concatenate(points), labels=np.concatenate(labels))


def thin(drawn: Bool[np.ndarray, "h w"], share: float, rng: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    """Centres of the skeleton's pixels that survive, XY [px]; one at least, so that a short stroke still counts.

    Args:
        share: probability that a pixel survives.
        rng: drawn from once for each pixel of the skeleton, in reading order.
    """
    from skimage.morphology import skeletonize

    ys, xs = np.nonzero(skeletonize(drawn))
    pixels = np.stack([xs, ys], axis=1) + 0.5
    if not len(pixels):
        return pixels
    chances = rng.random(len(pixels))
    survives = chances < share
    survives[chances.argmin()] = True
    return pixels[survives]


def check_shape(path: Path, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Raise LabelError where a label's aspect ratio is not that of its view of `size` (H, W)."""
    stretch = shape[1] / shape[0] / (size[1] / size[0])
    # A row or column of pixels that a down-scaling drops is allowed for.
    if abs(stretch - 1) > MAX_STRETCH + 1 / min(*shape[:2], *size):
        raise LabelError(
            f"{path} is {shape[1]}x{shape[0]} px, its view {size[1]}x{size[0]}: they are not of one shape, so it "
            "belongs to another image or a cropped one"
        )


def _union(files: Sequence[Path]) -> Bool[np.ndarray, "h w"]:
    drawn = [read_drawn(path) for path in files]
    if len({one.shape for one in drawn}) > 1:
        raise LabelError(f"{', '.join(map(str, files))} are of different sizes")
    return np.logical_or.reduce(drawn)
