"""A second look: the model's own first answer, and the click a user would add to it, become part of the prompt."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from zim_plugins.core.modeling.layers import upsample
from zim_plugins.core.tokens import PAD
from zim_plugins.training.samples.prompts import worst_error

CORRECTED_SHARE = 0.6
"""Rows that get one more click where the first answer is most wrong."""
MATTE_SHARE = 0.6
"""Rows that keep the first answer as a coarse matte, as the zoom pass does."""


def look_again(
    first: Float[Tensor, "b 1 s s"],
    target: Float[Tensor, "b f f"],
    valid: Float[Tensor, "b f f"],
    coords: Float[Tensor, "b n 2"],
    labels: Int[Tensor, "b n"],
    each: Sequence[np.random.Generator],
    reduction: int,
) -> tuple[Float[Tensor, "b k 2"], Int[Tensor, "b k"], Float[Tensor, "b 1 f f"]]:
    """Prompts for the second answer, k = n + 1.

    Args:
        first: logits of the first answer.
        target: mattes in [0, 1] over the frame.
        valid: 1 on the image, 0 on the frame's padding.
        coords: the first prompt's clicks and corners, XY in frame pixels.
        labels: as in the prompt encoder; -1 is padding.
        each: for every row, decides what it gets.
        reduction: the zoom pass sees a first answer that was so many times smaller.

    Returns:
        Coordinates and labels with one more click (or padding) each, and coarse mattes; -1 where a row has none.
    """
    frame, side = target.shape[-1], first.shape[-1]
    found = (first[:, 0] > 0).cpu().numpy()
    wanted = F.interpolate(target[:, None], size=(side, side), mode="area")[:, 0].cpu().numpy() > 0.5
    seen = F.interpolate(valid[:, None], size=(side, side), mode="area")[:, 0].cpu().numpy() > 0.5
    more = np.zeros((len(found), 1, 2), dtype=np.float32)
    kinds = np.full((len(found), 1), PAD, dtype=np.int64)
    for row in (i for i, rng in enumerate(each) if rng.random() < CORRECTED_SHARE):
        click = worst_error(wanted[row] & seen[row], found[row] & seen[row])
        if click is not None:
            more[row, 0] = (np.array(click[:2], dtype=np.float32) + 0.5) * (frame / side)
            kinds[row, 0] = click[2]
    alpha = upsample(F.avg_pool2d(first.float().sigmoid(), reduction), (frame, frame))
    kept = torch.tensor([rng.random() < MATTE_SHARE for rng in each], device=alpha.device)
    alpha = torch.where(kept[:, None, None, None], alpha, -1)
    coords = torch.cat([coords, torch.from_numpy(more).to(coords)], dim=1)
    return coords, torch.cat([labels, torch.from_numpy(kinds).to(labels)], dim=1), alpha
