"""MaskGrid: a dense grid of opacities in the scene's unit cube, filled from mattes and rendered as a matte."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from .estimators import Estimator, MatteEstimator
from .rendering import Rendering as Rendering
from .views import ViewSamples


@dataclass(frozen=True)
class Domain:
    """The part of the world that the unit cube stands for.

    World positions are contracted first, if at all, and then scaled from [lower, upper] to [0, 1] on each axis.

    >>> Domain.box((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)).to_unit(torch.zeros(3)).tolist()
    [0.5, 0.5, 0.5]
    """

    lower: tuple[float, float, float] = (-2.0, -2.0, -2.0)
    upper: tuple[float, float, float] = (2.0, 2.0, 2.0)
    contracted: bool = True
    """Whether space is contracted as nerfacto does it: eq. 10 of mip-NeRF 360 (2022), with the maximum norm."""

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


class MaskGrid(nn.Module):
    """Two sums per vertex of a cube of vertices, from which the estimator reads a value.

    >>> opacities, observed = MaskGrid(16).query(torch.full((1, 3), 0.5))
    >>> opacities.item(), observed.item()
    (0.0, False)

    Args:
        resolution: vertices along each side.
        estimator: how views are accumulated and values are read.
        domain: the part of the world that the unit cube stands for.
    """

    sums: Float[Tensor, "x y z 2"]

    def __init__(self, resolution: int = 128, estimator: Estimator | None = None, domain: Domain | None = None) -> None:
        super().__init__()
        if resolution < 2:
            raise ValueError(f"a grid has at least 2 vertices along a side, got {resolution}")
        self.estimator: Estimator = MatteEstimator() if estimator is None else estimator
        self.domain = Domain() if domain is None else domain
        self.resolution = resolution
        self.register_buffer("sums", torch.zeros(resolution, resolution, resolution, 2))

    def flat(self, image: Float32[np.ndarray, "h w"]) -> Float[Tensor, " r"]:
        """An image's values in the order of its rays, on the grid's device."""
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.sums).flatten()

    def scattered(self, samples: ViewSamples, values: Float[Tensor, "r 2"]) -> Float[Tensor, "x y z 2"]:
        """Per-ray values times rendering weight, spread trilinearly over the vertices round each sample."""
        samples = samples.to(self.sums.device)
        heavy = samples.weights > self.estimator.leak * samples.weights.amax(dim=1, keepdim=True)
        taken = heavy & ((samples.positions >= 0) & (samples.positions <= 1)).all(dim=-1)
        places, weights, rays = samples.positions[taken], samples.weights[taken], taken.nonzero()[:, 0]
        side = self.resolution
        scaled = places * (side - 1)
        cell = scaled.floor().clamp(max=side - 2)
        x, y, z = (scaled - cell).T.contiguous()
        base = cell.long() @ torch.tensor([side * side, side, 1], device=places.device)
        amounts = values[rays] * weights[:, None]
        total = torch.zeros_like(self.sums).view(-1, 2)
        for dx, along_x in enumerate((1 - x, x)):
            for dy, along_y in enumerate((1 - y, y)):
                for dz, along_z in enumerate((1 - z, z)):
                    corner = base + ((dx * side + dy) * side + dz)
                    total.index_add_(0, corner, amounts * (along_x * along_y * along_z)[:, None])
        return total.view_as(self.sums)

    def query(self, places: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """Opacity in [0, 1] at places of the unit cube, and whether any view has observed them; 0 outside the cube."""
        values, observed = self.values(places)
        return self.estimator.opacity(values), observed

    def look(self, samples: ViewSamples) -> Rendering:
        """The grid as a view sees it.

        The k kept samples stand for all of the ray: their mean by weight, times the ray's accumulation.
        """
        samples = samples.to(self.sums.device)
        values, observed = self.values(samples.positions)
        total = samples.weights.sum(-1).clamp_min(1e-6)
        rendered = (samples.weights * values).sum(-1) / total * samples.accumulation
        share = (samples.weights * observed).sum(-1) / total
        pictures = (self.estimator.opacity(rendered), self.estimator.score(rendered), share)
        return Rendering(*(p.reshape(samples.size).to("cpu", torch.float32).numpy() for p in pictures))

    def render(self, samples: ViewSamples) -> Float32[np.ndarray, "h w"]:
        """The 3D matte as a view sees it, in [0, 1]."""
        return self.look(samples).alpha

    def object_ends(self, samples: ViewSamples) -> Float[Tensor, "r 3"]:
        """Return where each ray ends on the object, in the world: the mean place of its samples, weighted by w V.

        Unlike a point at the expected depth it does not hang between the object's rim and what lies behind it. Rays
        that meet no object end at the origin.
        """
        samples = samples.to(self.sums.device)
        weights = samples.weights * self.query(samples.positions)[0]
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)
        return (weights[..., None] * self.domain.to_world(samples.positions)).sum(-2)

    def object_extent(self) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]] | None:
        """Corners of the box round all vertices above one half, with a vertex of room; None where there are none."""
        values, _ = self.estimator.read(self.estimator.channels(self.sums))
        found = (self.estimator.opacity(values) > 0.5).nonzero()
        if len(found) == 0:
            return None
        lower, upper = found.amin(0) - 1, found.amax(0) + 1
        return lower.clamp_min(0) / (self.resolution - 1), upper.clamp_max(self.resolution - 1) / (self.resolution - 1)

    def values(self, places: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """The estimator's values at places of the unit cube, to be rendered, and whether any view has observed them.

        Zero outside the cube.
        """
        volume = self.estimator.channels(self.sums).permute(3, 0, 1, 2)[None]
        # grid_sample's last axis of coordinates runs from the fastest axis to the slowest, in [-1, 1].
        at = (places.to(volume).reshape(1, 1, 1, -1, 3) * 2 - 1).flip(-1)
        channels = nn.functional.grid_sample(volume, at, mode="bilinear", align_corners=True)
        inside = ((places >= 0) & (places <= 1)).all(dim=-1)
        values, observed = self.estimator.read(channels.reshape(2, *places.shape[:-1]).movedim(0, -1))
        return values * inside, observed & inside
