"""Boxes taken at their word: nothing lies outside, and what lies inside reaches all four sides."""

from collections.abc import Sequence

import numpy as np

from zim_plugins.core import EncodedImage, Prediction, Predictor, Prompt, reach_box

from .adapted import AdaptedPredictor, log_odds, opacity

LIMIT = 4.0
"""Largest rise of the log-odds."""


class TightBoxes(AdaptedPredictor):
    """A predictor whose mattes of boxes are raised until they reach the box, and are empty outside it.

    For boxes that are drawn from a reference, as in evaluations: one that is a tenth larger than its object on each
    side makes the answer too large.

    Args:
        predictor: the model.
        limit: largest rise of the log-odds.

    >>> from zim_plugins.core import load_predictor
    >>> tight = TightBoxes(load_predictor("zim_tiny", device="cpu", zoom=False, refine="none"))
    >>> tight.set_image(np.zeros((60, 80, 3), np.uint8))
    >>> alpha = tight.predict(Prompt.from_box(10, 10, 40, 30)).alpha
    >>> float(alpha[:, 40:].max()), float(alpha[10:30, 10:40].max()) > 0
    (0.0, True)
    """

    def __init__(self, predictor: Predictor, limit: float = LIMIT) -> None:
        super().__init__(predictor)
        self.limit = limit

    def adapt(self, prompts: Sequence[Prompt], found: list[Prediction], image: EncodedImage) -> list[Prediction]:
        """Return the answers to boxes raised, the others as they are."""
        pairs = zip(prompts, found, strict=True)
        return [one if prompt.box is None else self._reaching(one, prompt.box) for prompt, one in pairs]

    def _reaching(self, found: Prediction, box: np.ndarray) -> Prediction:
        height, width = found.alphas.shape[1:]
        x1, y1 = np.clip(np.floor(box[:2]), 0, (width, height)).astype(int)
        x2, y2 = np.clip(np.ceil(box[2:]), 0, (width, height)).astype(int)
        window = slice(y1, y2), slice(x1, x2)
        alphas = np.zeros_like(found.alphas)
        for alpha, own in zip(alphas, found.alphas, strict=True):
            odds = log_odds(own[window])
            raised = reach_box(odds, box - np.tile((x1, y1), 2), limit=self.limit)
            alpha[window] = own[window] if raised is odds else opacity(raised)
        return Prediction.owning(alphas, found.scores)
