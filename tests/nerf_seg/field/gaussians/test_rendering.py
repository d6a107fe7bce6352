"""The CPU renderer against every pixel with every Gaussian, one after the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nerf_seg.field.gaussians import rendering
from nerf_seg.field.gaussians.camera import Camera
from nerf_seg.field.gaussians.model import Gaussians
from nerf_seg.field.gaussians.rendering import view_weights
from tests.nerf_seg.splat_scene import camera_at

SIZE = (48, 64)


def scene(count: int = 300, size: float = 0.08) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator) * 0.6,
        scales=torch.exp(torch.randn(count, 3, generator=generator) * 0.6) * size,
        rotations=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
        opacities=torch.rand(count, generator=generator),
        harmonics=torch.randn(count, 16, 3, generator=generator) * 0.2,
    )


def camera(**changes: object) -> Camera:
    return replace(camera_at("a.png", np.array([2.0, 1.5, 0.8]), SIZE), **changes)


def brute_force(gaussians: Gaussians, camera: Camera) -> np.ndarray:
    """(H W, n) weights: for each Gaussian in the order of depth, all pixels at once, in double precision."""
    matrix = torch.from_numpy(camera.world_to_camera)
    at = gaussians.means.double() @ matrix[:3, :3].T + matrix[:3, 3]
    ys, xs = np.mgrid[: camera.size[0], : camera.size[1]] + 0.5
    pixels = torch.from_numpy(np.stack([xs.ravel(), ys.ravel()], axis=1))
    weights, left = torch.zeros(len(pixels), len(gaussians), dtype=torch.double), torch.ones(len(pixels))
    for i in torch.argsort(at[:, 2]).tolist():
        if at[i, 2] <= 0.02:
            continue
        centre, jacobian = camera.project(at[i : i + 1])
        linear = jacobian[0] @ matrix[:3, :3]
        variance = linear @ gaussians.covariances()[i].double() @ linear.T + 0.3 * torch.eye(2)
        offset = pixels - centre
        alpha = gaussians.opacities[i] * torch.exp(-0.5 * ((offset @ torch.linalg.inv(variance)) * offset).sum(1))
        alpha = torch.where(alpha < 1 / 255, 0.0, alpha.clamp_max(0.99))
        weights[:, i] = alpha * left
        left = left * (1 - alpha)
    return weights.numpy()


@pytest.mark.parametrize(
    "lens", [{}, {"distortion": (0.1, -0.05, 0.01, 0.02)}, {"centre": (20.0, 40.0), "focal": (50.0, 80.0)}]
)
def test_weights_are_those_of_brute_force(lens: dict[str, object]) -> None:
    gaussians, eye = scene(), camera(**lens)
    samples = view_weights(gaussians, eye)
    expected = brute_force(gaussians, eye)
    assert np.abs(samples.weights.toarray() - expected).max() < 1e-4
    assert np.abs(samples.accumulation.numpy() - expected.sum(1)).max() < 1e-3
    values = np.random.default_rng(0).random((len(gaussians), 3), dtype=np.float32)
    assert np.abs(samples.blend(values).reshape(-1, 3) - expected @ values).max() < 1e-3


def test_bands_of_rows_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = view_weights(scene(), camera()).weights.toarray()
    monkeypatch.setattr(rendering, "MAX_PAIRS", 1)  # a band for each row
    assert np.array_equal(view_weights(scene(), camera()).weights.toarray(), whole)


def test_the_projection_follows_its_jacobian_and_undistorted_places_are_a_pinholes() -> None:
    bent = camera(distortion=(0.1, -0.05, 0.01, 0.02))
    at = torch.tensor([[0.3, -0.2, 2.0], [0.7, 0.4, 3.0], [3.0, 0.1, 1.0]], dtype=torch.double)
    _, jacobian = bent.project(at)
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.double)
        step[axis] = 1e-6
        slope = (bent.project(at + step)[0] - bent.project(at - step)[0]) / 2e-6
        assert torch.allclose(slope[:2], jacobian[:2, :, axis], atol=1e-3)
    plain = camera().project(at)[0]
    expected = at[:, :2] / at[:, 2:] * torch.tensor(camera().focal) + torch.tensor(camera().centre)
    assert torch.allclose(plain, expected.double())


def test_a_scene_behind_the_camera_is_an_empty_view() -> None:
    behind = view_weights(replace(scene(), means=scene().means + torch.tensor([20.0, 15.0, 8.0])), camera())
    assert behind.weights.nnz == 0 and float(behind.accumulation.max()) == 0


def test_colours_agree_with_scipys_spherical_harmonics() -> None:
    special = pytest.importorskip("scipy.special")
    if not hasattr(special, "sph_harm_y"):
        pytest.skip("scipy below 1.15 has no sph_harm_y")
    from nerf_seg.field.gaussians.model import harmonic_basis

    directions = torch.nn.functional.normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(3)), dim=1)
    found = harmonic_basis(directions.double(), 16).numpy()
    x, y, z = directions.double().numpy().T
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    at = 0
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = special.sph_harm_y(degree, abs(order), polar, azimuth)
            # scipy's functions carry the Condon-Shortley phase, as splats do.
            real = value.real if order == 0 else np.sqrt(2) * (value.imag if order < 0 else value.real)
            assert np.allclose(found[:, at], real, atol=1e-6), (degree, order)
            at += 1
