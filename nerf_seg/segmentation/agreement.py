"""Agreement of a matte with the grid's rendering, and the rule by which a view is rejected.

SA3D counts pixels that are equal and not zero over pixels that are not zero. A sigmoid is never exactly 0 or 1, so that
a matte compared with its own binarisation gets 0.02 there; the measures here take opacities as they are.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from .rendering import Rendering


def soft_iou(
    alpha: Float32[np.ndarray, "h w"],
    other: Float32[np.ndarray, "h w"],
    weights: Float32[np.ndarray, "h w"] | None = None,
) -> float:
    """Ruzicka's similarity sum min(a, b) / sum max(a, b), in [0, 1]: 1 for equal mattes, IoU for masks.

    Args:
        alpha: opacity in [0, 1].
        other: opacity in [0, 1].
        weights: how much each pixel counts; all alike by default.
    """
    weights = np.ones_like(alpha) if weights is None else weights
    union = float((weights * np.maximum(alpha, other)).sum())
    return float((weights * np.minimum(alpha, other)).sum()) / union if union > 0 else 1.0


@dataclass(frozen=True)
class Agreement:
    """A view's matte against the rendering of what was gathered before it."""

    soft_iou: float
    """Over pixels by their observed share."""
    inside: float
    """Share of the matte that the rendering covers, in [0, 1]: soft intersection over the matte's area."""
    area_ratio: float
    """Area of the matte over area of the rendering, observed or not."""

    def fault(self, iou_threshold: float, max_area_ratio: float) -> str:
        """Why the view is to be rejected; empty where it is not."""
        if self.area_ratio > max_area_ratio:
            return f"the matte has {self.area_ratio:.1f} times the area of the rendering (limit {max_area_ratio:g})"
        if self.soft_iou >= iou_threshold:
            return ""
        cause = "the matte takes in what is not the object" if self.inside < 0.7 else "the matte misses the object"
        if self.area_ratio < 0.01:
            cause = "the matte is empty"
        return f"soft IoU {self.soft_iou:.2f} is below {iou_threshold:g}: {cause}"


def agreement(alpha: Float32[np.ndarray, "h w"], rendering: Rendering) -> Agreement:
    """Compare a matte in [0, 1] with the rendering of the same view."""
    seen = rendering.observed
    inside = float((seen * np.minimum(alpha, rendering.alpha)).sum()) / max(float((seen * alpha).sum()), 1e-6)
    area_ratio = float(alpha.sum()) / max(float(rendering.alpha.sum()), 1e-6)
    return Agreement(soft_iou(alpha, rendering.alpha, seen), inside, area_ratio)
