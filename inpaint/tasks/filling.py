"""Filling: something else, told by a text, in the place of an object."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.core import Predictor
from zim_plugins.imaging import window_of

from ..inpainters.base import Inpainter, as_guided
from ..inpainters.registry import load_inpainter
from ..pixels.hole import GROW_PX, TAU
from ..pixels.tiles import ColourImage
from .matte import Target, hole_of, matte_of
from .removal import Removal, repaint, warnings_about

DEFAULT_BACKEND = "sd15"
"""The filler where none is named."""


@dataclass(frozen=True, eq=False)
class Filling(Removal):
    """An image with something else in its object's place.

    >>> Filling(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.float32), np.zeros((2, 3), bool)).warnings
    ()
    """


def fill(
    image: ColourImage,
    target: Target,
    prompt: str,
    *,
    predictor: Predictor | None = None,
    inpainter: Inpainter | None = None,
    tau: float = TAU,
    grow_px: int = GROW_PX,
    feather_px: int = 0,
) -> Filling:
    """Paint over objects as a text says.

    Args:
        image: RGB of 8 or 16 bits; the fill has 8.
        target: what to paint over.
        prompt: what shall be there.
        predictor: turns prompts into mattes; the best one on this machine by default.
        inpainter: paints by a text; by default the diffusion model `DEFAULT_BACKEND`.
        tau: opacity above which a pixel belongs to the hole.
        grow_px: radius by which the hole is dilated [px].
        feather_px: width of a rim round the hole that changes the less the farther out it lies [px]; needs a
            filler that takes a soft map.

    Raises:
        EmptyMatte: the matte holds no object.
        ValueError: the matte or the prompt does not fit the image.
        UnsupportedPrompt: the filler takes no text, or no soft map.

    >>> class Painter(Inpainter):
    ...     name, work_side_px = "painter", None
    ...     def fill(self, image, hole): return np.where(hole[..., None], np.uint8(255), image)
    ...     def fill_guided(self, image, hole, *, prompt="", change=None): return self.fill(image, hole)
    >>> mask = np.zeros((40, 40), np.float32)
    >>> mask[16:24, 16:24] = 1
    >>> filling = fill(np.full((40, 40, 3), 128, np.uint8), mask, "a wooden bench", inpainter=Painter())
    >>> filling.image[20, 20].tolist(), filling.image[2, 2].tolist()
    ([255, 255, 255], [128, 128, 128])
    """
    painter = as_guided(inpainter or load_inpainter(DEFAULT_BACKEND))
    alpha = matte_of(image, target, predictor)
    core = hole_of(alpha, tau=tau, grow_px=grow_px)
    hole, change = (core, None) if feather_px <= 0 else _feathered(core, feather_px)
    side = painter.work_side_px
    paint = partial(painter.fill_guided, prompt=prompt)
    result = repaint(image, hole, paint, work_side_px=side, min_side_px=side or 0, change=change)
    return Filling(result, alpha, hole, warnings_about(alpha, hole))


def _feathered(
    core: Bool[np.ndarray, "h w"], width_px: int
) -> tuple[Bool[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """The hole with its rim, and how much of each pixel may change: 1 in the core, falling linearly through the rim."""
    from scipy.ndimage import distance_transform_edt

    near = window_of(core, margin_px=width_px + 1)
    change = np.zeros(core.shape, dtype=np.float32)
    distance = np.asarray(distance_transform_edt(~core[near]))
    change[near] = np.clip(1.0 - distance / (width_px + 1), 0.0, 1.0)
    return change > 0, change
