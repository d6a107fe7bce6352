"""Distances of surfaces, by MONAI: HD95 and NSD, in the unit of the spacing that is given.

HD95 is the larger of the two directed 95th percentiles; NSD the share of both surfaces within a tolerance, counted in
edge pixels. Other tools pool the percentiles (medpy) or weight by area (DeepMind): values differ and must not be mixed.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from zim_plugins.core import MissingExtra

HD95_DEFINITION = "max of the two directed 95th percentiles of edge-pixel distances (MONAI)"
NSD_DEFINITION = "share of edge pixels of both masks within the tolerance, unweighted (MONAI)"


@dataclass(frozen=True)
class SurfaceAgreement:
    """How far two surfaces lie apart."""

    hd95: float
    """In the unit of the spacing; NaN where a mask is empty."""
    nsd: float
    """In [0, 1]; 0 where only the prediction is empty, NaN where the reference is."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """How far each edge pixel of one mask lies from the other mask's edge, in the unit of the spacing."""

    there: Float[np.ndarray, " p"]
    """From the prediction to the reference."""
    back: Float[np.ndarray, " r"]
    """From the reference to the prediction."""

    def scaled(self, factor: float) -> "SurfaceDistances":
        """In another unit."""
        return SurfaceDistances(self.there * factor, self.back * factor)

    def agreement(self, tolerance: float) -> SurfaceAgreement:
        """HD95 and NSD."""
        directed = np.percentile(self.there, 95), np.percentile(self.back, 95)
        near = np.count_nonzero(self.there <= tolerance) + np.count_nonzero(self.back <= tolerance)
        return SurfaceAgreement(float(max(directed)), near / (len(self.there) + len(self.back)))


def surface_agreement(
    prediction: Bool[np.ndarray, "*size"],
    reference: Bool[np.ndarray, "*size"],
    *,
    spacing: Sequence[float],
    tolerance: float,
) -> SurfaceAgreement:
    """HD95 and NSD of two masks of one size, in two or three dimensions.

    Args:
        prediction: of the model.
        reference: the truth.
        spacing: distance of neighbours along each axis; its unit is that of the answer and the tolerance.
        tolerance: for NSD.

    Raises:
        MissingExtra: MONAI is not installed.
    """
    if not reference.any():
        return SurfaceAgreement(float("nan"), float("nan"))
    if not prediction.any():
        return SurfaceAgreement(float("nan"), 0.0)
    return surface_distances(prediction, reference, spacing=spacing).agreement(tolerance)


def surface_distances(
    prediction: Bool[np.ndarray, "*size"], reference: Bool[np.ndarray, "*size"], *, spacing: Sequence[float]
) -> SurfaceDistances:
    """MONAI's edges of two masks that are not empty, and their distances; measured once for HD95 and NSD.

    Raises:
        MissingExtra: MONAI is not installed.
    """
    try:
        import torch
        from monai.metrics.utils import get_edge_surface_distance
    except ImportError as error:
        raise MissingExtra("monai", "medical") from error
    pair = [torch.from_numpy(mask) for mask in _cropped(prediction, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's, on deprecations of its own
        measured: Any = get_edge_surface_distance(pair[0], pair[1], spacing=[float(s) for s in spacing], symmetric=True)
    there, back = measured[1]
    return SurfaceDistances(there.double().numpy(), back.double().numpy())


def _cropped(
    prediction: Bool[np.ndarray, "*size"], reference: Bool[np.ndarray, "*size"]
) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to what they cover, with one pixel of background all round: outside the picture is background."""
    united = prediction | reference
    inside = []
    for axis in range(united.ndim):
        others = tuple(a for a in range(united.ndim) if a != axis)
        found = np.flatnonzero(united.any(axis=others))
        inside.append(slice(int(found[0]), int(found[-1]) + 1))
    cut = tuple(inside)
    return np.pad(prediction[cut], 1), np.pad(reference[cut], 1)
