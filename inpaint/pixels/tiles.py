"""Tiles: colours of a matte's edge are estimated piece by piece, so that memory does not grow with the picture."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16

from zim_plugins.core import composite, estimate_foreground

from .crops import Window, window_of

TILE_PX = 1024
"""Longest side of a tile [px]; smaller pictures are one tile."""
OVERLAP_PX = 64
"""How far a tile looks beyond what it answers for [px]."""

SEEN = 1 / 512
"""Opacity, and transparency, that shows in 8 bits."""

Picture = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
"""RGB of 8 or 16 bits."""


def tiles_over(
    where: Bool[np.ndarray, "h w"], *, tile_px: int = TILE_PX, overlap_px: int = OVERLAP_PX
) -> Iterator[tuple[Window, Window]]:
    """Cover what is True with windows that do not overlap.

    Yields:
        What a tile answers for, and the same with its surroundings: rows and columns of the picture.
    """
    height, width = where.shape
    for rows in _spans(window_of(where)[0], tile_px):
        for columns in _spans(window_of(where)[1], tile_px):
            if where[rows, columns].any():
                wide = (
                    slice(max(0, rows.start - overlap_px), min(height, rows.stop + overlap_px)),
                    slice(max(0, columns.start - overlap_px), min(width, columns.stop + overlap_px)),
                )
                yield (rows, columns), wide


def inner(window: Window, wide: Window) -> Window:
    """Return where `window` lies within an array cut out by `wide`."""
    rows, columns = window
    return (
        slice(rows.start - wide[0].start, rows.stop - wide[0].start),
        slice(columns.start - wide[1].start, columns.stop - wide[1].start),
    )


def clean_colours(image: Picture, alpha: Float32[np.ndarray, "h w"]) -> Picture:
    """The object's own colours at its edge, freed of the background's; elsewhere the picture.

    Args:
        image: RGB.
        alpha: opacity in [0, 1].
    """
    result = image.copy()
    for window, wide in tiles_over((alpha > SEEN) & (alpha < 1 - SEEN)):
        part = to_unit(image[wide])
        foreground = estimate_foreground(part, alpha[wide]).foreground[inner(window, wide)]
        result[window] = from_unit(foreground, image.dtype)
    return result


def lay_over(foreground: Picture, alpha: Float32[np.ndarray, "h w"], background: Picture) -> Picture:
    """Composite alpha F + (1 - alpha) B, a band of rows at a time; exactly F at alpha 1 and exactly B at alpha 0."""
    result = np.empty_like(foreground)
    for top in range(0, len(alpha), 256):
        rows = slice(top, top + 256)
        mixed = composite(to_unit(foreground[rows]), alpha[rows], to_unit(background[rows]))
        result[rows] = from_unit(mixed, foreground.dtype)
    return result


def to_unit(image: Picture) -> Float32[np.ndarray, "h w 3"]:
    """Colours in [0, 1]."""
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def from_unit(values: Float32[np.ndarray, "h w 3"], dtype: np.dtype) -> Picture:
    """Colours in [0, 1] as 8 or 16 bits."""
    top = np.iinfo(dtype).max
    return np.clip(np.rint(values * np.float32(top)), 0, top).astype(dtype)


def to_8_bits(image: Picture) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as models and fillers take it; one of 8 bits as it is."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_depth(values: UInt8[np.ndarray, "h w 3"], dtype: np.dtype) -> Picture:
    """8-bit colours in 8 or 16 bits."""
    return values if dtype == np.uint8 else values.astype(np.uint16) * np.uint16(257)


def _spans(extent: slice, longest: int) -> list[slice]:
    """Divide an interval into equal parts no longer than `longest`."""
    length = extent.stop - extent.start
    parts = -(-length // longest)
    cuts = [extent.start + length * i // max(1, parts) for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(cuts)]
