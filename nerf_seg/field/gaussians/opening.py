"""Opening of a scene of Gaussians with its capture: photographs read, views made, and a first look whether they fit."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from zim_plugins.core import ImageError, ZimError

from .camera import Camera
from .model import Gaussians
from .views import Photograph, SplatViews, read_photograph
from .weight_cache import CACHE_LIMIT, WeightCache

logger = logging.getLogger(__name__)

LOOKED_AT = 5
"""Views whose PSNR is taken before anything is matted."""
MIN_PSNR_DB = 12.0
"""Below this, in the middle of those views, cameras and scene do not belong together."""
POOR_PSNR_DB = 18.0
Renderer = Literal["auto", "cpu", "gsplat"]


def read_photographs(
    found: Sequence[tuple[Camera, Path]], folder: Path, side_px: int, needed: Collection[Path] = ()
) -> tuple[list[Photograph], dict[str, str]]:
    """Read the photographs of cameras; those that cannot be used are left out.

    Args:
        found: cameras with their files, as `match_photographs` gives them.
        side_px: longer side that they are reduced to.
        needed: files without which nothing can be done.

    Returns:
        The photographs in the order of `found`, and by camera name why others are left out.

    Raises:
        ImageError: one of the needed files cannot be used.
    """
    photographs, left_out = [], {}
    for camera, path in found:
        try:
            photographs.append(read_photograph(camera, path, folder, side_px))
        except ImageError as error:
            if path in needed:
                raise
            left_out[camera.name] = " ".join(str(error).split())
    return photographs, left_out


def open_views(
    gaussians: Gaussians,
    photographs: Sequence[Photograph],
    memory_limit: int,
    renderer: Renderer = "auto",
    cache: Path | None = None,
    cache_limit: float = CACHE_LIMIT,
) -> SplatViews:
    """Return the views of a capture, rendered by gsplat on CUDA where both are there, else on the CPU.

    Args:
        gaussians: of the scene, on the CPU.
        memory_limit: bytes of blending weights that are kept between visits.
        renderer: gsplat or cpu where the choice is made already.
        cache: folder in which weights are kept for further objects, see `WeightCache`; gsplat does not write weights
            down, so that there are none to keep.
        cache_limit: bytes of that folder.
    """
    from .gsplat_rendering import gsplat_weights, gsplat_works

    if renderer == "gsplat" or (renderer == "auto" and gsplat_works()):
        return SplatViews(gaussians.to("cuda"), photographs, memory_limit, gsplat_weights)
    if cache is None or cache_limit <= 0:
        return SplatViews(gaussians, photographs, memory_limit)
    kept = WeightCache(cache, gaussians, [photograph.camera for photograph in photographs], cache_limit)
    return SplatViews(gaussians, photographs, memory_limit, kept)


def look_first(views: SplatViews, indices: Sequence[int], *, any_quality: bool, remedy: str) -> dict[str, float]:
    """Return the PSNR of some views [dB], by name: whether cameras, scene and photographs belong together.

    Args:
        indices: which to look at; the first `LOOKED_AT` of them.
        any_quality: go on where they do not belong together.
        remedy: what the user can do about it.

    Raises:
        ZimError: they do not belong together.
    """
    psnr = {views.names[index]: views.psnr(index) for index in indices[:LOOKED_AT]}
    middle = float(np.median(list(psnr.values())))
    if middle < MIN_PSNR_DB and not any_quality:
        raise ZimError(
            f"the scene does not look like the photographs from these cameras (PSNR {middle:.1f} dB): they are in "
            f"other coordinates, or of another capture. {remedy}"
        )
    if middle < POOR_PSNR_DB:
        logger.warning("the scene looks little like the photographs (PSNR %.1f dB): expect a poor object", middle)
    return psnr
