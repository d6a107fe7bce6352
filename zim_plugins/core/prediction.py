"""Prediction: what a model answers."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32


@dataclass(frozen=True, eq=False)
class Prediction:
    """Candidate mattes for one prompt, at the size of the original image."""

    alphas: Float32[np.ndarray, "c h w"]
    """Opacity in [0, 1]: 0 background, 1 foreground. SAM answers with exact 0 and 1."""
    scores: Float32[np.ndarray, " c"]
    """The model's own estimate of each candidate's quality (IoU); higher is better."""

    def __post_init__(self) -> None:
        if self.alphas.ndim != 3 or len(self.alphas) == 0 or self.scores.shape != (len(self.alphas),):
            raise ValueError(f"alphas {self.alphas.shape} and scores {self.scores.shape} do not belong together")

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
