"""The estimate: known answers."""

import math

import pytest

from zim_plugins.training.cost import TIMED_STEPS, WARM_UP_STEPS, Cost, StepTimes, hours_left, peak_memory_gb
from zim_plugins.training.recipe import Recipe, Stage
from zim_plugins.training.recipes import RECIPES

SMALL, LARGE = Stage(64, 8, 3600), Stage(128, 4, 1800)
RECIPE = Recipe("two", RECIPES["zim_tiny"].settings, (SMALL, LARGE), lr=1e-3)


def test_hours_of_what_is_left() -> None:
    assert hours_left(RECIPE, 0, {SMALL: 1.0, LARGE: 3.0}) == pytest.approx(1 + 1.5)
    assert hours_left(RECIPE, 1800, {SMALL: 1.0, LARGE: 3.0}) == pytest.approx(0.5 + 1.5)
    assert hours_left(RECIPE, 4500, {SMALL: 1.0, LARGE: 3.0}) == pytest.approx(0.75)
    assert hours_left(RECIPE, 5400, {SMALL: 1.0}) == 0


def test_a_stage_that_was_not_timed_counts_by_its_pixels() -> None:
    assert hours_left(RECIPE, 0, {SMALL: 1.0}) == pytest.approx(1 + 0.5 * 2)  # 4x the pixels, half the batch
    assert hours_left(RECIPE, 0, {LARGE: 1.0}) == pytest.approx(0.5 + 0.5)
    with pytest.raises(ValueError, match="no step"):
        hours_left(RECIPE, 0, {})


def test_the_first_steps_and_hiccups_do_not_count() -> None:
    times = StepTimes()
    seconds = [90.0] * WARM_UP_STEPS + [1.0] * (TIMED_STEPS - 1) + [50.0]
    assert [times.add(SMALL, s) for s in seconds] == [False] * (len(seconds) - 1) + [True]
    assert not times.add(SMALL, 7.0)
    times.add(LARGE, 4.0)  # too few to leave any out
    assert times.medians() == {SMALL: 1.0, LARGE: 4.0}


def test_money() -> None:
    cost = Cost(hours=100, memory_gb=31.4, processes=8, hourly_price=2.5)
    assert cost.price == 2000
    assert "about 100 hours on 8 processes, 31.4 GB of memory each, 2000.00 at 2.5 an hour" in cost.describe()
    assert Cost(1, 2).price is None
    assert "an hour" not in Cost(1, 2).describe()


def test_memory_of_this_process() -> None:
    assert math.isnan(peak_memory_gb("cpu")) or 0.05 < peak_memory_gb("cpu") < 64
