"""ObjectField: what a segmenter fills, whatever stands behind it: a grid in a radiance field, or Gaussians."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from .estimators import Estimator
from .rendering import Rendering
from .views import View, ViewSource


@runtime_checkable
class Samples(Protocol):
    """Samples that a field is rendered along in one view: `ViewSamples`, or `SplatSamples` of Gaussians."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) [px]."""
        ...

    @property
    def depth(self) -> Float[Tensor, " r"]:
        """Expected depth of each pixel, row-major, in the scene's unit of length."""
        ...


@runtime_checkable
class ObjectField(Protocol):
    """Two sums per element, from which the estimator reads its opacity."""

    estimator: Estimator
    sums: Tensor
    """Shape (*elements, 2)."""

    def flat(self, image: Float32[np.ndarray, "h w"]) -> Float[Tensor, " r"]:
        """Return an image's values in the order of its rays, on the field's device."""
        ...

    def scattered(self, samples: Any, values: Float[Tensor, "r 2"]) -> Float[Tensor, "*v 2"]:
        """Return what each element gathers of per-ray values, by rendering weight."""
        ...

    def look(self, samples: Any) -> Rendering:
        """Return the field as a view sees it."""
        ...

    def render(self, samples: Any) -> Float32[np.ndarray, "h w"]:
        """Return the 3D matte as a view sees it, in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class ObjectInScene:
    """An empty field for one object of a scene, and the scene's views as that field takes them."""

    field: ObjectField
    source: ViewSource
    """The views that the segmentation sees."""
    placed: Callable[[View], View]
    """Makes of any view of the scene one that the field can be rendered along."""
