import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from nerf_seg.segmentation.estimators import MatteEstimator, Sa3dEstimator
from nerf_seg.segmentation.mask_grid import Domain, MaskGrid
from nerf_seg.segmentation.views import ViewSamples
from tests.nerf_seg.analytic import AnalyticScene, fill


def test_domains_are_inverted() -> None:
    world = (torch.rand(200, 3) - 0.5) * torch.tensor([0.8, 8.0, 160.0])
    for domain in (Domain.contraction(), Domain.box((-90, -90, -90), (90, 95, 100))):
        unit = domain.to_unit(world)
        assert ((unit >= 0) & (unit <= 1)).all()
        torch.testing.assert_close(domain.to_world(unit), world, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(Domain.contraction().to_world(torch.tensor([[0.0, 1.0, 0.5]]))).all()


def test_contraction_is_nerfacto_s() -> None:
    spatial_distortions = pytest.importorskip("nerfstudio.field_components.spatial_distortions")
    world = torch.randn(200, 3) * 3
    theirs = (spatial_distortions.SceneContraction(order=float("inf"))(world) + 2) / 4
    torch.testing.assert_close(Domain.contraction().to_unit(world), theirs)


def test_values_are_interpolated_as_scipy_does() -> None:
    grid = MaskGrid(7, Sa3dEstimator())
    grid.sums[..., 0] = torch.randn(7, 7, 7)
    grid.sums[..., 1] = 1
    places = torch.rand(100, 3)
    axis = np.linspace(0, 1, 7)
    theirs = RegularGridInterpolator((axis, axis, axis), grid.sums[..., 0].numpy())(places.numpy())
    np.testing.assert_allclose(grid.values(places)[0].numpy(), theirs, atol=1e-5)


def test_outside_of_the_cube_is_transparent_and_not_observed() -> None:
    grid = MaskGrid(4)
    grid.sums[:] = 1
    opacity, observed = grid.query(torch.tensor([[0.5, 0.5, 0.5], [1.01, 0.5, 0.5], [0.5, -0.2, 0.5]]))
    assert opacity.tolist() == [1, 0, 0] and observed.tolist() == [True, False, False]
    samples = _one_ray([[0.5, 0.5, 1.2]], [1.0])
    assert grid.scattered(samples, torch.ones(1, 2)).sum() == 0


def test_kept_samples_stand_for_all_of_the_ray() -> None:
    grid = MaskGrid(3)
    grid.sums[1, 1, 1] = torch.tensor([1.0, 1.0])
    grid.sums[0, 0, 0] = torch.tensor([0.0, 1.0])
    # 0.3 of the weight on the opaque vertex, 0.3 on the transparent one, 0.3 not kept.
    seen = grid.look(_one_ray([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]], [0.3, 0.3], accumulation=0.9))
    assert seen.alpha.item() == pytest.approx(0.45) and seen.observed.item() == 1
    seen = grid.look(_one_ray([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0]], [0.3, 0.3], accumulation=0.9))
    assert seen.alpha.item() == pytest.approx(0.45) and seen.observed.item() == pytest.approx(0.5)


def test_extent_and_ends_lie_on_the_object() -> None:
    scene = AnalyticScene(hairs=0)
    grid = fill(MaskGrid(64, MatteEstimator(), scene.domain), scene)
    extent = grid.object_extent()
    assert extent is not None
    lower, upper = (scene.domain.to_world(corner[None])[0] for corner in extent)
    # No camera sees the ball's back.
    assert (lower[:2] < -0.4).all() and (lower > -0.7).all() and (upper > 0.4).all() and (upper < 0.7).all()
    samples = scene.view(4).samples
    ends = grid.object_ends(samples)[torch.from_numpy(scene.alpha(4).ravel() > 0.5)]
    radii = ends.norm(dim=1)
    assert radii.min() > 0.3 and radii.max() < 0.6
    assert MaskGrid(8).object_extent() is None


def test_a_grid_has_a_size() -> None:
    with pytest.raises(ValueError, match="at least 2 vertices along a side, got 1"):
        MaskGrid(1)


def _one_ray(places: list[list[float]], weights: list[float], accumulation: float = 1.0) -> ViewSamples:
    return ViewSamples(
        torch.tensor([places]), torch.tensor([weights]), torch.tensor([accumulation]), torch.ones(1), size=(1, 1)
    )
