"""PatchMatch: holes filled with patches copied from the rest of the image. Needs no weights."""

import threading

import numpy as np

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import from_unit

from .base import Hole, Rgb, paste, refuse_a_full_hole

_SEED_LOCK = threading.Lock()
"""The library keeps one random state for all threads: seeding and filling belong together."""


class PatchMatchInpainter:
    """Fill by Barnes et al., "PatchMatch" (2009), as PyPatchMatch implements it. The same input gives the same fill.

    Args:
        patch_size: side of the patches [px]; much larger ones take minutes.
        seed: of the library's random search.

    Raises:
        MissingExtra: PyPatchMatch, or its compiled part, is not there.
    """

    name = "patchmatch"
    work_side_px: int | None = 512

    def __init__(self, *, patch_size: int = 5, seed: int = 0) -> None:
        try:
            import patchmatch
        except ImportError as error:
            raise MissingExtra("PyPatchMatch", "inpaint") from error
        if not patchmatch.patchmatch_available:
            raise MissingExtra("PyPatchMatch with its compiled part", "inpaint")
        self._library = patchmatch
        self.patch_size = patch_size
        self.seed = seed

    def fill(self, image: Rgb, hole: Hole) -> Rgb:
        """Repaint the hole; see `Inpainter.fill`."""
        refuse_a_full_hole(hole)
        with _SEED_LOCK:
            self._library.set_random_seed(self.seed)
            painted = self._library.inpaint(np.ascontiguousarray(image), from_unit(hole), patch_size=self.patch_size)
        return paste(image, painted, hole)
