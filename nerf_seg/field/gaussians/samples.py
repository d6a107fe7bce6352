"""PixelWeights: how much of each pixel of a view every Gaussian is, whoever computes it."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor


@runtime_checkable
class PixelWeights(Protocol):
    """Blending weights of one view, r = H W pixels in row-major order, n Gaussians."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) [px]."""
        ...

    @property
    def depth(self) -> Float[Tensor, " r"]:
        """Mean depth of each pixel by weight, in the scene's unit of length; on the CPU."""
        ...

    @property
    def accumulation(self) -> Float[Tensor, " r"]:
        """Sum of the weights of each pixel, in [0, 1]; on the CPU."""
        ...

    @property
    def memory(self) -> int:
        """Bytes that are held."""
        ...

    def blend(self, values: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, "h w c"]:
        """Return the image of values of the Gaussians, over black."""
        ...

    def gather(self, values: Float32[np.ndarray, "r c"]) -> Float32[np.ndarray, "n c"]:
        """Return what each Gaussian gathers of values of the pixels: their sum by weight."""
        ...
