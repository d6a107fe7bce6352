"""A scan looked at in both polarities, as it is and inverted, and the mean of both answers.

In a photograph light and dark mean something: skies are bright, shadows dark. On a scan they are a convention (fluid is
dark on T1 and bright on T2, X-rays are shown either way), and a model of photographs answers the two views differently,
each with errors of its own.
"""

import threading
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core import EncodedImage, EncodingPredictor, Prediction, Prompt

from .adapted import AdaptedPredictor, is_one_click, log_odds, opacity


class _Views:
    """An image as the model encoded it, and inverted, which is encoded when it is first asked for."""

    def __init__(self, plain: EncodedImage) -> None:
        self.plain = plain
        self._inverted: EncodedImage | None = None
        self._lock = threading.Lock()

    def inverted(self, predictor: EncodingPredictor) -> EncodedImage:
        with self._lock:
            if self._inverted is None:
                self._inverted = predictor.encode(255 - self.plain.rgb)
            return self._inverted


class BothPolarities(AdaptedPredictor):
    """A predictor whose answer is the mean, in log-odds, of those on the image and on its negative.

    A single click is answered on the image alone: of two guesses at what it means the mean is neither.

    >>> from zim_plugins.core import load_predictor
    >>> both = BothPolarities(load_predictor("zim_tiny", device="cpu", zoom=False, refine="none"))
    >>> both.set_image(np.zeros((60, 80, 3), np.uint8))
    >>> both.predict(Prompt.from_box(10, 10, 40, 30)).alpha.shape, both.encodings
    ((60, 80), 2)
    """

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> EncodedImage:
        """Encode an image without setting it; its negative is encoded by the first prompt that needs it."""
        plain = self.predictor.encode(image)
        return EncodedImage(plain.rgb, _Views(plain), plain.backend)

    def plain(self, image: EncodedImage) -> EncodedImage:
        """Return the image as the model encoded it."""
        return image.features.plain

    def adapt(self, prompts: Sequence[Prompt], found: list[Prediction], image: EncodedImage) -> list[Prediction]:
        """Return the means of the answers found and those on the negative."""
        asked = [index for index, prompt in enumerate(prompts) if not is_one_click(prompt)]
        if not asked:
            return found
        inverted = image.features.inverted(self.predictor)
        others = self.predictor.predict_many([prompts[index] for index in asked], encoded=inverted)
        for index, other in zip(asked, others, strict=True):
            one = found[index]
            alphas = opacity((log_odds(one.alphas) + log_odds(other.alphas)) / 2)
            found[index] = Prediction.owning(alphas, (one.scores + other.scores) / 2)
        return found
