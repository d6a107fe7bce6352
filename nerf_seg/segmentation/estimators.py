"""Estimators that turn mattes of views into values of the grid: `matte` (bounded, order-free), `sa3d` (as the paper).

Both keep two sums per vertex v. A ray r with matte A(r) adds to them through each of its samples, with the rendering
weight w of the sample and its trilinear weight b at the vertex:

- `matte`: N(v) += sum w b c A and D(v) += sum w b c, with c the view's weight times how certain A is; V = N / D, a mean
  of mattes, whatever the order of the views. A vertex of small D was not observed: neither object nor background.
- `sa3d` (Cen et al. 2023): the loss of a view, L = -sum A M + lambda sum (1 - A) M with M(r) = sum w V, is linear in V.
  One step of gradient descent from any V therefore adds sum w b ((1 + lambda) A - lambda): no autograd is needed. The
  authors' optimiser keeps the mean of the steps over the views that touched a vertex: their sum and their number.

The sign of SA3D's value is that of A's weighted mean against lambda / (1 + lambda); its size is no opacity.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

UNOBSERVED_BELOW = 1e-3
"""Sum of weights D under which a vertex counts as not observed, in rays."""


@runtime_checkable
class Estimator(Protocol):
    """Rule for what is added to a grid's two sums, and how they are read."""

    @property
    def leak(self) -> float:
        """Share of its ray's heaviest weight below which a sample is not accumulated."""
        ...

    def ray_values(self, alpha: Float[Tensor, " r"], weight: float) -> Float[Tensor, "r 2"]:
        """Return what each ray adds to the two sums for each unit of w b."""
        ...

    def fold(self, sums: Float[Tensor, "*v 2"], step: Float[Tensor, "*v 2"]) -> None:
        """Add one view's scattered ray values to the sums, in place."""
        ...

    def channels(self, sums: Float[Tensor, "*v 2"]) -> Float[Tensor, "*v 2"]:
        """The two numbers per vertex that are interpolated between vertices."""
        ...

    def read(self, channels: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """Value and whether it was observed, of interpolated channels; 0 where it was not."""
        ...

    def opacity(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Values, or their rendering, as opacity in [0, 1]."""
        ...

    def score(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Rendered values as scores, positive inside the object."""
        ...


@dataclass(frozen=True)
class MatteEstimator:
    """The weighted mean of the mattes that see a vertex."""

    certainty_floor: float = 0.05
    """Weight of a ray with A = 0.5; rays with A of 0 or 1 weigh 1, those between by (2A - 1)^2."""
    leak: float = 0.03
    """Without it, what shines through the object by one percent would count as observed, and as the object."""

    def ray_values(self, alpha: Float[Tensor, " r"], weight: float) -> Float[Tensor, "r 2"]:
        """Certainty times view weight, with and without A."""
        certainty = self.certainty_floor + (1 - self.certainty_floor) * (2 * alpha - 1).square()
        return torch.stack([alpha, torch.ones_like(alpha)], dim=1) * (weight * certainty)[:, None]

    def fold(self, sums: Float[Tensor, "*v 2"], step: Float[Tensor, "*v 2"]) -> None:
        """Sums of all views."""
        sums += step

    def channels(self, sums: Float[Tensor, "*v 2"]) -> Float[Tensor, "*v 2"]:
        """N and D themselves: what was hardly observed hardly counts between vertices."""
        return sums

    def read(self, channels: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """N / D."""
        observed = channels[..., 1] > UNOBSERVED_BELOW
        values = channels[..., 0] / channels[..., 1].clamp_min(UNOBSERVED_BELOW)
        return torch.where(observed, values, 0.0), observed

    def opacity(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The values."""
        return values.clamp(0, 1)

    def score(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Opacity above one half."""
        return values - 0.5


@dataclass(frozen=True)
class Sa3dEstimator:
    """SA3D's linear loss, one step per view, and the mean of the steps over the views that touched a vertex."""

    lamb: float = 1.0
    """Weight of the loss outside the matte; 0.15 and 1.0 stand in the authors' code."""
    leak: float = 0.0

    def ray_values(self, alpha: Float[Tensor, " r"], weight: float) -> Float[Tensor, "r 2"]:
        """The negative gradient of the loss by M(r); the weight of a view is not used, as in the paper."""
        step = (1 + self.lamb) * alpha - self.lamb
        return torch.stack([step, torch.zeros_like(step)], dim=1)

    def fold(self, sums: Float[Tensor, "*v 2"], step: Float[Tensor, "*v 2"]) -> None:
        """Sum of the steps, and how many of them were not zero."""
        sums[..., 0] += step[..., 0]
        sums[..., 1] += step[..., 0] != 0

    def channels(self, sums: Float[Tensor, "*v 2"]) -> Float[Tensor, "*v 2"]:
        """Mean step, and the number of views."""
        return torch.stack([sums[..., 0] / sums[..., 1].clamp_min(1), sums[..., 1]], dim=-1)

    def read(self, channels: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
        """The interpolated mean step, unbounded; SA3D knows no third state, and what no view touched is 0."""
        return channels[..., 0], torch.ones_like(channels[..., 1], dtype=torch.bool)

    def opacity(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """1 where the value is positive, else 0: a mask."""
        return (values > 0).to(values.dtype)

    def score(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The values."""
        return values
