"""How mattes of views become values of the grid: `matte` (bounded, order-free) and `sa3d` (as the paper)."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class Estimator(Protocol):
    """See the two implementations."""


@dataclass(frozen=True)
class MatteEstimator:
    """Weighted mean of the mattes that see a vertex."""


@dataclass(frozen=True)
class Sa3dEstimator:
    """SA3D's linear loss, one step of SGD per view, and its mean over the views that touched a vertex."""

    lamb: float = 1.0
