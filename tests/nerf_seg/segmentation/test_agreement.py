import numpy as np
import pytest

from nerf_seg.segmentation.agreement import agreement, soft_iou
from nerf_seg.segmentation.mask_grid import Rendering
from tests.conftest import soft_disk


def sigmoid_disk(radius_px: float = 20.0, centre: tuple[float, float] = (40.0, 40.0)) -> np.ndarray:
    """What a network answers: never exactly 0 or 1."""
    ys, xs = np.mgrid[:80, :80] + 0.5
    distance = radius_px - np.hypot(xs - centre[0], ys - centre[1])
    return (1 / (1 + np.exp(-np.clip(distance, -12, 12)))).astype(np.float32)


def rendering(alpha: np.ndarray, observed: np.ndarray | None = None) -> Rendering:
    return Rendering(alpha, alpha - 0.5, np.ones_like(alpha) if observed is None else observed)


def test_the_naive_iou_rejects_a_matte_against_its_own_mask() -> None:
    """SA3D's `cal_IoU`, equal and not zero over not zero, is 0.02 or so for any sigmoid; ours is near 1."""
    alpha = sigmoid_disk()
    mask = (alpha > 0.5).astype(np.float32)
    naive = np.count_nonzero((alpha == mask) & (alpha != 0)) / np.count_nonzero(alpha + mask)
    assert naive < 0.03
    assert soft_iou(alpha, mask) > 0.85
    found = agreement(alpha, rendering(mask))
    assert found.fault(0.5, 3.0) == ""


def test_soft_iou_is_one_for_equal_mattes_and_iou_for_masks(rng: np.random.Generator) -> None:
    alpha = soft_disk((64, 64), (30, 30), 15, soft_px=12)
    assert soft_iou(alpha, alpha) == pytest.approx(1)
    product = (alpha * alpha).sum() / (2 * alpha.sum() - (alpha * alpha).sum())
    assert product < 0.9  # the other common form is not 1 for equal mattes
    a, b = (rng.random((2, 40, 40)) > 0.6).astype(np.float32)
    assert soft_iou(a, b) == pytest.approx(np.logical_and(a, b).sum() / np.logical_or(a, b).sum())
    assert soft_iou(np.zeros_like(a), np.zeros_like(a)) == 1
    assert soft_iou(a, b) == soft_iou(b, a)


def test_what_was_not_observed_is_no_contradiction() -> None:
    alpha = soft_disk((64, 64), (32, 32), 20)
    half = alpha.copy()
    half[:, 32:] = 0
    observed = np.ones_like(alpha)
    observed[:, 32:] = 0
    assert agreement(alpha, rendering(half)).soft_iou == pytest.approx(0.5, abs=0.01)
    assert agreement(alpha, rendering(half, observed)).soft_iou == pytest.approx(1)


@pytest.mark.parametrize(
    ("radius_px", "centre", "reason"),
    [
        (20, (32, 32), ""),
        (48, (32, 32), "times the area of the rendering"),
        (12, (32, 32), "misses the object"),
        (20, (55, 40), "takes in what is not the object"),
        (0, (-40, -40), "below 0.5: the matte is empty"),
    ],
)
def test_a_rejection_says_why(radius_px: float, centre: tuple[float, float], reason: str) -> None:
    target = rendering(soft_disk((64, 64), (32, 32), 20))
    fault = agreement(soft_disk((64, 64), centre, radius_px), target).fault(0.5, 3.0)
    assert reason in fault and bool(fault) == bool(reason)
