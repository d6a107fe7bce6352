"""Refinement by colour: it sharpens what a model found roughly, and leaves alone what it cannot judge."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import multivariate_normal

from tests.conftest import soft_disk
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.refinement.colour import ColourRefinement, _fit, _log_density, _monomials, refine_by_colour


@pytest.fixture
def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A textured orange disk on a textured blue ground, and its matte."""
    truth = soft_disk((160, 220), (110, 80), 45)
    ground = np.array([40, 70, 160]) + rng.normal(0, 12, (160, 220, 1))
    disk = np.array([220, 130, 40]) + rng.normal(0, 12, (160, 220, 1))
    rgb = truth[..., None] * disk + (1 - truth[..., None]) * ground
    return rgb.clip(0, 255).astype(np.uint8), truth


def rough(truth: np.ndarray) -> np.ndarray:
    """What a small network says: blurred, shifted, not quite opaque."""
    return (0.1 + 0.75 * gaussian_filter(np.roll(truth, 6, axis=1), 7)).astype(np.float32)


def test_a_blurred_and_shifted_matte_becomes_sharp_and_right(scene) -> None:
    rgb, truth = scene
    refined = refine_by_colour(rgb, rough(truth))
    assert refined.dtype == np.float32
    assert 0 <= refined.min() <= refined.max() <= 1
    assert np.abs(refined - truth).mean() < 0.12 * np.abs(rough(truth) - truth).mean()
    np.testing.assert_array_equal(refined, refine_by_colour(rgb, rough(truth)))  # no chance in it


@pytest.mark.parametrize(
    ("side", "box_side", "judged"), [(63, 0, False), (64, 0, True), (40, 63, False), (40, 64, True)]
)
def test_too_few_pixels_are_not_judged_by_their_colours(scene, side: int, box_side: int, judged: bool) -> None:
    rgb, _ = scene
    alpha = np.zeros(rgb.shape[:2], np.float32)
    alpha[50:90, 60 : 60 + side] = 0.8
    prompt = Prompt.from_box(60, 50, 60 + box_side, 90) if box_side else None
    refined = refine_by_colour(rgb, alpha, prompt)
    assert (refined is not alpha) == judged
    assert judged or np.array_equal(refined, alpha)


def test_it_works_on_the_object_s_crop_of_a_large_image(scene) -> None:
    rgb, truth = scene
    large = np.pad(rgb, ((300, 500), (700, 100), (0, 0)), mode="wrap")
    alpha = np.zeros(large.shape[:2], np.float32)
    alpha[300:460, 700:920] = rough(truth) - 0.1
    refined = refine_by_colour(large, alpha)
    assert np.abs(refined[300:460, 700:920] - truth).mean() < 0.02
    assert refined[:200].max() == 0


def test_nothing_is_opaque_outside_the_box_and_clicks_are_certain(scene) -> None:
    rgb, truth = scene
    twin = rgb.copy()
    twin[60:100, 175:215] = rgb[60:100, 90:130]  # another thing of the object's colours
    alpha = rough(truth)
    boxed = refine_by_colour(twin, alpha, Prompt.from_box(64, 34, 156, 126))
    assert boxed[65:95, 180:210].max() < 0.2
    assert (boxed[truth > 0.9] > 0.8).mean() > 0.98
    flat = np.full_like(rgb, 128)  # no colour to judge by: only the clicks speak
    plain = refine_by_colour(flat, rough(truth), Prompt.from_point(110, 80))
    clicked = refine_by_colour(flat, rough(truth), Prompt.from_points([(110, 80), (140, 80, 0)]))
    assert clicked[80, 110] > 0.9
    assert clicked[80, 140] < plain[80, 140] - 0.1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_or_a_full_matte_comes_back(scene, value: float) -> None:
    rgb, truth = scene
    alpha = np.full_like(truth, value)
    refined = refine_by_colour(rgb, alpha)
    if value == 0:
        np.testing.assert_array_equal(refined, alpha)
    else:
        assert refined.mean() > 0.9


def test_tiny_images_do_not_break_it() -> None:
    for size in ((1, 1), (2, 7), (9, 3)):
        rgb, alpha = np.full((*size, 3), 90, np.uint8), np.full(size, 0.6, np.float32)
        refined = refine_by_colour(rgb, alpha, how=ColourRefinement(components=2))
        assert refined.shape == size
        assert np.isfinite(refined).all()


def test_densities_are_scipys_and_moments_numpys(rng: np.random.Generator) -> None:
    colours = rng.random((300, 3)) * [1.0, 0.3, 0.1] + [0.0, 0.2, 0.8]
    spreads = np.stack([np.cov(rng.random((20, 3)).T) for _ in range(2)])
    mixture = (rng.random((2, 3)), spreads, np.array([0.3, 0.7]))
    theirs = sum(s * multivariate_normal(m, c).pdf(colours) for m, c, s in zip(*mixture, strict=True))
    constant = 1.5 * np.log(2 * np.pi)  # left out: it is the same inside and outside
    np.testing.assert_allclose(_log_density(_monomials(colours), mixture), np.log(theirs) + constant, rtol=1e-6)
    weight = rng.random(300)
    means, covariances, shares = _fit(_monomials(colours), weight, 1)
    np.testing.assert_allclose(means[0], np.average(colours, axis=0, weights=weight), atol=1e-6)
    expected = np.cov(colours.T, aweights=weight, ddof=0) + 2e-4 * np.eye(3)
    np.testing.assert_allclose(covariances[0], expected, atol=1e-6)
    assert shares.tolist() == [1.0]


def flat(matte: np.ndarray) -> np.ndarray:
    """The default refinement of a matte, without the colours' say."""
    rgb = np.full((*matte.shape, 3), 128, np.uint8)
    return refine_by_colour(rgb, matte, how=ColourRefinement(rounds=0, enclosed=0.0))


@pytest.mark.parametrize(("side_px", "kept"), [(8, False), (12, True)])
def test_pieces_below_a_twentieth_of_the_largest_are_dropped(side_px: int, kept: bool) -> None:
    matte = np.zeros((160, 160), np.float32)
    matte[20:60, 20:60] = 1  # 1,600 px: the limit is 80
    matte[110 : 110 + side_px, 110 : 110 + side_px] = 1
    assert (flat(matte)[114, 114] > 0.5) == kept


@pytest.mark.parametrize(("opacity", "stretched"), [(0.96, 1.0), (0.94, 0.984), (0.5, 0.5), (0.14, 0.104), (0.04, 0.0)])
def test_nearly_opaque_and_nearly_clear_become_so(opacity: float, stretched: float) -> None:
    matte = np.zeros((160, 160), np.float32)
    matte[20:140, 20:140] = 0.8  # there is an object, whose middle is judged
    matte[40:120, 40:120] = opacity
    assert flat(matte)[80, 80] == pytest.approx(stretched, abs=2e-3)
