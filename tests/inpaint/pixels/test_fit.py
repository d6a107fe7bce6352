"""Whether a matte explains its image."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from inpaint import remove
from inpaint.pixels.fit import fit_of
from inpaint.tasks.removal import DOUBT, FILLED_GROW_PX


class Behind:
    """A filler that knows the truth."""

    name, work_side_px = "behind", None

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth

    def fill(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        assert image.shape == self.truth.shape
        return np.where(hole[..., None], self.truth, image)


def wrong(alpha: np.ndarray, fault: str) -> np.ndarray:
    """A matte that is not the scene's."""
    faulty = {
        "blurred": gaussian_filter(alpha, 1),
        "moved": np.roll(alpha, 3, axis=1),
        "turned": np.ascontiguousarray(alpha[::-1]),
        "without hair": gaussian_filter((gaussian_filter(alpha, 3) > 0.5).astype(np.float32), 2),
    }
    return faulty[fault].astype(np.float32)


def test_the_right_matte_is_trusted(scene) -> None:
    fit = fit_of(scene.image, scene.alpha, scene.background)
    assert fit is not None and fit.is_good
    assert fit.unlike == pytest.approx(1, abs=0.3) and fit.blurred == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("fault", ["blurred", "moved", "turned", "without hair"])
def test_a_wrong_matte_is_not(scene, fault: str, depth: int) -> None:
    image, behind = scene.image, scene.background
    if depth == 16:
        image, behind = (values.astype(np.uint16) * np.uint16(257) for values in (image, behind))
    fit = fit_of(image, wrong(scene.alpha, fault), behind)
    assert fit is not None and not fit.is_good, fit


def test_a_hard_mask_is_no_evidence(scene) -> None:
    hard = (scene.alpha > 0.5).astype(np.float32)
    assert fit_of(scene.image, hard, scene.background) is None
    assert fit_of(scene.image, np.zeros_like(hard), scene.background) is None
    assert fit_of(scene.image, np.ones_like(hard), scene.background) is None


def test_where_nothing_can_be_seen_nothing_fails() -> None:
    plain = np.full((40, 50, 3), 90, np.uint8)
    alpha = np.tile(np.linspace(0, 1, 50, dtype=np.float32), (40, 1))
    fit = fit_of(plain, alpha, plain)
    assert fit is not None and np.isfinite(fit).all()


def test_a_given_matte_that_does_not_fit_is_filled_with_a_warning(scene) -> None:
    behind = Behind(scene.background)
    right = remove(scene.image, scene.alpha, inpainter=behind)
    assert right.unmixed and right.grow_px == 2 and DOUBT not in right.warnings
    moved = wrong(scene.alpha, "moved")
    doubted = remove(scene.image, moved, inpainter=behind)
    assert not doubted.unmixed and doubted.grow_px == FILLED_GROW_PX and DOUBT in doubted.warnings
    filled = remove(scene.image, moved, inpainter=behind, unmix=False, grow_px=FILLED_GROW_PX)
    assert np.array_equal(doubted.image, filled.image) and np.array_equal(doubted.hole, filled.hole)
    assert remove(scene.image, moved, inpainter=behind, unmix=True).unmixed
    narrow = remove(scene.image, moved, inpainter=behind, grow_px=1)
    assert not narrow.unmixed and narrow.grow_px == 1


def test_a_doubted_matte_whose_hole_would_grow_over_everything_keeps_its_own(scene) -> None:
    small = np.ascontiguousarray(scene.image[40:90, 56:104])
    alpha = np.ascontiguousarray(wrong(scene.alpha, "moved")[40:90, 56:104])
    alpha[:2] = alpha[-2:] = 0
    alpha[:, :2] = alpha[:, -2:] = 0
    removal = remove(small, alpha, inpainter=Behind(np.ascontiguousarray(scene.background[40:90, 56:104])))
    assert not removal.hole.all()
