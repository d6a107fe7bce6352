"""The closed forms against autograd through torch's own grid_sample, and what the estimators promise."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nerf_seg.segmentation.estimators import MatteEstimator, Sa3dEstimator
from nerf_seg.segmentation.mask_grid import MaskGrid
from nerf_seg.segmentation.views import ViewSamples
from tests.nerf_seg.analytic import AnalyticScene, fill, mean_error

SIDE = 9


def random_view(seed: int, rays: int = 60, k: int = 5) -> tuple[ViewSamples, np.ndarray]:
    """Samples all over the cube, and a matte."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(rays, k, generator=generator)
    weights = weights / weights.sum(1, keepdim=True)
    positions = torch.rand(rays, k, 3, generator=generator)
    samples = ViewSamples(positions, weights, torch.ones(rays), torch.ones(rays), size=(6, rays // 6))
    return samples, torch.rand(6, rays // 6, generator=generator).numpy()


def render(field: Tensor, samples: ViewSamples) -> Tensor:
    """M(r) = sum w V, by torch."""
    at = samples.positions.flip(-1)[None, None] * 2 - 1
    values = torch.nn.functional.grid_sample(field[None, None], at, align_corners=True)[0, 0, 0]
    return (samples.weights * values).sum(-1)


def accumulate(grid: MaskGrid, samples: ViewSamples, alpha: np.ndarray, weight: float = 1.0) -> None:
    grid.estimator.fold(grid.sums, grid.scattered(samples, grid.estimator.ray_values(grid.flat(alpha), weight)))


@pytest.mark.parametrize("lamb", [0.15, 1.0, 5.0])
def test_sa3d_step_is_a_weighted_back_projection(lamb: float) -> None:
    samples, alpha = random_view(0)
    grid = MaskGrid(SIDE, Sa3dEstimator(lamb))
    accumulate(grid, samples, alpha)
    field = torch.zeros(SIDE, SIDE, SIDE, requires_grad=True)
    matte, rendered = torch.from_numpy(alpha).flatten(), render(field, samples)
    loss = -(matte * rendered).sum() + lamb * ((1 - matte) * rendered).sum()
    loss.backward()
    assert field.grad is not None
    torch.testing.assert_close(grid.sums[..., 0], -field.grad, atol=1e-6, rtol=0)


def test_sa3d_mean_is_the_authors_optimiser() -> None:
    """grid *= counts; SGD step of lr 1; counts += changed; grid /= counts, view after view."""
    views = [random_view(seed, rays=24) for seed in range(4)]
    grid = MaskGrid(SIDE, Sa3dEstimator(1.0))
    field = torch.zeros(SIDE, SIDE, SIDE, requires_grad=True)
    counts = torch.zeros_like(field)
    optimiser = torch.optim.SGD([field], lr=1.0)
    for samples, alpha in views:
        accumulate(grid, samples, alpha)
        matte, rendered = torch.from_numpy(alpha).flatten(), render(field, samples)
        optimiser.zero_grad()
        (-(matte * rendered).sum() + ((1 - matte) * rendered).sum()).backward()
        with torch.no_grad():
            field *= counts
            before = field.clone()
            optimiser.step()
            counts += field != before
            field /= counts + 1e-9
    torch.testing.assert_close(grid.estimator.channels(grid.sums)[..., 0], field.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("lamb", [0.15, 1.0])
def test_sign_of_sa3d_is_a_threshold_on_the_mean(lamb: float) -> None:
    sa3d, matte = MaskGrid(SIDE, Sa3dEstimator(lamb)), MaskGrid(SIDE, MatteEstimator(certainty_floor=1.0, leak=0.0))
    for seed in range(3):
        for grid in (sa3d, matte):
            accumulate(grid, *random_view(seed))
    mean, step = matte.sums[..., 0] / matte.sums[..., 1], sa3d.sums[..., 0]
    clear = (step.abs() > 1e-5) & (matte.sums[..., 1] > 1e-3)
    assert clear.float().mean() > 0.8
    assert torch.equal((step > 0)[clear], (mean > lamb / (1 + lamb))[clear])


def test_matte_does_not_depend_on_the_order_of_the_views() -> None:
    views = [(*random_view(seed), 0.5 + 0.1 * seed) for seed in range(5)]
    grids = []
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
        grid = MaskGrid(SIDE)
        for i in order:
            accumulate(grid, *views[i])
        grids.append(grid.sums)
    torch.testing.assert_close(*grids, atol=1e-5, rtol=1e-5)


def test_matte_is_bounded_and_a_constant_matte_comes_back() -> None:
    grid = MaskGrid(SIDE)
    accumulate(grid, *random_view(0))
    opacity, observed = grid.query(torch.rand(500, 3))
    assert opacity.min() >= 0 and opacity.max() <= 1 and (opacity[~observed] == 0).all()
    samples, alpha = random_view(1)
    grid = MaskGrid(SIDE)
    accumulate(grid, samples, np.full_like(alpha, 0.3))
    values, observed = grid.values(samples.positions)
    torch.testing.assert_close(values[observed], torch.full_like(values[observed], 0.3), atol=1e-4, rtol=0)


def test_certain_rays_count_more() -> None:
    rays = MatteEstimator(certainty_floor=0.1).ray_values(torch.tensor([0.0, 0.5, 1.0]), 0.5)
    torch.testing.assert_close(rays, torch.tensor([[0.0, 0.5], [0.025, 0.05], [0.5, 0.5]]))


def test_what_shines_through_the_object_is_not_observed() -> None:
    places = torch.tensor([[[0.5, 0.5, 0.75], [0.5, 0.5, 0.25]]])
    samples = ViewSamples(places, torch.tensor([[0.98, 0.02]]), torch.ones(1), torch.ones(1), size=(1, 1))
    grid = MaskGrid(5)
    accumulate(grid, samples, np.ones((1, 1), np.float32))
    assert grid.query(places[0])[1].tolist() == [True, False]


@pytest.mark.parametrize("occluder", [False, True])
def test_matte_recovers_the_exact_alpha_better_than_sa3d(occluder: bool) -> None:
    scene = AnalyticScene(occluder=occluder)
    estimators = (MatteEstimator(), MatteEstimator(certainty_floor=1.0), Sa3dEstimator(1.0), Sa3dEstimator(0.15))
    errors = [mean_error(fill(MaskGrid(64, e, scene.domain), scene), scene) for e in estimators]
    assert errors[0] < 0.02 and sorted(errors) == errors
