"""Windows of an image: the tight box of a mask, crops and pastes, and tiles that bound memory.

A box is X1 Y1 X2 Y2 [px], exclusive at the far edge; a window is the same as slices of rows and columns.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Shaped

Box = tuple[int, int, int, int]
"""X1 Y1 X2 Y2 [px], exclusive at the far edge."""
Window = tuple[slice, slice]
"""Rows and columns."""


def window_of(where: Bool[np.ndarray, "h w"], margin_px: int = 0) -> Window:
    """Rows and columns of what is True, with a margin inside the image; empty where nothing is.

    >>> window_of(np.eye(4, 6, k=1, dtype=bool))
    (slice(0, 4, None), slice(1, 5, None))
    """
    box = tight_box(where)
    if box is None:
        return slice(0, 0), slice(0, 0)
    x1, y1, x2, y2 = grown(box, margin_px, (where.shape[0], where.shape[1])) if margin_px else box
    return slice(y1, y2), slice(x1, x2)


def tight_box(where: Bool[np.ndarray, "h w"]) -> Box | None:
    """Box round what is True; None where nothing is.

    >>> tight_box(np.eye(4, 6, k=1, dtype=bool))
    (1, 0, 5, 4)
    """
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def grown(box: Box, room_px: int, size: tuple[int, int]) -> Box:
    """Box with room on each side, inside an image of `size` (H, W) [px].

    >>> grown((3, 4, 5, 6), 4, (20, 8))
    (0, 0, 8, 10)
    """
    x1, y1, x2, y2 = box
    return max(0, x1 - room_px), max(0, y1 - room_px), min(size[1], x2 + room_px), min(size[0], y2 + room_px)


def whole_box(box: Sequence[float] | Float[np.ndarray, " 4"], size: tuple[int, int]) -> Box:
    """Box of continuous edges in whole pixels, inside an image of `size` (H, W) and at least one pixel wide and high.

    >>> whole_box((-3.2, 1.6, 2.4, 1.7), (4, 6))
    (0, 2, 2, 3)
    """
    height, width = size
    x1, y1, x2, y2 = (round(float(edge)) for edge in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, max(x1 + 1, min(x2, width)), max(y1 + 1, min(y2, height))


def paste(part: Shaped[np.ndarray, "h w *c"], box: Box, size: tuple[int, int]) -> Shaped[np.ndarray, "H W *c"]:
    """Zeros of `size` (H, W) [px] with a part at its box: the inverse of a crop.

    >>> paste(np.ones((1, 2)), (1, 0, 3, 1), (2, 4)).tolist()
    [[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    x1, y1, x2, y2 = box
    whole = np.zeros((*size, *part.shape[2:]), dtype=part.dtype)
    whole[y1:y2, x1:x2] = part
    return whole


def tiles_over(where: Bool[np.ndarray, "h w"], *, tile_px: int, overlap_px: int) -> Iterator[tuple[Window, Window]]:
    """Cover what is True with windows that do not overlap.

    Yields:
        What a tile answers for, and the same with its surroundings: rows and columns of the image.

    >>> [own[1] for own, _ in tiles_over(np.ones((4, 6), bool), tile_px=4, overlap_px=1)]
    [slice(0, 3, None), slice(3, 6, None)]
    """
    height, width = where.shape
    window = window_of(where)
    for rows in _spans(window[0], tile_px):
        for columns in _spans(window[1], tile_px):
            if where[rows, columns].any():
                wide = (
                    slice(max(0, rows.start - overlap_px), min(height, rows.stop + overlap_px)),
                    slice(max(0, columns.start - overlap_px), min(width, columns.stop + overlap_px)),
                )
                yield (rows, columns), wide


def inner(window: Window, wide: Window) -> Window:
    """Return where `window` lies within an array cut out by `wide`.

    >>> inner((slice(5, 7), slice(3, 4)), (slice(4, 8), slice(0, 9)))
    (slice(1, 3, None), slice(3, 4, None))
    """
    rows, columns = window
    return (
        slice(rows.start - wide[0].start, rows.stop - wide[0].start),
        slice(columns.start - wide[1].start, columns.stop - wide[1].start),
    )


def _spans(extent: slice, longest: int) -> list[slice]:
    """Divide an interval into equal parts no longer than `longest`."""
    length = extent.stop - extent.start
    parts = -(-length // longest)
    cuts = [extent.start + length * i // max(1, parts) for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(cuts)]
