"""The tasks, each on one image: from its matte to its results, in the image's own mode and depth."""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.core import Original, Raster

from ..inpainters.base import Inpainter
from ..pixels.hole import GROW_PX
from ..tasks.backgrounds import read_background
from ..tasks.filling import fill
from ..tasks.removal import Removal, deserved, remove
from ..tasks.replacement import cutout, replace
from .arguments import CutoutArgs, FillArgs, RemoveArgs, ReplaceArgs, TaskArgs
from .orders import Order

logger = logging.getLogger(__name__)

Said = dict[str, Any]
"""What a record says of a result."""
Images = dict[str, np.ndarray | Raster]
"""By kind of file; the last one is the result."""
Painter = Callable[[], Inpainter]
"""Gives the filler, which it loads at its first call."""
Alpha = Float32[np.ndarray, "h w"]


def act_on(args: TaskArgs, order: Order, image: Original, alpha: Alpha, painter: Painter) -> tuple[Said, Images]:
    """Do what the arguments' kind says.

    Args:
        args: of one of the tasks.
        order: what shall take the objects' place.
        image: the image.
        alpha: the objects' matte in [0, 1].
        painter: gives the filler.
    """
    if isinstance(args, RemoveArgs):
        return _remove(args, order, image, alpha, painter())
    if isinstance(args, FillArgs):
        return _fill(args, order, image, alpha, painter())
    if isinstance(args, ReplaceArgs):
        return _replace(order, image, _within(image, alpha), painter)
    assert isinstance(args, CutoutArgs)
    return _cutout(image, _within(image, alpha))


def _remove(args: RemoveArgs, order: Order, image: Original, alpha: Alpha, inpainter: Inpainter) -> tuple[Said, Images]:
    asked = True if args.unmix else False if args.no_unmix else None
    made = order.model_masks()
    if made and asked is None:
        logger.info("%s: a model's matte by its record, so filled and not un-mixed (--unmix does)", ", ".join(made))
    unmix, grow_px = asked, args.grow
    if order.prompts or made:
        unmix, grow_px = deserved(alpha, predicted=True, unmix=asked, grow_px=args.grow)
    removal = remove(
        image.colours(), alpha, inpainter=inpainter, tau=args.tau, grow_px=grow_px, unmix=unmix, effects=args.effects
    )
    said = {"backend": inpainter.name, "unmix": removal.unmixed, "grow_px": removal.grow_px}
    return said | _about(removal), _repainted(image, removal, "removed")


def _fill(args: FillArgs, order: Order, image: Original, alpha: Alpha, inpainter: Inpainter) -> tuple[Said, Images]:
    filling = fill(
        image.colours(),
        alpha,
        order.prompt or "",
        inpainter=inpainter,
        tau=args.tau,
        grow_px=GROW_PX if args.grow is None else args.grow,
        feather_px=args.feather,
    )
    said = {"backend": inpainter.name, "text": order.prompt, **_about(filling)}
    return said, _repainted(image, filling, "filled")


def _replace(order: Order, image: Original, alpha: Alpha, painter: Painter) -> tuple[Said, Images]:
    colours, metadata = image.in_rgb()
    if order.background is not None:
        replacement = replace(colours, alpha, image.from_srgb(read_background(order.background)))
        said: Said = {"backend": None, "background": order.background}
    else:
        inpainter = painter()
        replacement = replace(colours, alpha, prompt=order.prompt or "", inpainter=inpainter)
        said = {"backend": inpainter.name, "text": order.prompt}
    said["warnings"] = list(replacement.warnings)
    return said, {"alpha": alpha, "replaced": Raster(replacement.image, "RGB", metadata)}


def _cutout(image: Original, alpha: Alpha) -> tuple[Said, Images]:
    colours, metadata = image.in_rgb()
    made = cutout(colours, alpha)
    return {"warnings": list(made.warnings)}, {"alpha": alpha, "cutout": Raster(made.rgba, "RGBA", metadata)}


def _about(result: Removal) -> Said:
    return {"hole_share": round(float(result.hole.mean()), 5), "warnings": list(result.warnings)}


def _repainted(image: Original, result: Removal, kind: str) -> Images:
    hole = result.hole.astype(np.uint8) * np.uint8(255)
    raster = image.raster
    if raster.mode == "RGB" and raster.pixels.dtype == result.image.dtype:
        own = dataclasses.replace(raster, pixels=result.image)  # equal outside the hole: no need to copy it once more
    else:
        own = image.repainted(result.image, result.hole)
    return {"alpha": result.alpha, "hole": hole, kind: own}


def _within(image: Original, alpha: Alpha) -> Alpha:
    """The matte within the image's own opacity."""
    opacity = image.opacity()
    return alpha if opacity is None else alpha * opacity
