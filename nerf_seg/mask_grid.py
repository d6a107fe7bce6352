"""MaskGrid: a dense grid of opacities in the scene's unit cube, filled from mattes and rendered as a matte."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from .estimators import Estimator, MatteEstimator
from .view import ViewSamples


@dataclass(frozen=True)
class Domain:
    """The part of the world that the unit cube stands for.

    World positions are contracted first, if at all, and then scaled from [lower, upper] to [0, 1] on each axis.
    """

    lower: tuple[float, float, float] = (-2.0, -2.0, -2.0)
    upper: tuple[float, float, float] = (2.0, 2.0, 2.0)
    contracted: bool = True
    """Whether space is contracted as nerfacto does it: mip-NeRF 360 (Barron et al. 2022), eq. 10, with the maximum norm."""

    @classmethod
    def contraction(cls) -> "Domain":
        """All of space, contracted into [-2, 2]^3."""
        return cls()

    @classmethod
    def box(cls, lower: tuple[float, float, float], upper: tuple[float, float, float]) -> "Domain":
        """An axis-aligned box of the world; what lies outside falls outside the unit cube."""
        return cls(lower=lower, upper=upper, contracted=False)

    def to_unit(self, positions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """World positions as places in the unit cube."""
        if self.contracted:
            norm = positions.abs().amax(dim=-1, keepdim=True).clamp_min(1.0)
            positions = (2 - 1 / norm) * (positions / norm)
        lower, upper = positions.new_tensor(self.lower), positions.new_tensor(self.upper)
        return (positions - lower) / (upper - lower)

    def to_world(self, places: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """The inverse of `to_unit`; the cube's faces under contraction stand for infinity and answer 1e6 or so."""
        lower, upper = places.new_tensor(self.lower), places.new_tensor(self.upper)
        positions = lower + places * (upper - lower)
        if self.contracted:
            norm = positions.abs().amax(dim=-1, keepdim=True).clamp(1.0, 2 - 1e-6)
            positions = positions / norm / (2 - norm)
        return positions


@dataclass(frozen=True, eq=False)
class Rendering:
    """The grid as one view sees it; the first axes are (h, w)."""

    alpha: Float32[np.ndarray, "h w"]
    """The 3D matte in [0, 1]; what no view has observed counts as transparent."""
    score: Float32[np.ndarray, "h w"]
    """Positive inside the object: `alpha - 0.5`, or SA3D's unbounded rendering."""
    observed: Float32[np.ndarray, "h w"]
    """Share of the ray's weight in [0, 1] that lies where some view has been accumulated."""


class MaskGrid(nn.Module):
    """Two sums per vertex of a cube of vertices, from which the estimator reads a value.

    Args:
        resolution: vertices along each side.
        estimator: how views are accumulated and values are read.
        domain: the part of the world that the unit cube stands for.
    """

    sums: Float[Tensor, "2 x y z"]
    window: Float[Tensor, "2 3"]

    def __init__(self, resolution: int = 128, estimator: Estimator | None = None, domain: Domain | None = None) -> None:
        super().__init__()
        if resolution < 2:
            raise ValueError(f"a grid has at least 2 vertices along a side, got {resolution}")
        self.estimator = MatteEstimator() if estimator is None else estimator
        self.domain = Domain() if domain is None else domain
        self.resolution = resolution
        self.register_buffer("sums", torch.zeros(2, resolution, resolution, resolution))
        self.register_buffer("window", torch.tensor([[0.0] * 3, [1.0] * 3]))

    def query(self, places: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """Opacity in [0, 1] at places of the scene's unit cube, and whether any view has observed them."""
        raise NotImplementedError

    def look(self, samples: ViewSamples) -> Rendering:
        """The grid as a view sees it."""
        raise NotImplementedError

    def render(self, samples: ViewSamples) -> Float32[np.ndarray, "h w"]:
        """The 3D matte as a view sees it, in [0, 1]."""
        return self.look(samples).alpha
