"""Refinement: the grid of opacities whose renderings equal the mattes, by a few sweeps over all accepted views.

A mean of mattes is too low where an object is thin: each ray through a hair has A = 0.5, half of it the hair's and half
the wall's; the mean is 0.5 for the hair, which then renders as 0.25. What the mattes ask for is sum w V = A. Each sweep
spreads every ray's residual A - M over its samples by weight, divides by the weights gathered there, and keeps V in
[0, 1]: simultaneous iterative reconstruction (Gilbert 1972), least squares without autograd, whatever the views' order.
Stopped early, it leaves alone what the views contradict each other in.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float32

from .estimators import MatteEstimator
from .mask_grid import MaskGrid
from .views import ViewSamples

RELAXATION = 1.8
"""Over-relaxation of a sweep; below 2, where the iteration stops converging."""
IDLE_BELOW = 0.004
"""Rays whose matte and rendering are both below this opacity take no part: their samples hold no object."""


def refine(
    grid: MaskGrid, views: Iterable[tuple[ViewSamples, Float32[np.ndarray, "h w"], float]], *, sweeps: int = 10
) -> list[float]:
    """Refine a grid in place.

    Args:
        grid: filled from the views by a `MatteEstimator`.
        views: samples, matte in [0, 1] and weight of each accumulated view.
        sweeps: passes over all views.

    Returns:
        Mean absolute residual |A - M| over the rays that take part, before each sweep.

    Raises:
        ValueError: the grid is another estimator's.
    """
    if not isinstance(grid.estimator, MatteEstimator):
        raise ValueError("only the matte estimator's grid holds opacities that can be refined")
    active = [_active(grid, *view) for view in views]
    residuals = []
    for _ in range(sweeps):
        step = torch.zeros_like(grid.sums)
        total, rays = 0.0, 0
        for samples, alpha, weight in active:
            residual = grid.flat(alpha - grid.render(samples))
            certain = grid.estimator.ray_values(grid.flat(alpha), weight)[:, 1]
            step += grid.scattered(samples, torch.stack([certain * residual, torch.zeros_like(residual)], dim=1))
            total, rays = total + float(residual.abs().sum()), rays + len(residual)
        opacity_sum = (grid.sums[..., 0] + RELAXATION * step[..., 0]).clamp_min(0)
        grid.sums[..., 0] = torch.minimum(opacity_sum, grid.sums[..., 1])
        residuals.append(total / max(rays, 1))
    return residuals


def _active(
    grid: MaskGrid, samples: ViewSamples, alpha: Float32[np.ndarray, "h w"], weight: float
) -> tuple[ViewSamples, Float32[np.ndarray, "1 n"], float]:
    """The rays of a view that see the object, as an image of one row."""
    chosen = np.flatnonzero(np.maximum(alpha, grid.render(samples)) > IDLE_BELOW)
    rays = torch.from_numpy(chosen).to(samples.weights.device)
    kept = (tensor[rays] for tensor in (samples.positions, samples.weights, samples.accumulation, samples.depth))
    return ViewSamples(*kept, size=(1, len(chosen))), alpha.flat[chosen][None], weight
