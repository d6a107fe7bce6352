import numpy as np
import pytest
from scipy.ndimage import shift

from nerf_seg.segmentation.estimators import Sa3dEstimator
from nerf_seg.segmentation.mask_grid import MaskGrid
from nerf_seg.segmentation.refinement import refine
from tests.nerf_seg.analytic import AnalyticScene, fill, mean_error


def views(scene: AnalyticScene, alphas: list[np.ndarray]) -> list:
    return [(scene.view(i).samples, alphas[i], 1.0) for i in range(scene.count)]


def test_refinement_lowers_the_error_in_views_it_never_saw() -> None:
    scene, held_out = AnalyticScene(count=7), AnalyticScene(count=4, arc_degrees=60)
    grid = fill(MaskGrid(64, domain=scene.domain), scene)
    before = mean_error(grid, held_out)
    residuals = refine(grid, views(scene, [scene.alpha(i) for i in range(7)]))
    assert len(residuals) == 10 and (np.diff(residuals) < 0).all()
    assert mean_error(grid, held_out) < 0.5 * before
    opacity = grid.sums[..., 0] / grid.sums[..., 1].clamp_min(1e-9)
    assert opacity.min() >= 0 and opacity.max() <= 1 + 1e-6


def test_refinement_bears_mattes_that_contradict_each_other(rng: np.random.Generator) -> None:
    scene = AnalyticScene(count=7)
    alphas = [shift(scene.alpha(i), rng.normal(0, 0.7, 2), order=1).clip(0, 1) for i in range(7)]
    grid = fill(MaskGrid(64, domain=scene.domain), scene, alphas)
    before = mean_error(grid, scene)
    refine(grid, views(scene, alphas))
    spoilt = np.mean([np.abs(alphas[i] - scene.alpha(i)).mean() for i in range(7)])
    assert mean_error(grid, scene) < min(before, spoilt)


def test_refinement_does_not_depend_on_the_order_of_the_views() -> None:
    scene = AnalyticScene(size=(27, 36), count=4)
    alphas = [scene.alpha(i) for i in range(4)]
    grids = []
    for order in (1, -1):
        grid = fill(MaskGrid(32, domain=scene.domain), scene)
        refine(grid, views(scene, alphas)[::order], sweeps=3)
        grids.append(grid.sums.numpy())
    np.testing.assert_allclose(*grids, atol=1e-3)


def test_scores_cannot_be_refined() -> None:
    with pytest.raises(ValueError, match="only the matte estimator"):
        refine(MaskGrid(4, Sa3dEstimator()), [])
