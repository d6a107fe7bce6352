"""Replacement: an object kept, with its own clean colours, on a new background; and the object alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from zim_plugins.core import Predictor

from ..inpainters.base import GuidedInpainter, Inpainter, as_guided
from ..inpainters.registry import load_inpainter
from ..pixels.crops import fill_crop
from ..pixels.hole import CORE_ALPHA, EmptyMatte
from ..pixels.tiles import ColourImage, clean_colours, lay_over, to_8_bits, to_depth
from .filling import DEFAULT_BACKEND
from .matte import Target, matte_of

SOLID = 0.95
"""Opacity from which a generated background is told to keep the object's pixels."""

Colour = tuple[int, int, int]
"""RGB in [0, 255]."""


@dataclass(frozen=True, eq=False)
class Replacement:
    """An object on a new background.

    >>> Replacement(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.float32)).warnings
    ()
    """

    image: ColourImage
    """RGB of the image's depth."""
    alpha: Float32[np.ndarray, "h w"]
    """The objects' matte in [0, 1]."""
    warnings: tuple[str, ...] = ()
    """What the user should look at."""


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object without its background.

    >>> Cutout(np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3), np.float32)).warnings
    ()
    """

    rgba: UInt8[np.ndarray, "h w 4"] | UInt16[np.ndarray, "h w 4"]
    """Straight alpha, colours free of the background's, of the image's depth; black where nothing is."""
    alpha: Float32[np.ndarray, "h w"]
    """The objects' matte in [0, 1]."""
    warnings: tuple[str, ...] = ()
    """What the user should look at."""


def replace(
    image: ColourImage,
    target: Target,
    background: UInt8[np.ndarray, "h2 w2 3"] | Colour | None = None,
    *,
    prompt: str | None = None,
    predictor: Predictor | None = None,
    inpainter: Inpainter | None = None,
) -> Replacement:
    """Lay objects over a new background: alpha F + (1 - alpha) B, with F freed of the old background's colours.

    Args:
        image: RGB of 8 or 16 bits.
        target: what to keep.
        background: RGB at any size, scaled to cover the image and cut to its middle; or one colour.
        prompt: what a diffusion model shall paint there instead.
        predictor: turns prompts into mattes; the best one on this machine by default.
        inpainter: paints what `prompt` says; by default the diffusion model `filling.DEFAULT_BACKEND`.

    Raises:
        EmptyMatte: the matte holds no object.
        ValueError: the matte or the prompt does not fit the image, or not one of `background` and `prompt` is given.
        UnsupportedPrompt: the filler takes no text.

    >>> mask = np.zeros((40, 40), np.float32)
    >>> mask[16:24, 16:24] = 1
    >>> replace(np.full((40, 40, 3), 128, np.uint8), mask, (0, 0, 255)).image[2, 2].tolist()
    [0, 0, 255]
    """
    if (background is None) == (prompt is None):
        raise ValueError("give a background or a prompt that describes one, not both")
    alpha = _object_of(image, target, predictor)
    size = alpha.shape[0], alpha.shape[1]
    if isinstance(background, np.ndarray):
        behind = covering(background, size)
    elif background is not None:
        behind = np.broadcast_to(np.array(background, dtype=np.uint8), (*size, 3))
    else:
        behind = _painted(image, alpha, prompt or "", as_guided(inpainter or load_inpainter(DEFAULT_BACKEND)))
    result = lay_over(clean_colours(image, alpha), alpha, to_depth(behind, image.dtype))
    return Replacement(result, alpha, _warnings(alpha))


def cutout(image: ColourImage, target: Target, *, predictor: Predictor | None = None) -> Cutout:
    """Cut objects out: straight alpha, and colours free of the background's.

    Args:
        image: RGB of 8 or 16 bits.
        target: what to cut out.
        predictor: turns prompts into mattes; the best one on this machine by default.

    Raises:
        EmptyMatte: the matte holds no object.
        ValueError: the matte or the prompt does not fit the image.

    >>> mask = np.zeros((40, 40), np.float32)
    >>> mask[16:24, 16:24] = 1
    >>> cutout(np.full((40, 40, 3), 128, np.uint8), mask).rgba[20, 20].tolist()
    [128, 128, 128, 255]
    """
    alpha = _object_of(image, target, predictor)
    top = np.iinfo(image.dtype).max
    opacity = (alpha * np.float32(top) + np.float32(0.5)).astype(image.dtype)
    colours = np.where((opacity > 0)[..., None], clean_colours(image, alpha), image.dtype.type(0))
    return Cutout(np.dstack([colours, opacity]), alpha, _warnings(alpha))


def covering(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Scale an image until it covers `size` (H, W), and cut out its middle."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    part_h, part_w = size[0] / scale, size[1] / scale
    left, top = max(0.0, (width - part_w) / 2), max(0.0, (height - part_h) / 2)
    part = (left, top, min(width, left + part_w), min(height, top + part_h))
    shown = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(shown.resize((size[1], size[0]), Image.Resampling.LANCZOS, box=part))


def _object_of(image: ColourImage, target: Target, predictor: Predictor | None) -> Float32[np.ndarray, "h w"]:
    alpha = matte_of(image, target, predictor)
    if alpha.max() <= 0:
        raise EmptyMatte("the matte is empty: no pixel is opaque at all")
    return alpha


def _painted(
    image: ColourImage, alpha: Float32[np.ndarray, "h w"], prompt: str, inpainter: GuidedInpainter
) -> UInt8[np.ndarray, "h w 3"]:
    """A background that fits the object, painted at the model's size."""
    behind = to_8_bits(image).copy()
    hole = alpha < SOLID
    if not hole.any():
        return behind

    def paint(small: np.ndarray, small_hole: np.ndarray) -> np.ndarray:
        return inpainter.fill_guided(small, small_hole, prompt=prompt)

    window, painted = fill_crop(behind, hole, paint, max_side_px=inpainter.work_side_px or max(hole.shape))
    behind[window][hole[window]] = painted[hole[window]]
    return behind


def _warnings(alpha: Float32[np.ndarray, "h w"]) -> tuple[str, ...]:
    if alpha.max() < CORE_ALPHA:
        return (f"the matte is faint (opacity at most {alpha.max():.2f}): look at it before you trust the result",)
    if alpha.min() >= CORE_ALPHA:
        return ("the matte covers the whole image: nothing of the background is left to replace",)
    return ()
