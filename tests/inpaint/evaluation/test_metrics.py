"""Scores: equal to other libraries' where these have them, and moved by what they claim to measure."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from inpaint.evaluation.cases import Case
from inpaint.evaluation.metrics import (
    PERFECT_DB,
    exchanged,
    hole_psnr,
    leftover,
    psnr,
    regions_of,
    seam,
    sharpness,
    ssim_map,
)
from inpaint.evaluation.scoring import twin_of
from inpaint.pixels.hole import matte_hole


@pytest.fixture
def noisy(scene, rng: np.random.Generator) -> np.ndarray:
    return np.clip(scene.background + rng.normal(0, 12, scene.background.shape), 0, 255).astype(np.uint8)


def test_psnr_is_skimages(scene, noisy: np.ndarray) -> None:
    from skimage.metrics import peak_signal_noise_ratio

    everywhere = np.ones(scene.alpha.shape, bool)
    expected = peak_signal_noise_ratio(scene.background, noisy, data_range=255)
    assert psnr(noisy, scene.background, everywhere) == pytest.approx(expected, abs=1e-9)
    part = scene.alpha > 0.5
    expected = peak_signal_noise_ratio(scene.background[part], noisy[part], data_range=255)
    assert psnr(noisy, scene.background, part) == pytest.approx(expected, abs=1e-9)


def test_psnr_is_torchmetrics(scene, noisy: np.ndarray) -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    import torch

    first, second = (torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1)[None] for p in (noisy, scene.background))
    expected = functional.peak_signal_noise_ratio(first, second, data_range=255.0)
    everywhere = np.ones(scene.alpha.shape, bool)
    assert psnr(noisy, scene.background, everywhere) == pytest.approx(float(expected), abs=1e-4)


def test_no_error_is_a_hundred_decibels_and_no_region_is_refused(scene) -> None:
    assert psnr(scene.background, scene.background, scene.alpha > 0.5) == PERFECT_DB
    with pytest.raises(ValueError, match="empty"):
        psnr(scene.background, scene.background, scene.alpha > 2)
    with pytest.raises(ValueError, match="touches none"):
        hole_psnr(scene.background, scene.background, scene.alpha > 2)


def test_ssim_is_skimages(scene, noisy: np.ndarray) -> None:
    from skimage.metrics import structural_similarity

    found = ssim_map(noisy, scene.background)
    assert found is not None
    # skimage leaves a border of half a window out of its mean.
    expected = structural_similarity(noisy, scene.background, channel_axis=2, data_range=255)
    assert found[3:-3, 3:-3].mean() == pytest.approx(expected, abs=1e-9)
    assert ssim_map(noisy[:6], scene.background[:6]) is None


def test_hole_psnr_differs_between_methods_as_over_the_union_of_their_holes(scene, noisy: np.ndarray) -> None:
    support = regions_of(scene.alpha).support
    small, large = scene.alpha > 0.5, matte_hole(scene.alpha, grow_px=9)
    first = np.where(small[..., None], noisy, scene.image)
    second = np.where(large[..., None], noisy, scene.image)
    union = small | large | support
    difference = hole_psnr(first, scene.background, support) - hole_psnr(second, scene.background, support)
    expected = psnr(first, scene.background, union) - psnr(second, scene.background, union)
    assert difference == pytest.approx(expected, abs=1e-9)


def test_hole_psnr_counts_damage_outside_the_object(scene) -> None:
    support = regions_of(scene.alpha).support
    spoilt = scene.background.copy()
    spoilt[~support] ^= 16
    assert hole_psnr(spoilt, scene.background, support) < 30


def test_regions_by_opacity() -> None:
    regions = regions_of(np.array([[0, 0.01, 0.02, 0.49, 0.5, 1]], np.float32))
    assert regions.support[0].tolist() == [False, True, True, True, True, True]
    assert regions.ring[0].tolist() == [False, False, True, True, False, False]
    assert regions.core[0].tolist() == [False, False, False, False, True, True]
    assert regions.outside[0].tolist() == [True, False, False, False, False, False]


def twins(scene, share: float, fill: np.ndarray) -> tuple:
    """Both results where this share of the object stands over a fill, and what `leftover` wants besides."""
    colours = np.broadcast_to(np.array([0.75, 0.1, 0.15], np.float32), scene.image.shape).astype(np.float32)
    other = exchanged(colours, scene.alpha)
    weight = share * scene.alpha[..., None]
    made = [np.rint(fill + weight * (255 * c - fill)).astype(np.uint8) for c in (colours, other)]
    return *made, scene.alpha, colours, other


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_leftover_finds_the_share_of_the_object_that_was_planted(scene, share: float) -> None:
    assert leftover(*twins(scene, share, scene.background.astype(np.float64))) == pytest.approx(share, abs=0.01)


def test_leftover_of_an_unrelated_fill_is_that_of_nothing(scene, rng) -> None:
    unrelated = rng.integers(0, 256, scene.image.shape).astype(np.float64)
    assert leftover(*twins(scene, 0.0, unrelated)) == 0.0
    assert leftover(*twins(scene, 0.5, unrelated)) == pytest.approx(0.5, abs=0.01)


def test_leftover_of_the_untouched_images_is_one_and_too_much_taken_counts(scene) -> None:
    colours = np.broadcast_to(np.array([0.75, 0.1, 0.15], np.float32), scene.image.shape).astype(np.float32)
    other = exchanged(colours, scene.alpha)
    case = Case(scene.image, scene.alpha, scene.background, colours)
    twin = twin_of(case)
    assert leftover(scene.image, twin, scene.alpha, colours, other) == pytest.approx(1.0, abs=0.01)
    negative = twins(scene, 0.3, scene.background.astype(np.float64))
    assert leftover(negative[1], negative[0], *negative[2:]) == pytest.approx(0.3, abs=0.01)


def test_leftover_is_silent_where_nothing_can_be_told(scene) -> None:
    first, second, alpha, colours, other = twins(scene, 0.5, scene.background.astype(np.float64))
    assert leftover(first, second, np.zeros_like(alpha), colours, other) is None
    assert leftover(first, second, alpha, colours, colours) is None


def test_seam_rises_with_a_planted_step_and_is_one_without(rng: np.random.Generator) -> None:
    texture = np.clip(128 + 6 * rng.standard_normal((120, 120, 3)), 0, 255).astype(np.uint8)
    hole = np.zeros((120, 120), bool)
    hole[40:80, 40:80] = True
    scores = []
    for step in (0, 10, 20, 40):
        planted = texture.copy()
        planted[hole] += step
        score = seam(planted, hole)
        assert score is not None
        scores.append(score)
    assert scores[0] == pytest.approx(1, abs=0.1)
    assert (np.diff(scores) > 0.2).all()


def test_seam_of_a_smooth_fill_is_below_one_and_undefined_ones_are_none(rng: np.random.Generator) -> None:
    hole = np.zeros((60, 60), bool)
    assert seam(np.zeros((60, 60, 3), np.uint8), hole) is None
    hole[20:40, 20:40] = True
    assert seam(np.zeros((60, 60, 3), np.uint8), hole) is None  # perfectly plain
    assert seam(np.zeros((60, 60, 3), np.uint8), ~np.zeros_like(hole)) is None


def test_sharpness_falls_when_the_fill_is_blurred(rng: np.random.Generator) -> None:
    texture = rng.integers(0, 255, (90, 90, 3)).astype(np.uint8)
    hole = np.zeros((90, 90), bool)
    hole[30:60, 30:60] = True
    blurred = np.where(hole[..., None], gaussian_filter(texture, (2, 2, 0)), texture)
    sharp, soft = sharpness(texture, hole), sharpness(blurred, hole)
    assert sharp == pytest.approx(1, abs=0.05)
    assert soft is not None and soft < 0.3
