"""PatchMatch: holes filled with patches copied from the rest of the picture. Needs no weights."""

import threading

import numpy as np
from jaxtyping import Bool, UInt8

from zim_plugins.core import MissingExtra

from .crops import CONTEXT, fill_by_crops

_SEED_LOCK = threading.Lock()
"""The library keeps one random state for all threads: seeding and filling belong together."""


class PatchMatchInpainter:
    """Fill by Barnes et al., "PatchMatch" (2009), as PyPatchMatch implements it. The same input gives the same fill.

    Args:
        patch_size: side of the patches [px]; much larger ones take minutes.
        max_side_px: longer side of the crop that is filled at once; larger crops are shrunk.
        seed: of the library's random search.

    Raises:
        MissingExtra: PyPatchMatch, or its compiled part, is not there.
    """

    name = "patchmatch"

    def __init__(self, *, patch_size: int = 5, max_side_px: int = 512, seed: int = 0) -> None:
        try:
            import patchmatch
        except ImportError as error:
            raise MissingExtra("PyPatchMatch", "inpaint") from error
        if not patchmatch.patchmatch_available:
            raise MissingExtra("PyPatchMatch with its compiled part", "inpaint")
        self._library = patchmatch
        self.patch_size = patch_size
        self.max_side_px = max_side_px
        self.seed = seed

    def fill(self, image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        """Repaint the hole; see `Inpainter.fill`."""
        return fill_by_crops(image, hole, self._fill_crop, context=CONTEXT, max_side_px=self.max_side_px)

    def _fill_crop(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        with _SEED_LOCK:
            self._library.set_random_seed(self.seed)
            return self._library.inpaint(
                np.ascontiguousarray(image), hole.astype(np.uint8) * 255, patch_size=self.patch_size
            )
