"""Trimaps from mattes: what is sure, what is not, and where on the image they matter."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from scipy import ndimage

from zim_plugins.core.transforms import support_box

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255
"""A trimap's values, as the field has them."""


@dataclass(frozen=True)
class TrimapRule:
    """Rule for how much of a matte is taken for sure."""

    unsure: float = 0.05
    """Opacities from this to one less it are not believed."""
    band_share: float = 0.01
    """Of the object's longer side: the width, on each side of all that is not believed, which is asked about too."""
    min_band_px: int = 3
    """Least such width."""
    found: float = 0.5
    """Opacity that some pixel must exceed for there to be an object."""
    margin_share: float = 0.1
    """Room round the object's box, as a share of its longer side; the matte is 0 beyond."""
    min_margin_px: int = 16
    """Least such room."""

    def band_px(self, box: tuple[int, int, int, int]) -> int:
        """Return the width of the band for an object's box X1 Y1 X2 Y2 [px]."""
        return max(self.min_band_px, round(self.band_share * max(box[2] - box[0], box[3] - box[1])))


def object_window(
    alpha: Float32[np.ndarray, "h w"], rule: TrimapRule
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]] | None:
    """Return an object's box and the window round it that is worth a look, X1 Y1 X2 Y2 [px]; None without an object."""
    extent = support_box(alpha, rule.found)
    if extent is None:
        return None
    x1, y1, x2, y2 = extent.astype(int).tolist()
    room = max(rule.min_margin_px, round(rule.margin_share * max(x2 - x1, y2 - y1)))
    window = max(0, x1 - room), max(0, y1 - room), min(alpha.shape[1], x2 + room), min(alpha.shape[0], y2 + room)
    return (x1, y1, x2, y2), window


def trimap_of(
    alpha: Float32[np.ndarray, "h w"], rule: TrimapRule | None = None, *, band_px: int | None = None
) -> UInt8[np.ndarray, "h w"]:
    """Return a matte's trimap: 0 background, 255 foreground, 128 unknown.

    Unknown is what lies within a square of `band_px` round any opacity that is neither near 0 nor near 1, and round
    every edge between the two; of a hard mask that is a band along its outline. Where the band would leave no
    foreground, it is halved until some is left.

    Args:
        alpha: opacity in [0, 1].
        rule: what is believed.
        band_px: width of the band; by default the rule's, for the object's box.

    >>> row = np.float32([[0, 0, 0, 0, 1, 1, 1, 1]])
    >>> trimap_of(row, band_px=1).tolist()
    [[0, 0, 0, 128, 128, 255, 255, 255]]
    """
    rule = rule or TrimapRule()
    found = object_window(alpha, rule)
    if found is None:
        return np.zeros(alpha.shape, np.uint8)
    band = rule.band_px(found[0]) if band_px is None else band_px
    # Unsigned bytes: at 12 MP everything counts.
    sure = (alpha > 1 - rule.unsure).astype(np.uint8)
    possible = (alpha > rule.unsure).astype(np.uint8)
    trimap = np.where(ndimage.maximum_filter(possible, 2 * band + 1), np.uint8(UNKNOWN), np.uint8(BACKGROUND))
    while band > 0:
        inner = ndimage.minimum_filter(sure, 2 * band + 1)
        if inner.any():
            break
        band //= 2
    else:
        inner = sure
    trimap[inner > 0] = FOREGROUND
    return trimap
