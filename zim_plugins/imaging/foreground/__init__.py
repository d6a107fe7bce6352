"""Foreground and background colours of a matte: estimating them, compositing, un-mixing.

An image obeys I = alpha F + (1 - alpha) B. A matte gives alpha; F and B remain to be told apart wherever alpha is
neither 0 nor 1.
"""

from zim_plugins.imaging.foreground.colours import (
    Layers,
    composite,
    estimate_foreground,
    foreground_colours,
    unmix_background,
)

__all__ = ("Layers", "composite", "estimate_foreground", "foreground_colours", "unmix_background")
