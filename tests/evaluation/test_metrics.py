"""The metrics against slow readable twins, answers known in closed form, and tables computed by hand."""

import dataclasses
import itertools
import time

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label

from zim_plugins.evaluation.metrics import (
    MattingErrors,
    boundary_iou,
    connectivity_map,
    dim_errors,
    iou,
    size_class,
    zim_errors,
)
from zim_plugins.imaging.image import read_alpha


def connectivity_twin(alpha: np.ndarray, target: np.ndarray) -> float:
    """The definition, threshold by threshold and pixel by pixel."""
    steps = [np.float32(k / 10) for k in range(11)]
    level = np.full(alpha.shape, np.float32(-1))
    for before, step in itertools.pairwise(steps):
        parts = label((alpha >= step) & (target >= step), connectivity=1)
        areas = np.bincount(parts.ravel())
        source = parts == 1 + areas[1:].argmax() if parts.max() else np.zeros(alpha.shape, dtype=bool)
        for y, x in np.ndindex(*alpha.shape):
            if level[y, x] == -1 and not source[y, x]:
                level[y, x] = before
    level[level == -1] = 1
    total = 0.0
    for y, x in np.ndindex(*alpha.shape):
        phi = []
        for matte in (alpha, target):
            distance = matte[y, x] - level[y, x]
            phi.append(1 - distance if distance >= np.float32(0.15) else 1.0)
        total += abs(float(phi[0]) - float(phi[1]))
    return total / 1000


def sobel_twin(alpha: np.ndarray, target: np.ndarray) -> float:
    kernel = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], dtype=np.float64)
    sides = [
        np.sqrt(
            ndimage.correlate(m.astype(np.float64), kernel, mode="constant") ** 2
            + ndimage.correlate(m.astype(np.float64), kernel.T, mode="constant") ** 2
            + 1e-8
        )
        for m in (alpha, target)
    ]
    return float(np.abs(sides[0] - sides[1]).mean() * 1e3)


def gaussian_grad_twin(alpha: np.ndarray, target: np.ndarray, where: np.ndarray) -> float:
    at = np.arange(-4, 5)
    bell = np.exp(-(at**2) / (2 * 1.4**2)) / (1.4 * np.sqrt(2 * np.pi))
    kernel = np.outer(bell, -at * bell / 1.4**2)
    kernel /= np.sqrt((kernel**2).sum())
    sides = []
    for matte in (alpha, target):
        matte = matte.astype(np.float64)
        matte = (matte - matte.min()) / (matte.max() - matte.min())
        gx, gy = (ndimage.convolve(matte, k, mode="nearest") for k in (kernel, kernel.T))
        sides.append(np.sqrt(gx**2 + gy**2))
    return float(((sides[0] - sides[1])[where] ** 2).sum() / 1000)


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    cases = []
    for _ in range(4):
        alpha, target = rng.random((2, 23, 31), dtype=np.float32)
        cases.append((alpha, target))
        cases.append((np.float32(np.rint(alpha * 10) / 10), np.float32(np.rint(target * 255) / 255)))
        smooth = [ndimage.gaussian_filter(m, 3) for m in (alpha, target)]
        smooth = [np.float32((m - m.min()) / np.ptp(m)) for m in smooth]
        cases.append((smooth[0], smooth[1]))
    return cases


@pytest.mark.parametrize(("alpha", "target"), pairs())
def test_equal_to_the_twins(alpha: np.ndarray, target: np.ndarray) -> None:
    zim, dim = zim_errors(alpha, target), dim_errors(alpha, target)
    error = alpha.astype(np.float64) - target
    assert zim.sad == pytest.approx(np.abs(error).sum() / 1000, rel=1e-6)
    assert zim.mae == pytest.approx(np.abs(error).mean() * 1000, rel=1e-6)
    assert zim.mse == pytest.approx((error**2).mean() * 1000, rel=1e-6)
    assert zim.grad == pytest.approx(sobel_twin(alpha, target), rel=1e-6)
    assert zim.conn == pytest.approx(connectivity_twin(alpha, target), rel=1e-6)
    assert (dim.sad, dim.conn) == pytest.approx((zim.sad, zim.conn), rel=1e-6)
    assert (dim.mse, dim.mae) == pytest.approx((zim.mse / 1000, zim.mae / 1000), rel=1e-6)
    assert dim.grad == pytest.approx(gaussian_grad_twin(alpha, target, np.ones(alpha.shape, dtype=bool)), rel=1e-6)


def test_a_region_scores_only_its_pixels() -> None:
    alpha, target = pairs()[0]
    region = np.zeros(alpha.shape, dtype=bool)
    region[5:12, 8:20] = True
    errors = dim_errors(alpha, target, region)
    error = np.abs(alpha - target)[region].astype(np.float64)
    assert (errors.sad, errors.mae) == pytest.approx((error.sum() / 1000, error.mean()))
    assert errors.grad == pytest.approx(gaussian_grad_twin(alpha, target, region))
    elsewhere = dim_errors(alpha, target, ~region)
    whole = dim_errors(alpha, target)
    assert errors.conn + elsewhere.conn == pytest.approx(whole.conn)
    with pytest.raises(ValueError, match="no pixel"):
        dim_errors(alpha, target, np.zeros_like(region))


@pytest.mark.parametrize(("alpha", "target"), pairs()[:3])
def test_no_error_for_the_truth_and_the_same_error_both_ways(alpha: np.ndarray, target: np.ndarray) -> None:
    for errors in (zim_errors, dim_errors):
        assert errors(alpha, alpha) == MattingErrors(0, 0, 0, 0, 0)
        assert dataclasses.astuple(errors(alpha, target)) == pytest.approx(dataclasses.astuple(errors(target, alpha)))


def test_nothing_against_everything() -> None:
    """All five in closed form: a white image's Sobel magnitude is 4 at its edges, 3 * sqrt(2) at its corners."""
    height, width = 30, 50
    none, full = np.zeros((2, height, width), dtype=np.float32)
    full += 1
    errors = zim_errors(none, full)
    pixels = height * width
    edges, corners = 2 * (height + width - 4), 4
    grad = (edges * (4 - 1e-4) + corners * (np.sqrt(18) - 1e-4)) / pixels * 1e3
    assert errors.sad == errors.conn == pytest.approx(pixels / 1000)
    assert errors.mse == errors.mae == pytest.approx(1000)
    assert errors.grad == pytest.approx(grad, rel=1e-6)
    assert dim_errors(none, full).grad == 0  # neither has an edge


def test_connectivity_by_hand() -> None:
    """The right part is cut off: it is as far from connected as it is opaque."""
    target = np.array([[1, 1, 0, 1]], dtype=np.float32)
    alpha = np.array([[1, 1, 0, 0.5]], dtype=np.float32)
    assert connectivity_map(alpha, target).tolist() == [[0, 0, 0, 0.5]]
    alpha[0, 3] = 0.1  # 1 - phi is 1 in the truth; in the answer 0.1 is within the tolerance
    assert connectivity_map(alpha, target).tolist() == [[0, 0, 0, 1]]
    alpha[0] = [0.7, 0.9, 0, 0]  # connected at 0.7 and at 0.9: the rest of the left part lacks 0.3
    np.testing.assert_allclose(connectivity_map(alpha, target), [[0.3, 0, 0, 1]], atol=1e-6)


def test_a_value_that_an_eighth_bit_holds_reaches_its_threshold() -> None:
    for k in (51, 102, 153, 204):
        grey = np.full((3, 3), k / 255, dtype=np.float32)
        assert connectivity_map(grey, np.ones((3, 3), dtype=np.float32)).max() == pytest.approx(1 - k / 255, abs=1e-6)
        assert connectivity_map(grey, grey).max() == 0


def test_size_classes() -> None:
    target = np.zeros((100, 100), dtype=np.float32)
    target.ravel()[:99] = 0.31
    target.ravel()[99:5000] = 0.3
    assert size_class(target) == "S"
    target.ravel()[99] = 0.4
    assert size_class(target) == "M"
    target.ravel()[:1000] = 1
    assert size_class(target) == "L"


def test_iou() -> None:
    mask, target, valid = np.zeros((3, 10, 10), dtype=bool)
    assert iou(mask, target) == 1
    target[:5] = True
    assert iou(mask, target) == 0
    mask[:, :5] = True
    assert iou(mask, target) == pytest.approx(25 / 75)
    valid[:, :5] = True
    assert iou(mask, target, valid) == pytest.approx(25 / 50)


def test_boundary_iou_by_counting() -> None:
    """A square of 40 px and its left half, boundaries 2 px wide."""
    target, half = np.zeros((2, 60, 80), dtype=bool)
    target[10:50, 20:60] = True
    half[10:50, 20:40] = True
    assert boundary_iou(target, target) == 1
    shared = 2 * 40 + 18 * 4
    union = (40**2 - 36**2) + (20 * 40 - 16 * 36) - shared
    assert boundary_iou(half, target, width=2 / 100) == pytest.approx(shared / union)
    filled = np.ones((20, 20), dtype=bool)  # the image's edge is a boundary
    assert boundary_iou(filled, filled) == 1
    assert boundary_iou(filled, ~filled) == 0


def test_sizes_must_agree() -> None:
    small, large = np.zeros((4, 4), dtype=np.float32), np.zeros((4, 5), dtype=np.float32)
    with pytest.raises(Exception, match=r"4, 5|Type-check"):
        zim_errors(small, large)


def test_two_megapixels_are_quick() -> None:
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:1250, :1600]
    target = np.clip((500 - np.hypot(xs - 800, ys - 625)) / 80 + 0.5, 0, 1).astype(np.float32)
    noise = rng.normal(0, 0.3, target.shape) * ((target > 0) & (target < 1))
    alpha = np.clip(target + noise, 0, 1).astype(np.float32)
    start = time.process_time()
    connectivity_map(alpha, target)
    assert time.process_time() - start < 3  # 0.27 s for 2.7 megapixels on a quiet one


def test_published_reference_values_on_a_real_matte(test_data) -> None:
    """GT04 against its blurred threshold: Sobel and Gaussian-derivative Grad are different quantities altogether."""
    target = read_alpha(test_data / "matting/validation/alpha/GT04.png")
    alpha = ndimage.gaussian_filter((target > 0.5).astype(np.float32), 3)
    assert zim_errors(alpha, target).grad == pytest.approx(sobel_twin(alpha, target), rel=1e-6)
    assert zim_errors(alpha, target).grad > 5 * dim_errors(alpha, target).grad
