"""Prompts for a view, from the rendering of what earlier views have put into the grid.

Positive clicks follow SA3D (Cen et al. 2023, and the authors' `mask_to_prompt`): the highest score first, then again
and again the score less its distance in 3D to the nearest click. The authors scale that distance by the highest score
inside the 2D model's dilated answer to the clicks so far, one decoding per click. That answer contains the first click,
whose score is the highest of all, so the scale is the highest score and no decoding is needed.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.ndimage import distance_transform_edt, label, uniform_filter

from zim_plugins.core import Prompt
from zim_plugins.imaging import tight_box

from .rendering import Rendering

CERTAIN_ALPHA = 0.9
"""Positive clicks fall on pixels of at least this share of the rendering's highest opacity."""
BACKGROUND_ALPHA = 0.05
"""Negative clicks fall on observed pixels below this opacity."""
PART_SHARE = 0.25
"""Parts of the rendering smaller than this share of the largest are taken for specks."""
_TAKEN = -1e5


def self_prompt(
    rendering: Rendering,
    depth: Float32[np.ndarray, "h w"],
    *,
    prompting: Literal["points", "box"] = "points",
    num_prompts: int = 10,
    num_negatives: int = 3,
    centred: bool = True,
) -> Prompt | None:
    """The prompt for a view; None where the rendering shows no object.

    Args:
        rendering: of the view.
        depth: expected distance along the rays.
        prompting: clicks, or the box of the rendering's large parts with a click in the middle of the largest.
        num_prompts: positive clicks at most.
        num_negatives: negative clicks at most; none beside a box.
        centred: choose among certain pixels, those in the middle of many first. False takes the scores as they are, as
            SA3D's unbounded scores ask for: opacities saturate, and the highest of them may lie at the rim.
    """
    if rendering.score.max() <= 0:
        return None
    if prompting == "box":
        return _box_and_click(rendering.alpha)
    area = float(rendering.alpha.sum())
    score = _centred(rendering, area) if centred else rendering.score
    points = decayed_clicks(score, depth, num_prompts, area)
    negatives = background_clicks(rendering, num_negatives, area)
    rows_columns = np.concatenate([points, negatives])
    labels = np.r_[np.ones(len(points), dtype=np.int64), np.zeros(len(negatives), dtype=np.int64)]
    return Prompt(points=rows_columns[:, ::-1] + 0.5, labels=labels)


def without_click(prompt: Prompt) -> list[Prompt]:
    """Return the box of a box with a click as a prompt of its own; nothing for other prompts.

    A click in the middle of the object may make a model take the part that it lies on for the whole; the view is
    matted from both, and what agrees better with the object so far counts.
    """
    return [] if prompt.box is None or prompt.points is None else [Prompt(box=prompt.box)]


def decayed_clicks(
    score: Float32[np.ndarray, "h w"], depth: Float32[np.ndarray, "h w"], count: int, area: float
) -> Int[np.ndarray, "n 2"]:
    """At most `count` pixels (row, column) of high score, near one another in 3D but not in the image.

    Args:
        score: positive inside the object, somewhere.
        depth: expected distance along the rays.
        count: pixels at most; fewer where no positive score is left.
        area: of the object [px]; chosen pixels are at least a quarter of the radius of such a disk apart on one axis.
    """
    height, width = score.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    place = np.stack([rows / height, columns / width, _min_max(depth)])
    half = max(int(np.sqrt(area / np.pi)) // 2, 2)
    left = score.astype(np.float32).copy()
    highest = float(left.max())
    reach = np.full_like(left, np.inf)
    chosen = [np.unravel_index(int(left.argmax()), left.shape)]
    while len(chosen) < count:
        row, column = chosen[-1]
        distance = np.sqrt(((place - place[:, row, column, None, None]) ** 2).sum(0))
        reach = np.minimum(reach, _min_max(distance))
        left[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = _TAKEN
        decayed = left - highest * reach
        best = int(decayed.argmax())
        if decayed.flat[best] <= 0:
            break
        chosen.append(np.unravel_index(best, left.shape))
    return np.array(chosen, dtype=np.int64)


def background_clicks(rendering: Rendering, count: int, area: float) -> Int[np.ndarray, "n 2"]:
    """At most `count` observed pixels (row, column) just outside the object, far from one another."""
    outside = rendering.alpha < BACKGROUND_ALPHA
    distance = np.asarray(distance_transform_edt(outside))
    ring = outside & (rendering.observed > 0.5) & (distance >= 2) & (distance <= max(0.3 * np.sqrt(area / np.pi), 4))
    pixels = np.argwhere(ring)
    if count == 0 or len(pixels) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    from_others = np.hypot(*(pixels - np.argwhere(~outside).mean(0)).T)
    chosen: list[int] = []
    for _ in range(min(count, len(pixels))):
        chosen.append(int(from_others.argmax()))
        from_others = np.minimum(from_others, np.hypot(*(pixels - pixels[chosen[-1]]).T))
    return pixels[chosen]


def large_parts(mask: Bool[np.ndarray, "h w"]) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Return the connected parts of a mask that are no specks, and the largest part; both empty for an empty mask.

    A part counts from `PART_SHARE` of the largest one's area: what stands before an object may cut it in two, while
    stray pixels anywhere would stretch its box over the image.
    """
    labels, count = label(mask, structure=np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    if count == 0:
        return mask, mask
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    largest = int(areas.argmax())
    return (areas >= PART_SHARE * areas[largest])[labels] & mask, labels == largest


def _box_and_click(alpha: Float32[np.ndarray, "h w"]) -> Prompt | None:
    parts, largest = large_parts(alpha > 0.5)
    if not largest.any():
        return None
    # Without a frame of background the middle of a part at the image's rim would be at the rim.
    depth_px = np.asarray(distance_transform_edt(np.pad(largest, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth_px.argmax()), depth_px.shape)
    return Prompt(points=np.array([[column + 0.5, row + 0.5]]), labels=np.ones(1, dtype=np.int64), box=_box_of(parts))


def _centred(rendering: Rendering, area: float) -> Float32[np.ndarray, "h w"]:
    """Scores averaged over the neighbourhood, on certain pixels only; elsewhere out of reach."""
    alpha = rendering.alpha
    certain = alpha >= max(CERTAIN_ALPHA * float(alpha.max()), 0.5)
    window_px = 2 * max(int(np.sqrt(area / np.pi)) // 2, 1) + 1
    pooled = uniform_filter(rendering.score, size=window_px, mode="constant", cval=-0.5)
    # Of a thin object every neighbourhood is mostly background: its own score remains.
    score = np.maximum(pooled, 1e-3 * rendering.score)
    return np.where(certain, score, _TAKEN).astype(np.float32)


def _box_of(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 4"]:
    """X1 Y1 X2 Y2 [px], tight: with room, each view would take in a little more than the one before it."""
    return np.array(tight_box(mask), dtype=np.float64)


def _min_max(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Values scaled to [0, 1]; zeros where all are equal."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
