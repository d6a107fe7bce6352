"""Priors of shape: a box is reached, what is enclosed is raised, and what a model is sure of stays."""

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from tests.conftest import soft_disk
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.refinement.colour import ColourRefinement, refine_by_colour
from zim_plugins.core.refinement.priors import fill_enclosed, reach_box


def half_object(missing: float) -> np.ndarray:
    """Log-odds of an object of 20 x 40 px in 40 x 60, whose right half is found by `missing` alone."""
    odds = np.full((40, 60), -6, np.float32)
    odds[10:30, 10:30], odds[10:30, 30:50] = 3, missing
    return odds


BOX = np.array([10.0, 10.0, 50.0, 30.0])


def test_the_least_shift_that_reaches_the_box_is_taken() -> None:
    raised = reach_box(half_object(-1.5), BOX, limit=4)
    np.testing.assert_allclose(raised, half_object(-1.5) + 1.5)
    assert raised.dtype == np.float32
    assert (raised[10:30, 30:50] >= 0).all()
    assert (raised < 0).sum() == 40 * 60 - 20 * 40


@pytest.mark.parametrize(
    ("missing", "limit", "rise"),
    [(1.0, 4, 0.0), (-1.0, 4, 1.0), (-5.0, 4, 4.0), (-1.0, 0, 0.0), (-1.0, 0.25, 0.25)],
)
def test_the_shift_is_bounded_and_none_where_the_object_reaches_its_box(missing: float, limit: float, rise: float):
    odds = half_object(missing)
    np.testing.assert_allclose(reach_box(odds, BOX, limit=limit), odds + np.float32(rise))


@pytest.mark.parametrize("side", [0, 1, 2, 3])
def test_each_side_counts(side: int) -> None:
    odds = np.rot90(half_object(-1.5), side).copy()
    height, width = odds.shape
    rows, columns = np.nonzero(odds > -2)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
    assert (height, width) == ((40, 60) if side % 2 == 0 else (60, 40))
    assert float((reach_box(odds, box, limit=4) - odds).max()) == pytest.approx(1.5)


def test_a_gap_within_the_tolerance_is_tight() -> None:
    odds = half_object(3)
    odds[:, 49] = -2  # 1 of 40 px is missing
    assert reach_box(odds, BOX, limit=4) is odds
    odds[:, 48] = -2  # a twentieth
    np.testing.assert_allclose(reach_box(odds, BOX, limit=4), odds + 2)
    assert reach_box(odds, BOX, limit=4, tolerance=0.1) is odds


@pytest.mark.parametrize("box", [[-20, -20, -5, -5], [70, 50, 90, 60], [10, 10, 10, 30]])
def test_a_box_that_holds_no_pixel_changes_nothing(box: list[float]) -> None:
    odds = half_object(-1)
    assert reach_box(odds, np.array(box, float), limit=4) is odds


def test_a_box_of_less_than_a_pixel_and_one_beyond_the_array() -> None:
    odds = half_object(-1)
    assert reach_box(odds, np.array([40.2, 20.2, 40.8, 20.8]), limit=4).max() == pytest.approx(4)
    np.testing.assert_allclose(reach_box(odds, np.array([-9.0, 10, 99, 30]), limit=9), odds + 6)


def test_holes_are_closed_as_scipy_closes_them() -> None:
    rng = np.random.default_rng(4)
    mask = rng.random((60, 80)) < 0.62
    filled = fill_enclosed(np.where(mask, np.float32(3), np.float32(-3)), 1.0)
    cross = binary_fill_holes(mask, structure=np.ones((3, 3)))  # background that meets at corners hangs together
    np.testing.assert_array_equal(filled > 0, cross)


def test_what_a_model_is_sure_of_stays_open() -> None:
    odds = np.full((30, 30), 4, np.float32)
    odds[0], odds[5:10, 5:10], odds[20:25, 20:25] = -5, -4.5, -1
    raised = fill_enclosed(odds, 0.3)
    assert (raised[5:10, 5:10] < 0).all()
    assert (raised[20:25, 20:25] > 0).all()
    assert (raised[0] == -5).all()
    assert (raised >= odds).all()
    assert fill_enclosed(odds, 0.0) is odds


def test_a_part_left_out_by_half_is_found_again_by_colours(rng: np.random.Generator) -> None:
    """A disk of one colour whose middle a network leaves out, unsure of it."""
    truth = soft_disk((160, 220), (110, 80), 60)
    ground, disk = np.array([40, 70, 160]), np.array([220, 200, 190])
    noise = rng.normal(0, 9, (160, 220, 1))
    rgb = (truth[..., None] * disk + (1 - truth[..., None]) * ground + noise).clip(0, 255).astype(np.uint8)
    middle = soft_disk((160, 220), (110, 80), 50)
    alpha = (0.97 * truth - 0.85 * middle).clip(0, 1).astype(np.float32)
    box = Prompt.from_box(50, 20, 170, 140)
    plain = ColourRefinement(certainty=3.0, enclosed=0.0, reach=0.0)
    without, found = (refine_by_colour(rgb, alpha, box, how) for how in (plain, ColourRefinement()))
    assert found[80, 110] > 0.95
    assert np.abs(found - truth).mean() < 0.01
    assert np.abs(without - truth).mean() > 5 * np.abs(found - truth).mean()
