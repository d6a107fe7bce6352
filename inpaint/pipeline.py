"""Removal: from a picture and a prompt (or a matte) to the picture without the object."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core import Predictor, Prompt

from .crops import fill_by_crops
from .hole import CORE_ALPHA, GROW_PX, TAU, matte_hole, touches_border
from .inpainter import Inpainter, load_inpainter
from .unmix import recover_fringe

LARGE_HOLE = 0.35
"""Share of the picture beyond which a fill is rarely believable."""


@dataclass(frozen=True, eq=False)
class Removal:
    """A picture without its object, and how that came about."""

    image: UInt8[np.ndarray, "h w 3"]
    """RGB; equal to the picture outside the hole, byte by byte."""
    alpha: Float32[np.ndarray, "h w"]
    """The object's matte in [0, 1]."""
    hole: Bool[np.ndarray, "h w"]
    """True where the picture was repainted."""
    warnings: tuple[str, ...] = ()
    """What the user should look at."""


def remove(
    image: UInt8[np.ndarray, "h w 3"],
    target: Prompt | Float32[np.ndarray, "h w"],
    *,
    predictor: Predictor | None = None,
    inpainter: Inpainter | None = None,
    tau: float = TAU,
    grow_px: int = GROW_PX,
    unmix: bool = True,
) -> Removal:
    """Take an object out of a picture.

    The result is never composited with alpha, which would leave a ghost of the object's fringe: the whole support of
    the matte is filled, and where the matte is thin the real background is recovered by un-mixing.

    Args:
        image: RGB.
        target: what to remove: a prompt, or its matte in [0, 1] at the picture's size.
        predictor: turns a prompt into a matte; the best one on this machine by default.
        inpainter: fills the hole; the best one installed by default.
        tau: opacity above which a pixel belongs to the hole.
        grow_px: radius by which the hole is dilated [px].
        unmix: recover the background behind the fringe; else fill all of the hole.

    Raises:
        EmptyMatte: the matte holds no object.
        ValueError: the matte or the prompt does not fit the picture, or the hole covers all of it.
        MissingExtra: no filler is installed.
    """
    alpha = _predict(image, target, predictor) if isinstance(target, Prompt) else target
    if alpha.shape != image.shape[:2]:
        raise ValueError(f"the matte is {alpha.shape}, the picture {image.shape[:2]} (height, width)")
    hole = matte_hole(alpha, tau=tau, grow_px=grow_px)
    inpainter = inpainter or load_inpainter()
    fill = fill_by_crops(image, hole, inpainter.fill, max_side_px=inpainter.work_side_px or max(hole.shape))
    result = recover_fringe(image, alpha, hole, fill) if unmix else fill
    # Whatever a filler does elsewhere, the picture outside the hole is the user's.
    return Removal(np.where(hole[..., None], result, image), alpha, hole, tuple(_warnings(alpha, hole)))


def _predict(image: np.ndarray, prompt: Prompt, predictor: Predictor | None) -> Float32[np.ndarray, "h w"]:
    prompt.check_inside((image.shape[0], image.shape[1]))
    if predictor is None:
        from zim_plugins.core import load_predictor

        predictor = load_predictor()
    predictor.set_image(image)
    return predictor.predict(prompt).alpha


def _warnings(alpha: np.ndarray, hole: np.ndarray) -> list[str]:
    found = []
    if alpha.max() < CORE_ALPHA:
        found.append(f"the matte is faint (opacity at most {alpha.max():.2f}): look at it before you trust the result")
    if hole.mean() > LARGE_HOLE:
        found.append(f"the hole covers {hole.mean():.0%} of the picture: the fill will hardly be believable")
    if touches_border(hole):
        found.append("the hole touches the picture's edge: there the fill has known pixels on one side only")
    return found
