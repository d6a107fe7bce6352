"""GrabCut as a Predictor: the classical floor that a learned model has to rise above."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core.prediction import Prediction
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import MissingExtra
from zim_plugins.imaging.geometry import whole_box

LONGEST_SIDE_PX, ITERATIONS = 640, 5
SEED_SHARE = 0.01
"""Radius of what a click marks, as a share of the longer side."""


class GrabCut:
    """OpenCV's GrabCut (Rother et al. 2004) at 640 px on the longest side, five iterations; hard masks.

    A box starts it as its authors mean it. Clicks mark small disks as certain; without a box, that of the whole image
    is taken.

    Args:
        longest_side_px: larger images are cut at reduced size.
        core: sides of an ellipse in the middle of a box that is certain to be the object, as a share of the box's
            sides; 0 for none, as its authors have it. Without it an object that looks like its surroundings is lost.

    Raises:
        MissingExtra: OpenCV is not installed.
    """

    name = "grabcut"

    def __init__(self, longest_side_px: int = LONGEST_SIDE_PX, core: float = 0.0) -> None:
        self.longest_side_px, self.core = longest_side_px, core
        try:
            import cv2
        except ImportError as error:
            raise MissingExtra("OpenCV (opencv-python-headless)", "evaluate") from error
        self._cv2 = cv2
        self.version: str = cv2.__version__
        self._size = (0, 0)
        self._small: UInt8[np.ndarray, "h w 3"] | None = None

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Take an RGB image."""
        cv2 = self._cv2
        height, width = image.shape[:2]
        self._size = (height, width)
        scale = min(1.0, self.longest_side_px / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        self._small = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1])

    def predict(self, prompt: Prompt) -> Prediction:
        """Cut out what one prompt points at; its coarse matte is not looked at."""
        if self._small is None:
            raise ValueError("no image is set: call set_image(image) first")
        prompt.check_inside(self._size)
        cv2 = self._cv2
        height, width = self._small.shape[:2]
        scale = min(1.0, self.longest_side_px / max(self._size))
        state = self._start(prompt, scale, (height, width))
        cv2.setRNGSeed(0)
        unused, models = (0, 0, 1, 1), (np.zeros((1, 65)), np.zeros((1, 65)))
        try:
            cv2.grabCut(self._small, state, unused, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
        except cv2.error as error:
            raise ValueError(f"GrabCut cannot start from this prompt: {error.err}") from error
        found = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
        alpha = cv2.resize(found, self._size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.float32)
        return Prediction(alphas=alpha[None], scores=np.ones(1, dtype=np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        """Cut out what each prompt points at."""
        return [self.predict(prompt) for prompt in prompts]

    def _start(self, prompt: Prompt, scale: float, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
        cv2 = self._cv2
        state = np.full(size, cv2.GC_BGD, dtype=np.uint8)
        x1, y1, x2, y2 = whole_box((0, 0, *size[::-1]) if prompt.box is None else prompt.box * scale, size)
        state[y1:y2, x1:x2] = cv2.GC_PR_FGD
        if (x2 - x1, y2 - y1) == (size[1], size[0]):  # something has to be background
            state[[0, -1]] = state[:, [0, -1]] = cv2.GC_BGD
        if self.core > 0 and prompt.box is not None:
            ys, xs = np.ogrid[y1:y2, x1:x2]
            across, along = max(0.5, self.core * (x2 - x1) / 2), max(0.5, self.core * (y2 - y1) / 2)
            inner = ((xs + 0.5 - (x1 + x2) / 2) / across) ** 2 + ((ys + 0.5 - (y1 + y2) / 2) / along) ** 2 <= 1
            inner[(y2 - y1) // 2, (x2 - x1) // 2] = True
            state[y1:y2, x1:x2][inner] = cv2.GC_FGD
        if prompt.points is not None and prompt.labels is not None:
            ys, xs = np.ogrid[: size[0], : size[1]]
            radius = max(2.0, SEED_SHARE * max(size))
            for (x, y), label in zip(prompt.points * scale, prompt.labels, strict=True):
                near = (xs + 0.5 - x) ** 2 + (ys + 0.5 - y) ** 2 <= radius**2
                state[near] = cv2.GC_FGD if label == 1 else cv2.GC_BGD
        return state
