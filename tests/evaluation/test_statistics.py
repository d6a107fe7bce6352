"""Intervals and tests, against scipy and against cases worked out by hand."""

import numpy as np
import pytest
import scipy.stats

from zim_plugins.evaluation.statistics import bootstrap_interval, holm, mean_by_image, wilcoxon


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400).tolist()
    low, high = bootstrap_interval(values, list(range(400)))
    half = 1.96 * np.std(values) / 20
    assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=0.03)
    assert bootstrap_interval(values, list(range(400))) == (low, high)  # seeded


def test_objects_of_one_image_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(0, 1, 50), 8).tolist()
    apart = bootstrap_interval(values, list(range(400)))
    together = bootstrap_interval(values, np.repeat(np.arange(50), 8).tolist())
    widths = [high - low for low, high in (apart, together)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(8), rel=0.15)


def test_one_value_has_no_width_and_none_has_no_interval() -> None:
    assert bootstrap_interval([3.0], ["a"]) == (3.0, 3.0)
    with pytest.raises(ValueError, match="nothing to resample"):
        bootstrap_interval([], [])


def test_mean_by_image() -> None:
    assert mean_by_image([1, 3, 5], ["a", "a", "b"]) == {"a": 2, "b": 5}


def test_wilcoxon() -> None:
    differences = [0.3, -0.1, 0.4, 0.5, 0.2, 0.7, 0.0]
    expected = scipy.stats.wilcoxon([d for d in differences if d], method="exact").pvalue
    assert wilcoxon(differences)[1] == pytest.approx(expected)
    assert wilcoxon([1.0, 2.0, 3.0])[1] == pytest.approx(2 / 2**3)  # all on one side: 1 of 8 sign patterns, twice
    assert wilcoxon([0.0, 0.0]) == (0, 1)


def test_holm_by_hand() -> None:
    """Holm 1979: 0.01 x 4; 0.02 x 3; 0.03 x 2, no less than before; 0.5 x 1."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_exact_test_ends_at_fifty_differences() -> None:
    rng = np.random.default_rng(1)
    for count, method in ((50, "exact"), (51, "approx")):
        differences = rng.normal(0.2, 1, count)
        other = {"exact": "approx", "approx": "exact"}[method]
        p = wilcoxon(differences)[1]
        assert p == scipy.stats.wilcoxon(differences, method=method).pvalue
        assert p != scipy.stats.wilcoxon(differences, method=other).pvalue


def test_each_value_by_itself_is_the_plain_bootstrap_of_scipy() -> None:
    values = np.random.default_rng(2).beta(8, 2, 40)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=2).confidence_interval
    assert bootstrap_interval(values) == bootstrap_interval(values, list(range(40)))
    assert bootstrap_interval(values) == pytest.approx((theirs.low, theirs.high), abs=0.004)
