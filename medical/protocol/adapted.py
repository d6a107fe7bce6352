"""Adapted predictors: a model of photographs whose answers are made fit for scans, without training."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core import EncodedImage, Prediction, Predictor, Prompt, encoding_predictor

LEAST = np.float32(1e-3)
"""Opacities are taken as at least this far from 0 and 1."""


class AdaptedPredictor(ABC):
    """A predictor that changes another one's single answers; candidates (`multimask`) and first passes stay.

    Args:
        predictor: the model, or another adaptation of it.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = encoding_predictor(predictor)
        self._set: EncodedImage | None = None

    @abstractmethod
    def adapt(self, prompts: Sequence[Prompt], found: list[Prediction], image: EncodedImage) -> list[Prediction]:
        """Return the answers in place of those that the model found, in the order of the prompts."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.predictor.name

    @property
    def frame_px(self) -> int | None:
        """Side of the model's frame [px]."""
        return self.predictor.frame_px

    @property
    def encodings(self) -> int:
        """Runs of the image encoder so far, those of adapted images counted."""
        return self.predictor.encodings

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Encode an image for the prompts that follow."""
        self._set = None
        self._set = self.encode(image)

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> EncodedImage:
        """Encode an image without setting it."""
        return self.predictor.encode(image)

    def predict(self, prompt: Prompt, *, multimask: bool = False, encoded: EncodedImage | None = None) -> Prediction:
        """Matte what one prompt points at."""
        return self.predict_many([prompt], multimask=multimask, encoded=encoded)[0]

    def predict_many(
        self,
        prompts: Sequence[Prompt],
        *,
        multimask: bool = False,
        finished: bool | None = None,
        encoded: EncodedImage | None = None,
    ) -> list[Prediction]:
        """Matte what each prompt points at; several candidates, and first passes alone, are the model's own."""
        image = self._image(encoded)
        found = self.predictor.predict_many(prompts, multimask=multimask, finished=finished, encoded=self.plain(image))
        return found if multimask or finished is False else self.adapt(prompts, found, image)

    def predict_coarse(
        self, prompts: Sequence[Prompt], *, multimask: bool = False, encoded: EncodedImage | None = None
    ) -> Any:
        """Answer without enlarging, as the model does."""
        return self.predictor.predict_coarse(prompts, multimask=multimask, encoded=self.plain(self._image(encoded)))

    def plain(self, image: EncodedImage) -> EncodedImage:
        """Return the image as the model encoded it."""
        return image

    def _image(self, encoded: EncodedImage | None) -> EncodedImage:
        image = encoded or self._set
        if image is None:
            raise ValueError("no image is set: call set_image(image) first")
        return image


def is_one_click(prompt: Prompt) -> bool:
    """Return whether a prompt is a single foreground click and nothing else.

    >>> is_one_click(Prompt.from_point(3, 4)), is_one_click(Prompt.from_box(0, 0, 3, 4))
    (True, False)
    """
    if prompt.box is not None or prompt.alpha is not None or prompt.points is None or prompt.labels is None:
        return False
    return len(prompt.points) == 1 and bool(prompt.labels[0] == 1)


def log_odds(alpha: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """Return the log-odds of opacities in [0, 1], within about 6.9 of 0.

    >>> log_odds(np.float32([0, 0.5, 1])).round(2).tolist()
    [-6.909999847412109, 0.0, 6.909999847412109]
    """
    kept = alpha.clip(LEAST, 1 - LEAST)
    return np.log(kept / (1 - kept))


def opacity(odds: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """Return the opacities in [0, 1] of log-odds.

    >>> opacity(np.float32([-20, 0, 20])).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    return 1 / (1 + np.exp(-odds))
