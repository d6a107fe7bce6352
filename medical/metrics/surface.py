"""Distances of surfaces: HD95 and NSD, in the unit of the spacing that is given.

HD95 is the larger of the two directed 95th percentiles; NSD the share of both surfaces within a tolerance, counted in
edge pixels. Both are as MONAI defines them. Other tools pool the percentiles (medpy) or weight by area (DeepMind):
values differ and must not be mixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

HD95_DEFINITION = "max of the two directed 95th percentiles of edge-pixel distances (as MONAI)"
NSD_DEFINITION = "share of edge pixels of both masks within the tolerance, unweighted (as MONAI)"


@dataclass(frozen=True)
class SurfaceAgreement:
    """Distances between two surfaces, summarised."""

    hd95: float
    """In the unit of the spacing; NaN where a mask is empty."""
    nsd: float
    """In [0, 1]; 0 where only the prediction is empty, NaN where the reference is."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distance of each edge pixel of one mask from the other mask's edge, in the unit of the spacing."""

    there: Float[np.ndarray, " p"]
    """From the prediction to the reference."""
    back: Float[np.ndarray, " r"]
    """From the reference to the prediction."""

    def scaled(self, factor: float) -> "SurfaceDistances":
        """Return the same distances in another unit."""
        return SurfaceDistances(self.there * factor, self.back * factor)

    def agreement(self, tolerance: float) -> SurfaceAgreement:
        """HD95 and NSD."""
        directed = np.percentile(self.there, 95), np.percentile(self.back, 95)
        near = np.count_nonzero(self.there <= tolerance) + np.count_nonzero(self.back <= tolerance)
        return SurfaceAgreement(float(max(directed)), float(near / (len(self.there) + len(self.back))))


def surface_agreement(
    prediction: Bool[np.ndarray, "*size"],
    reference: Bool[np.ndarray, "*size"],
    *,
    spacing: Sequence[float],
    tolerance: float,
) -> SurfaceAgreement:
    """HD95 and NSD of two masks of one size, in two or three dimensions.

    >>> mask = np.zeros((9, 9), bool)
    >>> mask[2:5, 2:5] = True
    >>> moved = surface_agreement(np.roll(mask, 2, axis=1), mask, spacing=(1.0, 0.5), tolerance=0.5)
    >>> moved.hd95, moved.nsd
    (1.0, 0.625)

    Args:
        spacing: distance of neighbours along each axis; its unit is that of the answer and the tolerance.
        tolerance: for NSD.
    """
    if not reference.any():
        return SurfaceAgreement(float("nan"), float("nan"))
    if not prediction.any():
        return SurfaceAgreement(float("nan"), 0.0)
    return surface_distances(prediction, reference, spacing=spacing).agreement(tolerance)


def surface_distances(
    prediction: Bool[np.ndarray, "*size"], reference: Bool[np.ndarray, "*size"], *, spacing: Sequence[float]
) -> SurfaceDistances:
    """Edges of two masks that are not empty, and how far they lie apart; measured once for HD95 and NSD."""
    from scipy.spatial import KDTree

    predicted, true = (_edge_pixels(mask) * np.asarray(spacing) for mask in (prediction, reference))
    there, _ = KDTree(true).query(predicted)
    back, _ = KDTree(predicted).query(true)
    return SurfaceDistances(np.asarray(there), np.asarray(back))


def _edge_pixels(mask: Bool[np.ndarray, "*size"]) -> Int[np.ndarray, "n d"]:
    """Indices of True pixels that have a False one beside them; outside the image is False."""
    from scipy.ndimage import binary_erosion, find_objects

    (covered,) = find_objects(mask.astype(np.uint8))
    inside = np.asarray(mask[covered], dtype=bool)
    inner = np.asarray(binary_erosion(inside), dtype=bool)
    return np.argwhere(inside & ~inner) + [part.start for part in covered]
