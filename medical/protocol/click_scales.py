"""Clicks on a scan, answered at the smallest scale at which the model is sure of a whole object.

A model of photographs takes a click for the object of the photograph, and so answers on a slice with an organ's
surroundings or with the whole body. Which structure is meant lies a few scales below: in a crop round the click the
same model finds it, says how sure it is, and shows by a mask that reaches the crop's rim that the crop was too small.
Further clicks that lie in the crop correct its answer there, rather than an answer at another scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core import EncodedImage, Prediction, Predictor, Prompt

from .adapted import AdaptedPredictor

OPAQUE = 0.5


@dataclass(frozen=True)
class ClickScales:
    """The scales, and when an answer is believed."""

    shares: tuple[float, ...] = (0.125, 0.25, 0.5)
    """Sides of the crops, as shares of the image's longer side, smallest first; the whole image comes last."""
    min_score: float = 0.65
    """The model's own estimate of IoU from which on an answer is believed."""
    max_rim: float = 0.05
    """Share of the crop's rim that a believed mask may cover; where crop and image end together it may cover all."""
    least_px: int = 24
    """Smallest side of a crop [px]."""


class ClickScaledPredictor(AdaptedPredictor):
    """A predictor that answers clicks at the smallest scale that it believes; prompts with a box or a matte as ever.

    A crop lies round the first click on the object, holds all clicks, and is believed where its answer agrees with
    them. Candidates (`multimask`) are those of the whole image.

    Args:
        predictor: answers the crops; its score must estimate the quality of its answer.
        how: the scales.

    >>> from zim_plugins.core import load_predictor
    >>> scaled = ClickScaledPredictor(load_predictor("zim_tiny", device="cpu", zoom=False, refine="none"))
    >>> scaled.set_image(np.zeros((60, 80, 3), np.uint8))
    >>> scaled.predict(Prompt.from_point(40, 30)).alpha.shape
    (60, 80)
    """

    def __init__(self, predictor: Predictor, how: ClickScales | None = None) -> None:
        super().__init__(predictor)
        self.how = how or ClickScales()

    def adapt(self, prompts: Sequence[Prompt], found: list[Prediction], image: EncodedImage) -> list[Prediction]:
        """Return the answers of the crops that are believed, the others as they are."""
        return [self._nearer(p, image.rgb) or whole for p, whole in zip(prompts, found, strict=True)]

    def _nearer(self, prompt: Prompt, rgb: UInt8[np.ndarray, "h w 3"]) -> Prediction | None:
        """The answer of the smallest crop that is believed; None where none is, or more than clicks is given."""
        if prompt.box is not None or prompt.alpha is not None or prompt.points is None or prompt.labels is None:
            return None
        is_object = prompt.labels == 1
        if not is_object.any():
            return None
        x, y = (float(v) for v in prompt.points[is_object][0])
        height, width = rgb.shape[:2]
        for share in self.how.shares:
            x1, y1, x2, y2 = crop_round(x, y, (height, width), share, self.how.least_px)
            within = ((prompt.points >= (x1, y1)) & (prompt.points <= (x2, y2))).all()
            if (x2 - x1, y2 - y1) == (width, height) or not within:
                continue
            encoded = self.predictor.encode(rgb[y1:y2, x1:x2])
            asked = Prompt(points=prompt.points - (x1, y1), labels=prompt.labels)
            one = self.predictor.predict(asked, encoded=encoded)
            solid = one.mask(OPAQUE)
            columns, rows = np.minimum(asked.points.astype(int).T, [[x2 - x1 - 1], [y2 - y1 - 1]])  # pyright: ignore
            agrees = (solid[rows, columns] == is_object).all()
            rims = (
                solid[0] & (y1 > 0), solid[-1] & (y2 < height), solid[:, 0] & (x1 > 0), solid[:, -1] & (x2 < width)
            )  # fmt: skip
            if agrees and one.score >= self.how.min_score and np.concatenate(rims).mean() <= self.how.max_rim:
                alpha = np.zeros((1, height, width), np.float32)
                alpha[0, y1:y2, x1:x2] = one.alpha
                return Prediction.owning(alpha, np.array([one.score], dtype=np.float32))
        return None


def crop_round(x: float, y: float, size: tuple[int, int], share: float, least_px: int) -> tuple[int, int, int, int]:
    """A square X1 Y1 X2 Y2 [px] round a click, moved into the image of `size` (H, W) and cut to it.

    >>> crop_round(10, 100, (200, 400), 0.25, 24)
    (0, 50, 100, 150)
    """
    height, width = size
    side = max(least_px, round(share * max(size)))
    x1 = int(np.clip(x - side / 2, 0, max(0, width - side)))
    y1 = int(np.clip(y - side / 2, 0, max(0, height - side)))
    return x1, y1, min(width, x1 + side), min(height, y1 + side)
