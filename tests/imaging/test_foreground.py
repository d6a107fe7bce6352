"""Foreground estimation against known truth, against pymatting, and the algebra of compositing."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from zim_plugins.imaging.foreground import colours as colours_module
from zim_plugins.imaging.foreground import (
    composite,
    estimate_foreground,
    foreground_colours,
    relaxation,
    unmix_background,
)


def soft_disk(size: tuple[int, int], radius_px: float, soft_px: float) -> np.ndarray:
    """A disk in the middle, its edge a ramp of `soft_px`; alpha float32 (h, w) in [0, 1]."""
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    distance = np.hypot(xs - size[1] / 2, ys - size[0] / 2)
    return np.clip((radius_px - distance) / soft_px + 0.5, 0, 1).astype(np.float32)


def smooth_image(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A random image of low frequencies, RGB float32 in [0, 1]."""
    coarse = (rng.random((4, 4, 3)) * 255).astype(np.uint8)
    image = PIL.Image.fromarray(coarse).resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / 255


def test_composite_is_exact_where_one_layer_hides_the_other(rng: np.random.Generator) -> None:
    foreground, background = rng.random((2, 5, 7, 3), dtype=np.float32)
    zeros = np.zeros((5, 7), dtype=np.float32)
    assert np.array_equal(composite(foreground, zeros, background), background)
    assert np.array_equal(composite(foreground, zeros + 1, background), foreground)


def test_unmixing_inverts_compositing(rng: np.random.Generator) -> None:
    foreground, background = rng.random((2, 32, 32, 3), dtype=np.float32)
    alpha = rng.random((32, 32), dtype=np.float32) * np.float32(0.9)
    recovered = unmix_background(composite(foreground, alpha, background), alpha, foreground)
    assert np.abs(recovered - background).max() < 1e-5


def test_unmixing_stays_in_range_where_nothing_shines_through() -> None:
    image, alpha = np.full((4, 4, 3), 0.7, np.float32), np.ones((4, 4), np.float32)
    recovered = unmix_background(image, alpha, np.full((4, 4, 3), 0.2, np.float32))
    assert np.isfinite(recovered).all() and recovered.min() >= 0 and recovered.max() <= 1


def test_layers_are_the_image_where_the_matte_is_clear(rng: np.random.Generator) -> None:
    image = rng.random((48, 48, 3), dtype=np.float32)
    alpha = soft_disk((48, 48), 12, 3)
    layers = estimate_foreground(image, alpha)
    assert np.array_equal(layers.foreground[alpha == 1], image[alpha == 1])
    assert np.array_equal(layers.background[alpha == 0], image[alpha == 0])


def test_known_smooth_layers_are_found_in_a_soft_edge(rng: np.random.Generator) -> None:
    size = (96, 128)
    foreground, background = smooth_image(rng, size), smooth_image(rng, size)
    alpha = soft_disk(size, 30, 12)
    layers = estimate_foreground(composite(foreground, alpha, background), alpha)
    edge = (alpha > 0.1) & (alpha < 0.9)
    for estimate, truth in zip(layers, (foreground, background), strict=True):
        untreated = np.abs(composite(foreground, alpha, background) - truth)[edge].mean()
        assert np.abs(estimate - truth)[edge].mean() < untreated / 2


@pytest.mark.parametrize("band_pixels", [1, 1300])
def test_bands_give_the_colours_of_one_piece(band_pixels, rng, monkeypatch) -> None:
    """A row is a band of its own, or 13 are: nothing but rounding may differ."""
    image, alpha = rng.random((150, 100, 3), dtype=np.float32), soft_disk((150, 100), 40, 25)
    whole = estimate_foreground(image, alpha)
    monkeypatch.setattr(colours_module, "BAND_PIXELS", band_pixels)
    for layer, expected in zip(estimate_foreground(image, alpha), whole, strict=True):
        assert np.abs(layer - expected).max() < 1e-6


def test_colours_in_8_bits_are_the_rounded_foreground(rng: np.random.Generator) -> None:
    image, alpha = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8), soft_disk((60, 80), 20, 9)
    exact = estimate_foreground(image / np.float32(255), alpha).foreground * np.float32(255)
    colours = foreground_colours(image, alpha)
    assert np.abs(colours - exact)[alpha * 255 >= 0.5].max() <= 0.501
    assert np.array_equal(colours[alpha == 1], image[alpha == 1])


def test_colours_are_solved_where_edges_are(rng: np.random.Generator) -> None:
    """What is seen is what the whole image solved gives; tiles without an edge are left out."""
    image, alpha = rng.integers(0, 65536, (300, 700, 3), dtype=np.uint16), soft_disk((300, 700), 200, 60)
    exact = estimate_foreground(image / np.float32(65535), alpha).foreground * np.float32(65535)
    colours = foreground_colours(image, alpha)
    assert colours.dtype == np.uint16
    # At the rim of the finest tiles the level before is not solved: far below what 8 bits show.
    assert np.abs(colours - exact)[alpha > 0].max() <= 40
    assert np.array_equal(colours[alpha == 1], image[alpha == 1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_layout_in_memory_gives_the_same_colours(dtype: type, rng: np.random.Generator) -> None:
    image, alpha = rng.integers(0, 256, (40, 50, 3)).astype(dtype), soft_disk((40, 50), 12, 6)
    expected = foreground_colours(image, alpha)
    reversed_channels = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    planar = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    for same in (reversed_channels, planar, np.asfortranarray(image)):
        assert np.array_equal(foreground_colours(same, alpha), expected)


def one_square_after_another(
    layers: np.ndarray, image: np.ndarray, opacity: np.ndarray, sweeps: int, first_diagonal: int
) -> np.ndarray:
    """What `relax` says it does, a pixel at a time and in double precision."""
    solved, (height, width) = layers.astype(np.float64), opacity.shape
    for turn in [0, 1] * sweeps:
        before = solved.copy()
        for y, x in np.ndindex(height, width):
            if (y + x + first_diagonal) % 2 != turn:
                continue
            a, known, total = float(opacity[y, x]), np.stack([image[:, y, x]] * 2).astype(np.float64), 0.0
            known *= [[a], [1 - a]]
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                near = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                weight = relaxation.REGULARIZATION + relaxation.GRADIENT_WEIGHT * abs(float(opacity[near]) - a)
                known, total = known + weight * before[:, :, near[0], near[1]], total + weight
            matrix = [[a * a + total, a * (1 - a)], [a * (1 - a), (1 - a) ** 2 + total]]
            solved[:, :, y, x] = np.linalg.solve(matrix, known).clip(0, 1)
    return solved


@pytest.mark.parametrize("first_diagonal", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (5, 4), (4, 7), (7, 7), (8, 6)])
def test_parting_the_chessboard_changes_nothing(size, first_diagonal: int, rng: np.random.Generator) -> None:
    layers, image = rng.random((2, 3, *size), np.float32), rng.random((3, *size), np.float32)
    opacity = rng.random(size, np.float32)
    given = [torch.from_numpy(values) for values in (layers, image, opacity)]
    ours = relaxation.relax(*given, 3, first_diagonal).numpy()
    assert np.abs(ours - one_square_after_another(layers, image, opacity, 3, first_diagonal)).max() < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (40, 3)])
def test_odd_sizes(size: tuple[int, int], rng: np.random.Generator) -> None:
    layers = estimate_foreground(rng.random((*size, 3), dtype=np.float32), rng.random(size, dtype=np.float32))
    assert layers.foreground.shape == layers.background.shape == (*size, 3)
    assert np.isfinite(layers.foreground).all() and np.isfinite(layers.background).all()


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_constant_mattes_give_finite_colours(opacity: float, rng: np.random.Generator) -> None:
    layers = estimate_foreground(rng.random((20, 30, 3), dtype=np.float32), np.full((20, 30), opacity, np.float32))
    for layer in layers:
        assert np.isfinite(layer).all() and layer.min() >= 0 and layer.max() <= 1


def test_sizes_that_differ_are_refused() -> None:
    # The shape check of the tests (a TypeError) comes before the function's own.
    with pytest.raises((ValueError, TypeError)):
        estimate_foreground(np.zeros((4, 4, 3), np.float32), np.zeros((4, 5), np.float32))


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        estimate_foreground(np.full((4, 4, 3), np.nan, np.float32), np.zeros((4, 4), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GT01", "GT04"])
def test_agrees_with_pymatting_on_captured_mattes(name: str, test_data: Path) -> None:
    """Oracle: the same method with pixels visited in reading order. pymatting's first import compiles for long."""
    pytest.importorskip("numba")
    pymatting = pytest.importorskip("pymatting")
    folder = test_data / "matting" / "validation"
    image = np.asarray(PIL.Image.open(folder / "image" / f"{name}.png").convert("RGB"), dtype=np.float32) / 255
    alpha = np.asarray(PIL.Image.open(folder / "alpha" / f"{name}.png").convert("L"), dtype=np.float32) / 255
    ours = estimate_foreground(image, alpha)
    theirs = pymatting.estimate_foreground_ml(image, alpha, return_background=True)
    unknown = (alpha > 0) & (alpha < 1)
    for mine, other in zip(ours, theirs, strict=True):
        assert np.abs(mine - other)[unknown].mean() < 0.01
    misfit = [np.abs(composite(f, alpha, b) - image)[unknown].mean() for f, b in (ours, theirs)]
    assert misfit[0] < 1.05 * misfit[1] + 1e-4
