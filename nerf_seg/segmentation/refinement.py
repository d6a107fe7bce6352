"""Refinement: the grid of opacities whose renderings equal the mattes, by a few sweeps over all accepted views.

A mean of mattes is too low where an object is thin: each ray through a hair has A = 0.5, half of it the hair's and half
the wall's; the mean is 0.5 for the hair, which then renders as 0.25. What the mattes ask for is sum w V = A. Each sweep
spreads every ray's residual A - M over its samples by weight, divides by the weights gathered there, and keeps V in
[0, 1]: simultaneous iterative reconstruction (Gilbert 1972), least squares without autograd, whatever the views' order.

Least squares holds where mattes are right up to their edges. A matte that leaves out a part of the object, or takes in
what is none, is wrong by a whole opacity there, and would pull the part down to a share of the views that show it. So
pixels count by how well the view agrees with what all views together say, anew at each sweep: by 1 / (1 + (r / s)^2)^2
(Geman and McClure 1987), where r is the mean residual of their neighbourhood. What most of the weight agrees on wins.
The mean, with its sign, tells a part that is left out from edges that lie a little off and from thin things that are
partly covered, for which least squares is right. Prompted views are what the user means and always count in full.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from scipy.ndimage import uniform_filter

from .estimators import MatteEstimator
from .mask_grid import MaskGrid
from .views import ViewSamples

RELAXATION = 1.8
"""Over-relaxation of a sweep; below 2, where the iteration stops converging."""
IDLE_BELOW = 0.004
"""Rays whose matte and rendering are both below this opacity take no part: their samples hold no object."""
DISSENT = 0.5
"""Residual s from which a view is taken to contradict the others: they are half an opacity apart."""
PART_REACH = 0.03
"""Half the side of the neighbourhood in which a view contradicts the others or not, as a share of the image's longer
side. What is narrower is an edge that lies a little off, and no part that is left out."""


@dataclass(frozen=True, eq=False)
class MattedView:
    """A view as it was accumulated."""

    samples: ViewSamples
    alpha: Float32[np.ndarray, "h w"]
    """Its matte, in [0, 1]."""
    weight: float
    """Of the view."""
    certain: bool = False
    """Whether it is a prompted view, whose matte counts in full whatever other views say."""


def refine(grid: MaskGrid, views: Iterable[MattedView], *, sweeps: int = 10) -> list[float]:
    """Refine a grid in place.

    Args:
        grid: filled from the views by a `MatteEstimator`.
        views: those that were accumulated.
        sweeps: passes over all views.

    Returns:
        Mean absolute residual |A - M| over the rays that take part, before each sweep.

    Raises:
        ValueError: the grid is another estimator's.
    """
    if not isinstance(grid.estimator, MatteEstimator):
        raise ValueError("only the matte estimator's grid holds opacities that can be refined")
    active = [_active(grid, view) for view in views]
    residuals = []
    for _ in range(sweeps):
        step = torch.zeros_like(grid.sums)
        total, rays = 0.0, 0
        for view in active:
            difference = view.alpha - grid.render(view.samples)
            residual = grid.flat(difference)
            counts = grid.estimator.ray_values(grid.flat(view.alpha), view.weight)[:, 1]
            if not view.certain:
                counts = counts * grid.flat(assent(view.spread(difference)).flat[view.chosen][None])
            step += grid.scattered(view.samples, torch.stack([counts * residual, torch.zeros_like(residual)], dim=1))
            total, rays = total + float(residual.abs().sum()), rays + len(residual)
        opacity_sum = (grid.sums[..., 0] + RELAXATION * step[..., 0]).clamp_min(0)
        grid.sums[..., 0] = torch.minimum(opacity_sum, grid.sums[..., 1])
        residuals.append(total / max(rays, 1))
    return residuals


def assent(difference: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return how much the pixels of a view count, by the mean of what its matte has more or less round each of them.

    >>> whole, lacks_a_part = np.zeros((40, 40), np.float32), np.zeros((40, 40), np.float32)
    >>> lacks_a_part[20:] = -0.5
    >>> lacks_a_part[:20:2] = 0.5  # and is a row too large here and there
    >>> [round(float(value), 2) for value in (assent(whole).min(), *assent(lacks_a_part)[[30, 10], 10])]
    [1.0, 0.25, 0.81]
    """
    side_px = 2 * max(round(PART_REACH * max(difference.shape)), 1) + 1
    together = uniform_filter(difference, size=side_px, mode="nearest")
    return (1 + np.square(together / DISSENT)) ** -2


@dataclass(frozen=True, eq=False)
class _Active:
    """The rays of a view that see the object, as an image of one row."""

    samples: ViewSamples
    alpha: Float32[np.ndarray, "1 n"]
    weight: float
    certain: bool
    chosen: Int64[np.ndarray, " n"]
    """Their pixels, row-major."""
    size: tuple[int, int]
    """(H, W) of the view."""

    def spread(self, values: Float32[np.ndarray, "1 n"]) -> Float32[np.ndarray, "h w"]:
        """Values of the rays as an image of the view, 0 elsewhere."""
        whole = np.zeros(self.size, dtype=np.float32)
        whole.flat[self.chosen] = values[0]
        return whole


def _active(grid: MaskGrid, view: MattedView) -> _Active:
    samples = view.samples
    chosen = np.flatnonzero(np.maximum(view.alpha, grid.render(samples)) > IDLE_BELOW)
    rays = torch.from_numpy(chosen).to(samples.weights.device)
    kept = (tensor[rays] for tensor in (samples.positions, samples.weights, samples.accumulation, samples.depth))
    seen = ViewSamples(*kept, size=(1, len(chosen)))
    return _Active(seen, view.alpha.flat[chosen][None], view.weight, view.certain, chosen, samples.size)
