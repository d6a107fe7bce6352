"""One click on a scan, answered at the smallest scale at which the model is sure of a whole object.

A model of photographs takes a click for the object of the photograph, and so answers on a slice with an organ's
surroundings or with the whole body. Which structure is meant lies a few scales below: in a crop round the click the
same model finds it, says how sure it is, and shows by a mask that reaches the crop's rim that the crop was too small.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core import EncodedImage, Prediction, Predictor, Prompt, encoding_predictor

SMALL_FRAME_PX = 1024
"""Below this frame a model is one of the small ones, for which `auto` looks at several scales."""
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


class ClickScaledPredictor:
    """A predictor that answers a single click at the smallest scale that it believes; all other prompts as ever.

    Candidates (`multimask`) are those of the whole image.

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
        self.predictor = encoding_predictor(predictor)
        self.how = how or ClickScales()
        self._set: EncodedImage | None = None

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
        """Runs of the image encoder so far, crops counted."""
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
        """Matte what each prompt points at; several candidates, and first passes alone, come from the whole image."""
        image = encoded or self._set
        if image is None:
            raise ValueError("no image is set: call set_image(image) first")
        found = self.predictor.predict_many(prompts, multimask=multimask, finished=finished, encoded=image)
        if multimask or finished is False:
            return found
        return [self._nearer(p, image.rgb) or whole for p, whole in zip(prompts, found, strict=True)]

    def predict_coarse(
        self, prompts: Sequence[Prompt], *, multimask: bool = False, encoded: EncodedImage | None = None
    ) -> Any:
        """Answer without enlarging, from the whole image."""
        return self.predictor.predict_coarse(prompts, multimask=multimask, encoded=encoded or self._set)

    def _nearer(self, prompt: Prompt, rgb: UInt8[np.ndarray, "h w 3"]) -> Prediction | None:
        """The answer of the smallest crop that is believed; None where none is, or the prompt is no single click."""
        if prompt.box is not None or prompt.alpha is not None or prompt.points is None or prompt.labels is None:
            return None
        if len(prompt.points) != 1 or prompt.labels[0] != 1:
            return None
        x, y = (float(v) for v in prompt.points[0])
        height, width = rgb.shape[:2]
        for share in self.how.shares:
            x1, y1, x2, y2 = crop_round(x, y, (height, width), share, self.how.least_px)
            if (x2 - x1, y2 - y1) == (width, height):
                continue
            encoded = self.predictor.encode(rgb[y1:y2, x1:x2])
            one = self.predictor.predict(Prompt.from_point(x - x1, y - y1), encoded=encoded)
            solid = one.mask(OPAQUE)
            hit = solid[min(int(y - y1), y2 - y1 - 1), min(int(x - x1), x2 - x1 - 1)]
            rims = (
                solid[0] & (y1 > 0), solid[-1] & (y2 < height), solid[:, 0] & (x1 > 0), solid[:, -1] & (x2 < width)
            )  # fmt: skip
            if hit and one.score >= self.how.min_score and np.concatenate(rims).mean() <= self.how.max_rim:
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


def scale_clicks(predictor: Predictor, words: str) -> tuple[Predictor, dict[str, Any] | None]:
    """The predictor that `--click-scales` asks for, and what the record says of it.

    Args:
        predictor: the model.
        words: "yes", "no", or "auto": yes for models whose frame is below `SMALL_FRAME_PX`.

    >>> from zim_plugins.core import load_predictor
    >>> scale_clicks(load_predictor("zim_tiny", device="cpu"), "no")[1] is None
    True
    """
    frame_px = encoding_predictor(predictor).frame_px
    if words == "no" or (words == "auto" and (frame_px is None or frame_px >= SMALL_FRAME_PX)):
        return predictor, None
    scaled = ClickScaledPredictor(predictor)
    return scaled, asdict(scaled.how)
