"""The trimap's rule, on mattes whose answer is known."""

import numpy as np
import pytest

from zim_plugins.core.refinement.trimap import BACKGROUND, FOREGROUND, UNKNOWN, TrimapRule, object_window, trimap_of


def a_square(side: int = 100, low: int = 30, high: int = 70) -> np.ndarray:
    alpha = np.zeros((side, side), np.float32)
    alpha[low:high, low:high] = 1
    return alpha


def test_a_hard_mask_is_unsure_along_its_outline_only():
    trimap = trimap_of(a_square(), band_px=4)
    assert (trimap[34:66, 34:66] == FOREGROUND).all()
    assert (trimap[26:34, 26:74] == UNKNOWN).all()
    assert (trimap[:26] == BACKGROUND).all() and (trimap[74:] == BACKGROUND).all()
    assert set(np.unique(trimap)) == {0, 128, 255}


def test_what_the_matte_does_not_believe_is_unknown_with_a_band_round_it():
    alpha = a_square()
    alpha[45:55, 70:90] = 0.4  # hair
    alpha[50, 40] = 0.8  # a hole that is half believed
    trimap = trimap_of(alpha, band_px=3)
    assert (trimap[42:58, 67:93] == UNKNOWN).all()
    assert trimap[50, 93] == BACKGROUND
    assert (trimap[47:54, 37:44] == UNKNOWN).all() and trimap[50, 45] == FOREGROUND


@pytest.mark.parametrize(
    ("opacity", "value"), [(0.04, BACKGROUND), (0.06, UNKNOWN), (0.94, UNKNOWN), (0.96, FOREGROUND)]
)
def test_belief_ends_at_five_percent(opacity, value):
    alpha = a_square()
    alpha[40:60, 40:60] = 1.0
    alpha[5:20, 5:20] = opacity
    assert trimap_of(alpha, band_px=2)[12, 12] == value


def test_the_band_grows_with_the_object_and_never_below_its_least():
    rule = TrimapRule()
    assert rule.band_px((0, 0, 100, 50)) == rule.min_band_px
    assert rule.band_px((0, 0, 1000, 50)) == 10


def test_thin_things_keep_some_foreground():
    alpha = np.zeros((60, 60), np.float32)
    alpha[30, 5:55] = 1  # a line of one pixel
    trimap = trimap_of(alpha, band_px=8)
    assert (trimap == FOREGROUND).any()
    assert (trimap[25:35, 10:50] != BACKGROUND).all()


def test_nothing_and_everything():
    assert (trimap_of(np.zeros((9, 9), np.float32)) == BACKGROUND).all()
    assert object_window(np.full((9, 9), 0.3, np.float32), TrimapRule()) is None
    assert (trimap_of(np.ones((9, 9), np.float32)) == FOREGROUND).all()


def test_the_window_has_room_and_stays_inside():
    box, window = object_window(a_square(), TrimapRule())  # type: ignore[misc]
    assert box == (30, 30, 70, 70) and window == (14, 14, 86, 86)
    _, clipped = object_window(a_square(50, 0, 45), TrimapRule())  # type: ignore[misc]
    assert clipped == (0, 0, 50, 50)
