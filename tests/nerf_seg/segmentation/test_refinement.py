import numpy as np
import pytest
from scipy.ndimage import shift

from nerf_seg.segmentation.estimators import Sa3dEstimator
from nerf_seg.segmentation.mask_grid import MaskGrid
from nerf_seg.segmentation.refinement import MattedView, refine
from tests.nerf_seg.analytic import AnalyticScene, fill, mean_error


def views(scene: AnalyticScene, alphas: list[np.ndarray], certain: tuple[int, ...] = ()) -> list[MattedView]:
    return [MattedView(scene.view(i).samples, alphas[i], 1.0, i in certain) for i in range(scene.count)]


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


def lower_half(scene: AnalyticScene, index: int) -> np.ndarray:
    """The rows of a view below the middle of the ball."""
    rows = np.nonzero(scene.alpha(index) > 0.5)[0]
    return np.arange(scene.size[0])[:, None] > rows.mean()


def test_a_part_that_some_views_leave_out_stays_whole() -> None:
    scene = AnalyticScene(count=7)
    alphas = [scene.alpha(i) for i in range(7)]
    for i in (1, 3, 5):
        alphas[i] = np.where(lower_half(scene, i), 0, alphas[i])
    grid = fill(MaskGrid(64, domain=scene.domain), scene, alphas)

    def shown() -> float:
        """Of the part, in all views: its rendered opacity over its true one."""
        parts = [(grid.render(scene.view(i).samples), scene.alpha(i) * lower_half(scene, i)) for i in range(7)]
        return float(sum((rendered * truth).sum() for rendered, truth in parts) / sum((t * t).sum() for _, t in parts))

    assert 0.4 < shown() < 0.7  # four of seven views show it
    before = mean_error(grid, scene)
    refine(grid, views(scene, alphas))
    assert shown() > 0.9
    assert mean_error(grid, scene) < 0.4 * before


def test_what_some_views_take_in_beside_the_object_goes() -> None:
    scene = AnalyticScene(count=7)
    alphas = [scene.alpha(i) for i in range(7)]
    for i in (1, 3, 5):
        alphas[i] = alphas[i].copy()
        alphas[i][:, :12] = 1  # the wall
    grid = fill(MaskGrid(64, domain=scene.domain), scene, alphas)
    before = mean_error(grid, scene)
    refine(grid, views(scene, alphas))
    assert mean_error(grid, scene) < 0.5 * before


def test_a_prompted_view_counts_in_full_whatever_the_others_say() -> None:
    scene = AnalyticScene(count=3)
    alphas = [scene.alpha(0), 0 * scene.alpha(1), 0 * scene.alpha(2)]
    shown = []
    for certain in ((), (0,)):
        grid = fill(MaskGrid(48, domain=scene.domain), scene, alphas)
        refine(grid, views(scene, alphas, certain))
        shown.append(float(grid.render(scene.view(0).samples).sum()))
    assert shown[1] > 1.2 * shown[0]


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
