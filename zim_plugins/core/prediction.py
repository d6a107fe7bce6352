"""Prediction: what a model answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.core.exchange import coco_annotation, to_supervision
from zim_plugins.imaging.ranges import OVERSHOOT, as_array

if TYPE_CHECKING:
    from supervision import Detections


@dataclass(frozen=True, eq=False)
class Prediction:
    """Candidate mattes for one prompt, at the size of the original image; the arrays given are copied.

    >>> Prediction(np.ones((2, 4, 5), np.float32), np.array([0.25, 0.75], np.float32)).best
    1
    """

    alphas: Float32[np.ndarray, "c h w"]
    """Opacity in [0, 1]: 0 background, 1 foreground. SAM answers with exact 0 and 1."""
    scores: Float32[np.ndarray, " c"]
    """The model's own estimate of each candidate's quality (IoU); higher is better."""

    def __post_init__(self) -> None:
        for name in ("alphas", "scores"):
            values = as_array(getattr(self, name), name)
            if values.dtype != np.float32:
                raise TypeError(f"{name} are float32, got {values.dtype.name}: convert them with .astype(np.float32)")
            object.__setattr__(self, name, values.copy())
        if self.alphas.ndim != 3 or len(self.alphas) == 0 or self.scores.shape != (len(self.alphas),):
            raise ValueError(f"alphas {self.alphas.shape} and scores {self.scores.shape} do not belong together")
        low, high = float(self.alphas.min(initial=0.0)), float(self.alphas.max(initial=0.0))
        if not (-OVERSHOOT <= low and high <= 1 + OVERSHOOT):
            raise ValueError(f"alphas are opacities in [0, 1], got {low:g}..{high:g}: logits need the sigmoid first")

    @classmethod
    def owning(cls, alphas: Float32[np.ndarray, "c h w"], scores: Float32[np.ndarray, " c"]) -> "Prediction":
        """Wrap fresh arrays that nobody else holds: they are neither copied nor checked."""
        made = object.__new__(cls)
        object.__setattr__(made, "alphas", alphas)
        object.__setattr__(made, "scores", scores)
        return made

    @property
    def best(self) -> int:
        """Index of the best-scored candidate."""
        return int(self.scores.argmax())

    @property
    def alpha(self) -> Float32[np.ndarray, "h w"]:
        """The best-scored candidate's opacity in [0, 1]."""
        return self.alphas[self.best]

    @property
    def score(self) -> float:
        """The best candidate's score."""
        return float(self.scores[self.best])

    def mask(self, threshold: float = 0.5) -> Bool[np.ndarray, "h w"]:
        """The best candidate, thresholded: True where its opacity exceeds `threshold`."""
        return self.alpha > threshold

    def to_coco(
        self, *, image_id: int = 1, annotation_id: int = 1, category_id: int = 1, polygons: bool = False
    ) -> dict[str, Any]:
        """Describe the best candidate as a COCO annotation and result; see `zim_plugins.core.coco_annotation`.

        >>> Prediction(np.ones((1, 2, 3), np.float32), np.ones(1, np.float32)).to_coco()["bbox"]
        [0, 0, 3, 2]
        """
        return coco_annotation(
            self.alpha,
            score=self.score,
            image_id=image_id,
            annotation_id=annotation_id,
            category_id=category_id,
            polygons=polygons,
        )

    def to_supervision(self) -> "Detections":
        """The best candidate as `supervision.Detections` of one object.

        Raises:
            MissingExtra: supervision is not installed.
        """
        return to_supervision([self.alpha], [self.score])


def unite(alphas: Sequence[Float32[np.ndarray, "h w"]]) -> Float32[np.ndarray, "h w"]:
    """Return the opacity of several mattes together: 1 - (1 - a)(1 - b)...

    Example:
        >>> import numpy as np
        >>> half = np.full((1, 1), 0.5, np.float32)
        >>> unite([half, half]).item()
        0.75
    """
    union = alphas[0]
    for alpha in alphas[1:]:
        union = union + alpha - union * alpha
    return union
