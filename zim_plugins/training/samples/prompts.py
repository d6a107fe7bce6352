"""Prompts drawn from a matte, as in training and as a user would give them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging import geometry


@dataclass(frozen=True)
class PromptSampling:
    """Frequency and roughness of each kind of prompt.

    Box jitter follows the paper (up to 10 % of the box's size); how it mixes clicks and boxes is not published, so
    the shares are this project's.
    """

    box_share: float = 0.6
    """Prompts that hold a box."""
    box_and_clicks_share: float = 0.3
    """Of those, the ones that hold clicks as well."""
    box_jitter: float = 0.1
    """Largest move of a box's side, as a share of the box's width or height."""
    deepest_share: float = 0.5
    """First clicks that land on the deepest point of the object; the others land anywhere on it."""
    max_positive: int = 3
    max_negative: int = 2

    @property
    def max_tokens(self) -> int:
        """Clicks and the corners of a box, at most."""
        return self.max_positive + self.max_negative + 2


def tight_box(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 4"]:
    """The smallest box round the True pixels, X1 Y1 X2 Y2 [px], outer edges.

    Raises:
        ValueError: the mask is empty.
    """
    box = geometry.tight_box(mask)
    if box is None:
        raise ValueError("an empty mask has no box")
    return np.array(box, dtype=np.float64)


def deepest_point(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    """The point of the mask farthest from its border, XY [px], the centre of a pixel."""
    distance = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return float(x) + 0.5, float(y) + 0.5


def worst_error(
    wanted: Bool[np.ndarray, "h w"], found: Bool[np.ndarray, "h w"], allowed: Bool[np.ndarray, "h w"] | None = None
) -> tuple[int, int, int] | None:
    """The next click of the simulated user of f-BRS and RITM (Sofiiuk et al. 2020, 2021).

    Args:
        wanted: the object.
        found: the answer so far.
        allowed: pixels that may be clicked; None for all.

    Returns:
        Column, row and label of the deepest pixel of what is missing (1) or superfluous (0), whichever is deeper, the
        first of equals in raster order; None where no allowed pixel is wrong.
    """
    depths = []
    for wrong in (found & ~wanted, wanted & ~found):
        depth = np.asarray(ndimage.distance_transform_edt(np.pad(wrong, 1)))[1:-1, 1:-1]
        depths.append(depth if allowed is None else depth * allowed)
    label = int(depths[1].max() > depths[0].max())
    y, x = np.unravel_index(int(depths[label].argmax()), wanted.shape)
    return (int(x), int(y), label) if depths[label][y, x] > 0 else None


def sample_prompt(
    alpha: Float32[np.ndarray, "h w"], rng: np.random.Generator, how: PromptSampling = PromptSampling()
) -> Prompt:
    """Draw one prompt for a matte whose pixels above 0.5 are the object.

    Raises:
        ValueError: no pixel is above 0.5.
    """
    mask = alpha > 0.5
    height, width = mask.shape
    box = tight_box(mask)
    drawn_box = None
    if rng.random() < how.box_share:
        extent = np.array([box[2] - box[0], box[3] - box[1]] * 2)
        drawn_box = box + rng.uniform(-how.box_jitter, how.box_jitter, 4) * extent * rng.uniform(0, 1)
        drawn_box = np.clip(drawn_box, 0, [width, height, width, height])
        if (drawn_box[2:] - drawn_box[:2] < 2).any():
            drawn_box = box
        if rng.random() >= how.box_and_clicks_share:
            return Prompt(box=drawn_box)
    points, labels = [], []
    inside = np.argwhere(mask)
    n = int(rng.integers(1, how.max_positive + 1)) if rng.random() < 0.5 else 1
    for k in range(n):
        if k == 0 and rng.random() < how.deepest_share:
            points.append(deepest_point(mask))
        else:
            y, x = inside[rng.integers(len(inside))]
            points.append((x + 0.5, y + 0.5))
        labels.append(1)
    if rng.random() < 0.4:
        pad = 0.3 * (box[2:] - box[:2])
        x1, y1 = np.maximum(box[:2] - pad, 0).astype(int)
        x2, y2 = np.minimum(box[2:] + pad, [width, height]).astype(int)
        outside = np.argwhere(alpha[y1:y2, x1:x2] < 0.05)
        for _ in range(int(rng.integers(1, how.max_negative + 1)) if len(outside) else 0):
            y, x = outside[rng.integers(len(outside))]
            points.append((x1 + x + 0.5, y1 + y + 0.5))
            labels.append(0)
    return Prompt(points=np.array(points, dtype=np.float64), labels=np.array(labels), box=drawn_box)
