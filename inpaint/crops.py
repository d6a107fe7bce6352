"""Crops round holes: a filler sees each hole with its surroundings, no larger than it works well on."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, UInt8

CONTEXT = 1.0
"""Margin round a hole, in units of the hole's longer side."""
MIN_MARGIN_PX = 32
"""Margin [px] that even the smallest hole gets."""

Box = tuple[int, int, int, int]
"""Corners X1 Y1 X2 Y2 [px]; the last two lie just outside."""

FillCrop = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(image: UInt8 h w 3, hole: Bool h w) -> UInt8 h w 3, at the same size."""


def hole_boxes(
    hole: Bool[np.ndarray, "h w"], *, context: float = CONTEXT, min_margin_px: int = MIN_MARGIN_PX
) -> list[Box]:
    """Cluster the hole: one box for each group of pieces whose surroundings overlap.

    A piece is a connected part of the hole; its box grows on each side by `context` times its longer side.
    Boxes that overlap are united until none do, so that no filler takes one hole's contents as another's context.
    """
    from skimage.measure import label, regionprops

    height, width = hole.shape
    boxes: list[Box] = []
    for piece in regionprops(label(hole, connectivity=2)):
        y1, x1, y2, x2 = piece.bbox
        margin = max(min_margin_px, round(context * max(y2 - y1, x2 - x1)))
        new: Box = (max(0, x1 - margin), max(0, y1 - margin), min(width, x2 + margin), min(height, y2 + margin))
        while near := [box for box in boxes if _overlap(new, box)]:
            boxes = [box for box in boxes if box not in near]
            for box in near:
                new = (min(new[0], box[0]), min(new[1], box[1]), max(new[2], box[2]), max(new[3], box[3]))
        boxes.append(new)
    return boxes


def fill_by_crops(
    image: UInt8[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    fill_crop: FillCrop,
    *,
    context: float = CONTEXT,
    max_side_px: int = 512,
) -> UInt8[np.ndarray, "h w 3"]:
    """Fill each cluster of holes on a crop whose longer side is at most `max_side_px`.

    Larger crops are shrunk by averaging, and any pixel that the hole so much as grazes counts as hole, so that
    nothing of the object leaks into what is known; the fill is enlarged by cubic interpolation. Only pixels of the
    hole are taken: all others are returned as they came.

    Raises:
        ValueError: the hole covers the whole picture.
    """
    if hole.all():
        raise ValueError("the hole covers the whole picture: nothing is left to fill it from")
    filled = image.copy()
    for x1, y1, x2, y2 in hole_boxes(hole, context=context):
        window = (slice(y1, y2), slice(x1, x2))
        crop, crop_hole = image[window], hole[window]
        small, small_hole = shrink(crop, crop_hole, max_side_px)
        if small_hole.all():
            small, small_hole = crop, crop_hole
        painted = _enlarge(fill_crop(small, small_hole), crop_hole.shape)
        filled[window][crop_hole] = painted[crop_hole]
    return filled


def shrink(
    image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"], max_side_px: int
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], Bool[np.ndarray, "h2 w2"]]:
    """Bring the longer side down to `max_side_px`: colours by area average, the hole by any coverage."""
    from PIL import Image

    height, width = hole.shape
    scale = min(1.0, max_side_px / max(height, width))
    if scale == 1.0:
        return image, hole
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    covered = Image.fromarray(hole.astype(np.float32)).resize(size, Image.Resampling.BOX)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)), np.asarray(covered) > 0.0


def _enlarge(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    from PIL import Image

    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
