"""Crops round holes: a filler sees each hole with its surroundings, no larger than it works well on."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.imaging import window_of

CONTEXT = 1.0
"""Margin round a hole, in units of the hole's longer side."""
MIN_MARGIN_PX = 32
"""Margin [px] that even the smallest hole gets."""

Box = tuple[int, int, int, int]
"""Corners X1 Y1 X2 Y2 [px]; the last two lie just outside."""
Window = tuple[slice, slice]
"""Rows and columns."""

Fill = Callable[..., np.ndarray]
"""(image: UInt8 h w 3, hole: Bool h w[, change: Float32 h w]) -> UInt8 h w 3, at the same size."""


def hole_boxes(
    hole: Bool[np.ndarray, "h w"], *, context: float = CONTEXT, min_margin_px: int = MIN_MARGIN_PX, min_side_px: int = 0
) -> list[Box]:
    """Cluster the hole: one box for each group of pieces whose surroundings overlap.

    A piece is a connected part of the hole; its box grows on each side by `context` times its longer side, and to
    sides of `min_side_px` where the image is that large. Boxes that overlap are united until none do, so that no
    filler takes one hole's contents as another's context.
    """
    from scipy.ndimage import find_objects, label

    height, width = hole.shape
    rows, columns = extent = window_of(hole)
    pieces = np.zeros(hole[extent].shape, dtype=np.int32)
    boxes: list[Box] = []
    if not pieces.size:
        return boxes
    label(hole[extent], structure=np.ones((3, 3)), output=pieces)
    for ys, xs in find_objects(pieces):
        y1, y2 = ys.start + rows.start, ys.stop + rows.start
        x1, x2 = xs.start + columns.start, xs.stop + columns.start
        margin = max(min_margin_px, round(context * max(y2 - y1, x2 - x1)))
        x1, x2 = _widened(x1 - margin, x2 + margin, min_side_px, width)
        y1, y2 = _widened(y1 - margin, y2 + margin, min_side_px, height)
        new: Box = (x1, y1, x2, y2)
        while near := [box for box in boxes if _overlap(new, box)]:
            boxes = [box for box in boxes if box not in near]
            for box in near:
                new = (min(new[0], box[0]), min(new[1], box[1]), max(new[2], box[2]), max(new[3], box[3]))
        boxes.append(new)
    return boxes


def fill_crop(
    image: UInt8[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    fill: Fill,
    *,
    max_side_px: int,
    change: Float32[np.ndarray, "h w"] | None = None,
) -> tuple[Window, UInt8[np.ndarray, "h2 w2 3"]]:
    """Fill a crop at a longer side of at most `max_side_px`, and answer with the hole's window of the fill.

    Larger crops are shrunk by averaging, and any pixel that the hole so much as grazes counts as hole, so that
    nothing of the object leaks into what is known; the fill is enlarged by cubic interpolation. The fill stands for
    the pixels of the hole only.

    Args:
        image: RGB.
        hole: True means repaint; some of it.
        fill: the filler's method.
        max_side_px: of what the filler sees [px].
        change: handed to the filler, at its size.

    Returns:
        Rows and columns of the hole, and the fill there.
    """
    window = window_of(hole)
    small, small_hole = shrink(image, hole, max_side_px)
    if small_hole.all() and not hole.all():
        small, small_hole = np.ascontiguousarray(image), hole
    if change is None:
        painted = fill(small, small_hole)
    else:
        painted = fill(small, small_hole, change=_resized(change, (small_hole.shape[0], small_hole.shape[1])))
    return window, _enlarged_part(painted, window, (hole.shape[0], hole.shape[1]))


def shrink(
    image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"], max_side_px: int
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], Bool[np.ndarray, "h2 w2"]]:
    """Bring the longer side down to `max_side_px`: colours by area average, the hole by any coverage."""
    from PIL import Image

    height, width = hole.shape
    scale = min(1.0, max_side_px / max(height, width))
    if scale == 1.0:
        return np.ascontiguousarray(image), hole
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = Image.fromarray(np.ascontiguousarray(image)).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.asarray(small), _any_along(_any_along(hole, size[0]).T, size[1]).T


def _any_along(values: Bool[np.ndarray, "n m"], length: int) -> Bool[np.ndarray, "k m"]:
    """Shrink the first axis: a new row is True wherever one of the old rows that it covers, even partly, is."""
    n = len(values)
    first = np.arange(length) * n // length
    last = -(-np.arange(1, length + 1) * n // length)  # one beyond, rounded up
    hit = np.logical_or.reduceat(values, first, axis=0)
    return hit | values[np.minimum(last, n) - 1]


def _enlarged_part(
    image: UInt8[np.ndarray, "h w 3"], window: Window, size: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The part of the image, enlarged to `size` (H, W), that `window` cuts out; the rest is never made."""
    from PIL import Image

    if image.shape[:2] == size:
        return image[window]
    rows, columns = window
    y_scale, x_scale = image.shape[0] / size[0], image.shape[1] / size[1]
    part = (columns.start * x_scale, rows.start * y_scale, columns.stop * x_scale, rows.stop * y_scale)
    to = (columns.stop - columns.start, rows.stop - rows.start)
    return np.asarray(Image.fromarray(image).resize(to, Image.Resampling.BICUBIC, box=part))


def _resized(values: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "h2 w2"]:
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(values)).resize((size[1], size[0]), Image.Resampling.BOX))


def _widened(low: int, high: int, least: int, limit: int) -> tuple[int, int]:
    """Grow an interval to `least` round its middle, then push it into [0, limit]."""
    missing = max(0, least - (high - low))
    low, high = low - missing // 2, high + missing - missing // 2
    if missing:  # what one edge cuts off is taken from the other side
        low, high = low - max(0, high - limit), high + max(0, -low)
    return max(0, low), min(limit, high)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
