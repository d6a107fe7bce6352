"""Methods of removal: ours, and those that it is compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from ..inpainters.base import Inpainter, refuse_a_full_hole
from ..pixels.hole import GROW_PX
from ..tasks.matte import hole_of
from ..tasks.removal import predicted_grow_px, remove, repaint

DILATION_PX = 15
"""Side of the square that Inpaint Anything's examples dilate a mask by [px]."""
FAINTEST = 1 / 255
"""Least opacity that an 8-bit mask can hold: what `mask > 0` keeps."""

Image = UInt8[np.ndarray, "h w 3"]
Matte = Float32[np.ndarray, "h w"]
Hole = Bool[np.ndarray, "h w"]
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
    """From image, matte, hole and fill to the result inside the hole."""


class Removed(NamedTuple):
    """Result of a method."""

    result: Image
    """RGB without the object; outside the hole the image."""
    hole: Hole
    twin: Image | None = None
    """The same of the twin."""


def dilated(mask: Hole, side_px: int = DILATION_PX) -> Hole:
    """Dilate a mask by a square of an odd side, once, as Inpaint Anything does."""
    from scipy.ndimage import maximum_filter

    return np.asarray(maximum_filter(mask, side_px, mode="constant"))


def _remove(image: Image, alpha: Matte, hole: Hole, fill: Image) -> Image:
    """Remove as `zim-inpaint` does."""
    return np.asarray(remove(image, alpha, filled=fill, unmix=True).image)


def _remove_by_fill(image: Image, alpha: Matte, hole: Hole, fill: Image) -> Image:
    """Remove as `zim-inpaint --no-unmix` does."""
    return np.asarray(remove(image, alpha, filled=fill, unmix=False, grow_px=GROW_PX).image)


def _take_grown(image: Image, alpha: Matte, hole: Hole, fill: Image) -> Image:
    """Remove as `zim-inpaint` does with mattes that a model made."""
    return np.asarray(remove(image, alpha, filled=fill, unmix=False, grow_px=predicted_grow_px(alpha)).image)


def _take_fill(image: Image, alpha: Matte, hole: Hole, fill: Image) -> Image:
    return fill


def _composite(image: Image, alpha: Matte, hole: Hole, fill: Image) -> Image:
    """Lama-cleaner's formula: alpha fill + (1 - alpha) image."""
    opacity = alpha[..., None]
    mixed = opacity * fill + (1 - opacity) * image
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


METHODS: dict[str, Method] = {
    "ours": Method("support, un-mixed", hole_of, _remove),
    "grown": Method(
        "support, grown, filled", lambda alpha: hole_of(alpha, grow_px=predicted_grow_px(alpha)), _take_grown
    ),
    "support": Method("support, filled", hole_of, _remove_by_fill),
    "alpha": Method("alpha compositing", hole_of, _composite),
    "hard": Method("alpha > 0.5", lambda alpha: alpha > 0.5, _take_fill),
    "hard15": Method("alpha > 0.5, dilated 15 px", lambda alpha: dilated(alpha > 0.5), _take_fill),
    "ia": Method("Inpaint Anything: alpha > 0, dilated 15 px", lambda alpha: dilated(alpha >= FAINTEST), _take_fill),
}
"""By name. `ia` is Inpaint Anything's own procedure, which dilates the mask and takes all that is above 0; on a mask
without soft edges it is the same as `hard15`."""


def run_methods(
    image: Image, alpha: Matte, methods: Sequence[str], inpainter: Inpainter, fills: Fills, *, twin: Image | None = None
) -> dict[str, Removed]:
    """Remove the object by each method.

    Args:
        image: RGB.
        alpha: the matte that all are given, in [0, 1].
        methods: of `METHODS`.
        inpainter: the filler.
        fills: whether all take one fill or each its own.
        twin: the same image with the object in other colours: removed once more, over the first one's fill.

    Raises:
        EmptyMatte: the matte holds no object.
        ValueError: a hole covers the whole image.
    """
    holes = {name: METHODS[name].hole(alpha) for name in methods}
    union = np.logical_or.reduce(list(holes.values()))
    filled: dict[bytes, Image] = {}  # methods with one hole share its fill
    results = {}
    for name, hole in holes.items():
        to_fill = union if fills == "shared" else hole
        key = to_fill.tobytes()
        if key not in filled:
            refuse_a_full_hole(to_fill)
            side = inpainter.work_side_px
            filled[key] = np.asarray(repaint(image, to_fill, inpainter.fill, work_side_px=side, finish=True))
        merged = [
            np.where(hole[..., None], METHODS[name].merge(one, alpha, hole, filled[key]), one)
            for one in (image, *(() if twin is None else (twin,)))
        ]
        results[name] = Removed(merged[0], hole, merged[1] if twin is not None else None)
    return results
