"""Properties of the hole."""

import numpy as np
import pytest

from inpaint.pixels.hole import EmptyMatte, matte_hole, touches_border


def disk(size: tuple[int, int], centre: tuple[float, float], radius_px: float, soft_px: float = 8.0) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    distance = np.hypot(xs - centre[0], ys - centre[1])
    return np.clip((radius_px - distance) / soft_px + 0.5, 0, 1).astype(np.float32)


def test_hole_covers_the_whole_support_not_the_half_level() -> None:
    alpha = disk((64, 80), (40, 32), 15)
    hole = matte_hole(alpha, tau=0.02, grow_px=0)
    assert np.array_equal(hole, alpha > 0.02)
    assert hole.sum() > 1.3 * (alpha > 0.5).sum()


@pytest.mark.parametrize("grow_px", [1, 2, 5])
def test_growing_adds_exactly_the_pixels_within_the_radius(grow_px: int) -> None:
    alpha = np.zeros((30, 30), np.float32)
    alpha[15, 15] = 1
    ys, xs = np.mgrid[:30, :30]
    expected = np.hypot(ys - 15, xs - 15) <= grow_px
    assert np.array_equal(matte_hole(alpha, grow_px=grow_px), expected)


def test_holes_are_nested_in_tau_and_grow(rng: np.random.Generator) -> None:
    alpha = disk((64, 64), (32, 32), 12) * rng.uniform(0.3, 1, (64, 64)).astype(np.float32)
    assert not (matte_hole(alpha, tau=0.3) & ~matte_hole(alpha, tau=0.02)).any()
    assert not (matte_hole(alpha, grow_px=1) & ~matte_hole(alpha, grow_px=4)).any()


def test_specks_apart_from_the_object_are_dropped_but_hair_beside_it_is_kept() -> None:
    alpha = disk((80, 120), (40, 40), 15, soft_px=1)
    alpha[5:8, 100:103] = 0.4
    alpha[70, 110] = 1
    alpha[40, 58] = 0.1  # three pixels from the rim: a lone hair
    hole = matte_hole(alpha, grow_px=2)
    assert not hole[:, 90:].any()
    assert hole[40, 58]


@pytest.mark.parametrize(("piece_px", "kept"), [(19, False), (20, False), (21, True)])
def test_pieces_above_a_five_hundredth_of_the_largest_are_objects(piece_px: int, kept: bool) -> None:
    alpha = np.zeros((130, 200), np.float32)
    alpha[10:110, 10:110] = 1  # 10,000 px
    alpha[5, 150 : 150 + piece_px] = 1
    assert matte_hole(alpha)[5, 155] == kept


def test_two_objects_of_one_matte_are_both_kept() -> None:
    alpha = np.maximum(disk((60, 120), (30, 30), 15), disk((60, 120), (95, 30), 8))
    hole = matte_hole(alpha)
    assert hole[30, 30] and hole[30, 95]


def test_an_object_that_is_nowhere_opaque_still_makes_a_hole() -> None:
    alpha = disk((40, 40), (20, 20), 10) * np.float32(0.3)
    assert matte_hole(alpha)[20, 20]


def test_an_empty_matte_is_refused() -> None:
    with pytest.raises(EmptyMatte, match="empty"):
        matte_hole(np.full((8, 8), 0.01, np.float32))


@pytest.mark.parametrize(("tau", "grow_px"), [(-0.1, 2), (1.0, 2), (0.02, -1)])
def test_settings_out_of_range_are_refused(tau: float, grow_px: int) -> None:
    with pytest.raises(ValueError, match="got"):
        matte_hole(np.ones((8, 8), np.float32), tau=tau, grow_px=grow_px)


def test_touching_the_border() -> None:
    hole = np.zeros((9, 9), bool)
    hole[4, 4] = True
    assert not touches_border(hole)
    hole[4, 8] = True
    assert touches_border(hole)
