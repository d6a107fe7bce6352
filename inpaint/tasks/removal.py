"""Removal: from an image and its object to the image without the object."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.core import Predictor, Prompt
from zim_plugins.imaging import window_of

from ..inpainters.base import Inpainter, refuse_a_full_hole
from ..inpainters.registry import load_inpainter
from ..pixels.crops import Fill, fill_crop, hole_boxes
from ..pixels.detail import continue_scene
from ..pixels.effects import propose_shadow
from ..pixels.fit import fit_of
from ..pixels.hole import CORE_ALPHA, GROW_PX, TAU, touches_border
from ..pixels.tiles import ColourImage, to_8_bits, to_depth
from ..pixels.unmix import recover_fringe
from .matte import Target, hole_of, matte_of

FILLED_GROW_PX = 7
"""Radius [px] by which a hole that is only filled is dilated, at least."""
PREDICTED_GROW = 0.15
"""The same for a predicted matte, as a share of the side of a square as large as the object.

A model's matte ends too early by some pixels of the model's frame, and these are the larger the larger the object is;
what it misses would stay as thin lines. At 0.12 8 % of the object's contrast is left in the ring of `zim_tiny`'s mattes
on the half of the composites that constants are chosen on, and 11 % on the half that is reported; at this share less
than 10 % on both. What stays then are whiskers and poles that the matte has nothing of. Un-mixing by such mattes leaves
half of the contrast (`benchmarks/quality/inpaint_leftovers.py`).
"""
DOUBT = "the matte's edge is not that of the image, so the hole is grown and filled, not un-mixed: --unmix trusts it"
"""Said of a matte that is given and does not explain the image."""
LARGE_HOLE = 0.35
"""Share of the image beyond which a fill is rarely believable."""


@dataclass(frozen=True, eq=False)
class Removal:
    """An image without its object, and how that came about.

    >>> Removal(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.float32), np.zeros((2, 3), bool)).warnings
    ()
    """

    image: ColourImage
    """RGB of the image's depth; equal to the image outside the hole, byte by byte."""
    alpha: Float32[np.ndarray, "h w"]
    """The objects' matte in [0, 1]."""
    hole: Bool[np.ndarray, "h w"]
    """True where the image was repainted."""
    warnings: tuple[str, ...] = ()
    """What the user should look at."""
    unmixed: bool = False
    """Whether the background behind the fringe was recovered."""
    grow_px: int = GROW_PX
    """Radius by which the hole was dilated [px]."""


def remove(
    image: ColourImage,
    target: Target,
    *,
    predictor: Predictor | None = None,
    inpainter: Inpainter | None = None,
    filled: ColourImage | None = None,
    tau: float = TAU,
    grow_px: int | None = None,
    unmix: bool | None = None,
    effects: bool = False,
) -> Removal:
    """Take objects out of an image.

    The result is never composited with alpha, which would leave a ghost of the object's fringe: the whole support of
    the matte is filled, and where the matte is thin the real background is recovered by un-mixing. Both happen on
    crops and tiles: beyond a few copies of the image, memory does not grow with it.

    Args:
        image: RGB of 8 or 16 bits; fillers see 8, un-mixing all of them.
        target: what to remove.
        predictor: turns prompts into mattes; the best one on this machine by default.
        inpainter: fills the hole; the best one installed by default.
        filled: the image as another tool filled it, of the same depth: taken in the hole instead of a filler's.
        tau: opacity above which a pixel belongs to the hole.
        grow_px: radius by which the hole is dilated [px]; by default `GROW_PX` where un-mixed, else `FILLED_GROW_PX`,
            and for a predicted matte more where the object is large, see `PREDICTED_GROW`.
        unmix: recover the background behind the fringe; else fill all of the hole. By default a matte that is given is
            un-mixed if it explains the image (`pixels.fit`), and else filled, as one that a predictor made here.
        effects: take along what looks like the object's shadow; else a warning says where it lies.

    Raises:
        EmptyMatte: the matte holds no object.
        ValueError: the matte or the prompt does not fit the image, or the hole covers all of it.
        MissingExtra: no filler is installed.

    >>> import numpy as np
    >>> class White:
    ...     name, work_side_px = "white", None
    ...     def fill(self, image, hole): return np.where(hole[..., None], np.uint8(255), image)
    >>> mask = np.zeros((40, 40), np.float32)
    >>> mask[16:24, 16:24] = 1
    >>> removal = remove(np.full((40, 40, 3), 128, np.uint8), mask, inpainter=White())
    >>> removal.image[20, 20].tolist(), removal.image[2, 2].tolist()
    ([215, 215, 215], [128, 128, 128])
    """
    alpha = matte_of(image, target, predictor)
    shadow = propose_shadow(to_8_bits(image), alpha)
    taken_along = shadow & effects
    if filled is None:
        inpainter = inpainter or load_inpainter()
    unmixed, radius_px = deserved(alpha, predicted=is_predicted(target), unmix=unmix, grow_px=grow_px)
    hole = hole_of(alpha, tau=tau, grow_px=radius_px) | taken_along
    result = _filled(image, hole, inpainter, filled)
    doubts: tuple[str, ...] = ()
    if unmixed and unmix is None and (fit := fit_of(image, alpha, result)) is not None and not fit.is_good:
        doubts = (DOUBT,)
        unmixed, wider_px = deserved(alpha, predicted=True, unmix=False, grow_px=grow_px)
        wider = hole_of(alpha, tau=tau, grow_px=wider_px) | taken_along
        if wider_px != radius_px and not wider.all():
            radius_px, hole, result = wider_px, wider, _filled(image, wider, inpainter, filled)
    if unmixed:
        result = recover_fringe(image, alpha, hole, result)
    stays = () if effects else _about_shadow(shadow & ~hole)
    return Removal(result, alpha, hole, (*doubts, *warnings_about(alpha, hole), *stays), unmixed, radius_px)


def _filled(
    image: ColourImage, hole: Bool[np.ndarray, "h w"], inpainter: Inpainter | None, filled: ColourImage | None
) -> ColourImage:
    """The image with the hole painted by the filler, or taken from an image that is filled."""
    refuse_a_full_hole(hole)
    if filled is None:
        assert inpainter is not None
        return repaint(image, hole, inpainter.fill, work_side_px=inpainter.work_side_px, finish=True)
    if filled.shape != image.shape or filled.dtype != image.dtype:
        raise ValueError(f"`filled` is {filled.shape} {filled.dtype}, the image {image.shape} {image.dtype}")
    return np.where(hole[..., None], filled, image)


def _about_shadow(shadow: Bool[np.ndarray, "h w"]) -> tuple[str, ...]:
    if not shadow.any():
        return ()
    rows, columns = window_of(shadow)
    box = f"{columns.start},{rows.start},{columns.stop},{rows.stop}"
    return (f"what looks like the object's shadow stays, in the box {box}: --effects takes it along",)


def is_predicted(target: Target) -> bool:
    """Return whether a predictor makes some of the target's matte."""
    if isinstance(target, Prompt | np.ndarray):
        return isinstance(target, Prompt)
    return any(isinstance(part, Prompt) for part in target)


def deserved(
    alpha: Float32[np.ndarray, "h w"], *, predicted: bool, unmix: bool | None, grow_px: int | None
) -> tuple[bool, int]:
    """Return whether a matte is un-mixed, and the dilation of its hole [px]; see `remove`."""
    unmix = not predicted if unmix is None else unmix
    if grow_px is None:
        grow_px = GROW_PX if unmix else predicted_grow_px(alpha) if predicted else FILLED_GROW_PX
    return unmix, grow_px


def predicted_grow_px(alpha: Float32[np.ndarray, "h w"]) -> int:
    """Return the dilation of a predicted matte's hole [px]."""
    return max(FILLED_GROW_PX, round(PREDICTED_GROW * float(np.count_nonzero(alpha >= CORE_ALPHA)) ** 0.5))


def repaint(
    image: ColourImage,
    hole: Bool[np.ndarray, "h w"],
    fill: Fill,
    *,
    work_side_px: int | None,
    min_side_px: int = 0,
    change: Float32[np.ndarray, "h w"] | None = None,
    finish: bool = False,
) -> ColourImage:
    """Fill the hole crop by crop; nothing else differs from the image.

    Args:
        image: RGB.
        hole: True means repaint.
        fill: the filler's method.
        work_side_px: largest side of what the filler sees [px]; None for any.
        min_side_px: crops are widened to it where the image is large enough [px].
        change: handed to the filler, cropped alike.
        finish: continue the scene: give a fill that was painted small the detail of the known image, and shift its
            colours until they meet at the rim. Not for a fill that is to show something else.
    """
    fills = []
    for x1, y1, x2, y2 in hole_boxes(hole, min_side_px=min_side_px):
        crop = (slice(y1, y2), slice(x1, x2))
        known, part = to_8_bits(image[crop]), hole[crop]
        side = work_side_px or max(hole.shape)
        if finish:
            window, painted = continue_scene(known, part, fill, max_side_px=side)
        else:
            cropped = None if change is None else change[crop]
            window, painted = fill_crop(known, part, fill, max_side_px=side, change=cropped)
        fills.append((crop, window, painted))
    result = image.copy()  # only now: a filler needs the memory more
    for crop, window, painted in fills:
        inside = hole[crop][window]
        result[crop][window][inside] = to_depth(painted, image.dtype)[inside]
    return result


def warnings_about(alpha: Float32[np.ndarray, "h w"], hole: Bool[np.ndarray, "h w"]) -> tuple[str, ...]:
    """Return in words what makes a fill doubtful."""
    found = []
    if alpha.max() < CORE_ALPHA:
        found.append(f"the matte is faint (opacity at most {alpha.max():.2f}): look at it before you trust the result")
    if hole.mean() > LARGE_HOLE:
        found.append(f"the hole covers {hole.mean():.0%} of the image: the fill will hardly be believable")
    if touches_border(hole):
        found.append("the hole touches the image's edge: there the fill has known pixels on one side only")
    return tuple(found)
