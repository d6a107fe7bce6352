"""OpenCV's inpainting: colours carried inwards from the hole's rim. Quick, smooth, and good for thin gaps only."""

import numpy as np

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import from_unit

from .base import Hole, Rgb, paste, refuse_a_full_hole


class TeleaInpainter:
    """Fill by Telea, "An image inpainting technique based on the fast marching method" (2004), as OpenCV has it.

    Args:
        radius_px: neighbourhood that each pixel's colour is taken from [px].

    Raises:
        MissingExtra: OpenCV is not installed.
    """

    name = "cv2"
    work_side_px: int | None = None

    def __init__(self, *, radius_px: float = 3.0) -> None:
        try:
            import cv2
        except ImportError as error:
            raise MissingExtra("OpenCV (opencv-python-headless)", "evaluate") from error
        self._cv2 = cv2
        self.radius_px = radius_px

    def fill(self, image: Rgb, hole: Hole) -> Rgb:
        """Repaint the hole; see `Inpainter.fill`."""
        refuse_a_full_hole(hole)
        mask = from_unit(hole)
        painted = self._cv2.inpaint(np.ascontiguousarray(image), mask, self.radius_px, self._cv2.INPAINT_TELEA)
        return paste(image, painted, hole)
