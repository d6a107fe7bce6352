"""Coarse labels out of mattes: what annotators and segmenters do to an edge (arXiv 2411.00626, section 3).

The paper names the operations; the ranges are this project's, each scaled to the object so that small ones survive.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image
from scipy import ndimage

from zim_plugins.imaging.geometry import tight_box


@dataclass(frozen=True)
class Degradation:
    """Probabilities and ranges of each step, in this order; all ranges are inclusive (low, high)."""

    threshold: tuple[float, float] = (0.01, 1.0)
    """Of the alpha: the mean of two uniform draws, so that the middle is likeliest."""
    downscale: float = 0.5
    downscale_factor: tuple[float, float] = (2.0, 10.0)
    """Side of a block [px]; SA-1B's masks are 256x256 logits stretched over their crop."""
    min_blocks: float = 12.0
    """The object's smaller side keeps at least so many blocks."""
    blur: float = 0.5
    blur_share: tuple[float, float] = (0.002, 0.01)
    """Sigma as a share of the object's box side; at least half a pixel."""
    morphology: float = 0.75
    """One of: dilate, erode, dilate then erode, erode then dilate."""
    morphology_share: tuple[float, float] = (0.0, 0.03)
    """Radius as a share of the square root of the object's area; at least half a pixel."""
    convex_hull: float = 0.1
    """Of each connected part by itself."""
    polygon: float = 0.1
    polygon_share: tuple[float, float] = (0.004, 0.02)
    """Tolerance as a share of the square root of the object's area; at least half a pixel."""
    min_iou: float = 0.5
    """With the matte's own mask (alpha > 0.5); worse labels are drawn anew."""
    attempts: int = 8
    """Then the matte's own mask is taken."""


def coarse_label(
    alpha: Float32[np.ndarray, "h w"], settings: Degradation, rng: np.random.Generator
) -> Bool[np.ndarray, "h w"]:
    """A label as a segmentation data set might hold it for the object of this matte.

    Args:
        alpha: opacity in [0, 1].
        settings: probabilities and ranges.
        rng: decides everything.

    Returns:
        A mask whose IoU with `alpha > 0.5` is at least `settings.min_iou`; empty if the matte is.
    """
    wanted = alpha > 0.5
    if not wanted.any():
        return wanted
    for _ in range(settings.attempts):
        label = _degraded(alpha, settings, rng)
        if iou(label, wanted) >= settings.min_iou:
            return label
    return wanted


def _degraded(
    alpha: Float32[np.ndarray, "h w"], settings: Degradation, rng: np.random.Generator
) -> Bool[np.ndarray, "h w"]:
    label = alpha >= rng.uniform(*settings.threshold, size=2).mean()
    box = tight_box(label)
    if box is None:
        return label
    box_side = float(min(box[2] - box[0], box[3] - box[1]))
    scale = float(np.sqrt(label.sum()))
    if rng.random() < settings.downscale:
        factor = min(rng.uniform(*settings.downscale_factor), box_side / settings.min_blocks)
        if factor > 1:
            label = downscale(label, factor, smooth=bool(rng.random() < 0.5))
    if rng.random() < settings.blur:
        label = blur(label, max(0.5, box_side * rng.uniform(*settings.blur_share)))
    if rng.random() < settings.morphology:
        kind = rng.integers(4)
        first, second = np.maximum(0.5, scale * rng.uniform(*settings.morphology_share, size=2))
        if kind in (0, 2):
            label = dilate(label, first)
        else:
            label = erode(label, first)
        if kind == 2:
            label = erode(label, second)
        elif kind == 3:
            label = dilate(label, second)
    if rng.random() < settings.convex_hull:
        label = convex_hulls(label)
    if rng.random() < settings.polygon:
        label = polygon(label, max(0.5, scale * rng.uniform(*settings.polygon_share)))
    return label


def iou(first: Bool[np.ndarray, "h w"], second: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union; 1 for two empty masks."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def downscale(mask: Bool[np.ndarray, "h w"], factor: float, smooth: bool) -> Bool[np.ndarray, "h w"]:
    """Down by `factor` and up again: in blocks, or bilinearly and cut at one half."""
    height, width = mask.shape
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    image = Image.fromarray(np.where(mask, np.float32(1), np.float32(0))).resize(small, Image.Resampling.BOX)
    up = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(image.resize((width, height), up)) >= 0.5


def blur(mask: Bool[np.ndarray, "h w"], sigma_px: float) -> Bool[np.ndarray, "h w"]:
    """Gaussian blur cut at one half: corners and whiskers go."""
    return ndimage.gaussian_filter(mask.astype(np.float32), sigma_px, mode="nearest") >= 0.5


def dilate(mask: Bool[np.ndarray, "h w"], radius_px: float) -> Bool[np.ndarray, "h w"]:
    """Grow by a disk."""
    if not mask.any():
        return mask
    return np.asarray(ndimage.distance_transform_edt(~mask)) <= radius_px


def erode(mask: Bool[np.ndarray, "h w"], radius_px: float) -> Bool[np.ndarray, "h w"]:
    """Shrink by a disk; the image's border is no edge."""
    if mask.all():
        return mask
    return np.asarray(ndimage.distance_transform_edt(mask)) > radius_px


def convex_hulls(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Every connected part (8 neighbours) replaced by its convex hull."""
    from skimage.measure import label
    from skimage.morphology import convex_hull_image

    parts = np.asarray(label(mask, connectivity=2))
    out = mask.copy()
    for number, window in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[window] == number
        if min(part.shape) > 2:
            out[window] |= convex_hull_image(part)
    return out


def polygon(mask: Bool[np.ndarray, "h w"], tolerance_px: float) -> Bool[np.ndarray, "h w"]:
    """Outlines replaced by polygons (Douglas-Peucker) that stay within `tolerance_px` of them."""
    from skimage.draw import polygon2mask
    from skimage.measure import approximate_polygon, find_contours

    out = np.zeros(mask.shape, dtype=bool)
    for outline in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        corners = approximate_polygon(outline, tolerance_px)
        if len(corners) > 3:  # closed: the first corner comes twice
            out ^= polygon2mask(mask.shape, corners - 1)  # an outline inside another is a hole
    return out
