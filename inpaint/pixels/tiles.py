"""Images of 8 and 16 bits: an object's own colours, one image laid over another, and the depths."""

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from zim_plugins.core import composite, foreground_colours
from zim_plugins.imaging import from_unit, to_unit, window_of

TILE_PX = 1024
"""Longest side of a tile [px]; smaller images are one tile."""
OVERLAP_PX = 64
"""How far round the matte's edge colours are looked at [px]."""

SEEN = 1 / 512
"""Opacity, and transparency, that shows in 8 bits."""

ColourImage = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
"""RGB of 8 or 16 bits."""


def clean_colours(image: ColourImage, alpha: Float32[np.ndarray, "h w"]) -> ColourImage:
    """The object's own colours at its edge, freed of the background's; elsewhere the image.

    Args:
        image: RGB.
        alpha: opacity in [0, 1].
    """
    result = image.copy()
    window = window_of((alpha > SEEN) & (alpha < 1 - SEEN), margin_px=OVERLAP_PX)
    if window[0].stop:
        result[window] = foreground_colours(image[window], alpha[window])
    return result


def lay_over(foreground: ColourImage, alpha: Float32[np.ndarray, "h w"], background: ColourImage) -> ColourImage:
    """Composite alpha F + (1 - alpha) B, a band of rows at a time; exactly F at alpha 1 and exactly B at alpha 0."""
    result = np.empty_like(foreground)
    for top in range(0, len(alpha), 256):
        rows = slice(top, top + 256)
        mixed = composite(to_unit(foreground[rows]), alpha[rows], to_unit(background[rows]))
        result[rows] = from_unit(mixed, foreground.dtype)
    return result


def to_8_bits(image: ColourImage) -> UInt8[np.ndarray, "h w 3"]:
    """The image as models and fillers take it; one of 8 bits as it is."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_depth(values: UInt8[np.ndarray, "h w 3"], dtype: np.dtype) -> ColourImage:
    """8-bit colours in 8 or 16 bits."""
    return values if dtype == np.uint8 else values.astype(np.uint16) * np.uint16(257)
