"""From a matte and a filler to a picture without the object: our way, and the ways it is compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from ..hole import matte_hole
from ..unmix import recover_fringe

DILATION_PX = 15
"""Side of the square that Inpaint Anything's examples dilate a mask by [px]."""
FAINTEST = 1 / 255
"""Least opacity that an 8-bit mask can hold: what `mask > 0` keeps."""

Image = UInt8[np.ndarray, "h w 3"]
Matte = Float32[np.ndarray, "h w"]
Hole = Bool[np.ndarray, "h w"]
Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(image: UInt8 h w 3, hole: Bool h w) -> UInt8 h w 3; outside the hole the picture itself."""
Fills = Literal["shared", "own"]
"""shared: all methods take their pixels from one fill of the union of their holes, so that they differ in nothing but
how they use it. own: each method fills its own hole, as the tools do."""


@dataclass(frozen=True)
class Method:
    """One way to remove an object."""

    label: str
    hole: Callable[[Matte], Hole]
    """The pixels that it repaints."""
    merge: Callable[[Image, Matte, Hole, Image], Image]
    """From picture, matte, hole and fill to the result inside the hole."""


def dilated(mask: Hole, side_px: int = DILATION_PX) -> Hole:
    """Dilate a mask by a square of an odd side, once, as Inpaint Anything does."""
    from scipy.ndimage import maximum_filter

    return np.asarray(maximum_filter(mask, side_px, mode="constant"))


def _take_fill(image: Image, alpha: Matte, hole: Hole, fill: Image) -> Image:
    return fill


def _composite(image: Image, alpha: Matte, hole: Hole, fill: Image) -> Image:
    """Lama-cleaner's formula: alpha fill + (1 - alpha) picture."""
    opacity = alpha[..., None]
    mixed = opacity * fill + (1 - opacity) * image
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


METHODS: dict[str, Method] = {
    "ours": Method("support, un-mixed", matte_hole, recover_fringe),
    "support": Method("support, filled", matte_hole, _take_fill),
    "alpha": Method("alpha compositing", matte_hole, _composite),
    "hard": Method("alpha > 0.5", lambda alpha: alpha > 0.5, _take_fill),
    "hard15": Method("alpha > 0.5, dilated 15 px", lambda alpha: dilated(alpha > 0.5), _take_fill),
    "ia": Method("Inpaint Anything: alpha > 0, dilated 15 px", lambda alpha: dilated(alpha >= FAINTEST), _take_fill),
}
"""By name. `ia` is Inpaint Anything's own procedure, which dilates the mask and takes all that is above 0; on a mask
without soft edges it is the same as `hard15`."""


def run_methods(
    image: Image, alpha: Matte, methods: Sequence[str], fill: Fill, fills: Fills
) -> dict[str, tuple[Image, Hole]]:
    """Remove the object by each method.

    Args:
        image: RGB.
        alpha: the matte that all are given, in [0, 1].
        methods: of `METHODS`.
        fill: the filler.
        fills: whether all take one fill or each its own.

    Returns:
        Of each method the result and its hole; outside the hole it is the picture.

    Raises:
        EmptyMatte: the matte holds no object.
        ValueError: a hole covers the whole picture.
    """
    holes = {name: METHODS[name].hole(alpha) for name in methods}
    union = np.logical_or.reduce(list(holes.values()))
    filled: dict[bytes, Image] = {}  # methods with one hole share its fill
    results = {}
    for name, hole in holes.items():
        to_fill = union if fills == "shared" else hole
        key = to_fill.tobytes()
        if key not in filled:
            filled[key] = fill(image, to_fill)
        merged = METHODS[name].merge(image, alpha, hole, filled[key])
        results[name] = (np.where(hole[..., None], merged, image), hole)
    return results
