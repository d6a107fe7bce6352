"""Trimap: what of a matte is certain, and what a matting method may still decide."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

CERTAIN = 0.95
"""Opacity from which a pixel counts as the object's, and below 1 - which as the background's."""
RELATIVE_BAND = 0.01
"""Width by which the unknown region grows on each side, as a share of the object's longer side."""
MIN_BAND_PX = 2
UNKNOWN = 128
TILE_PX = 256
"""Side of the tiles whose distances are measured at once."""


def trimap_of(alpha: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Return 255 for the object, 0 for the background and 128 for what lies between, grown by a band.

    Args:
        alpha: opacity in [0, 1].

    >>> trimap_of(np.repeat(np.float32([0, 0, 0, 0.5, 1, 1, 1])[None], 3, axis=0))[1].tolist()
    [0, 128, 128, 128, 128, 128, 255]
    """
    inside, outside = alpha >= CERTAIN, alpha <= 1 - CERTAIN
    trimap = np.where(inside, np.uint8(255), np.uint8(0))
    rows, columns = np.flatnonzero(~outside.all(1)), np.flatnonzero(~outside.all(0))
    if len(rows) == 0:
        return trimap
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    band_px = max(MIN_BAND_PX, round(RELATIVE_BAND * extent))
    pad = band_px + 1
    window = (slice(max(0, rows[0] - pad), rows[-1] + pad + 1), slice(max(0, columns[0] - pad), columns[-1] + pad + 1))
    unsure = ~(inside[window] | outside[window])
    if not unsure.any():  # a hard mask is unsure along its border
        unsure = _border(inside[window])
        if not unsure.any():
            return trimap
    _mark_near(trimap[window], unsure, band_px)
    return trimap


def _mark_near(trimap: UInt8[np.ndarray, "h w"], unsure: Bool[np.ndarray, "h w"], band_px: int) -> None:
    """Mark what lies at most `band_px` away from an unsure pixel, in place, tile by tile.

    Only tiles with an unsure pixel within reach are measured, those that are unsure throughout are not.
    """
    from scipy.ndimage import distance_transform_edt

    height, width = unsure.shape
    for top in range(0, height, TILE_PX):
        for left in range(0, width, TILE_PX):
            tile = slice(top, min(height, top + TILE_PX)), slice(left, min(width, left + TILE_PX))
            if unsure[tile].all():
                trimap[tile] = UNKNOWN
                continue
            start = max(0, top - band_px), max(0, left - band_px)
            around = unsure[start[0] : tile[0].stop + band_px, start[1] : tile[1].stop + band_px]
            if not around.any():
                continue
            inner = tuple(slice(side.start - first, side.stop - first) for side, first in zip(tile, start, strict=True))
            distances = np.asarray(distance_transform_edt(~around))
            trimap[tile][distances[inner] <= band_px] = UNKNOWN


def _border(inside: np.ndarray) -> np.ndarray:
    border = np.zeros_like(inside)
    for axis in (0, 1):
        change = np.diff(inside, axis=axis)
        lower = [slice(None)] * 2
        upper = [slice(None)] * 2
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        border[tuple(lower)] |= change
        border[tuple(upper)] |= change
    return border
