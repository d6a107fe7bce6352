"""Rendering: the object so far, as one view sees it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, eq=False)
class Rendering:
    """A field of opacities as one view sees it; the first axes are (h, w)."""

    alpha: Float32[np.ndarray, "h w"]
    """The 3D matte in [0, 1]; what no view has observed counts as transparent."""
    score: Float32[np.ndarray, "h w"]
    """Positive inside the object: `alpha - 0.5`, or SA3D's unbounded rendering."""
    observed: Float32[np.ndarray, "h w"]
    """Share of the ray's weight in [0, 1] that lies where some view has been accumulated."""
