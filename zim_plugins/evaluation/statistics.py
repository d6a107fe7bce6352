"""Intervals of means and tests of differences; over images, since objects of one are not independent."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000
CONFIDENCE = 0.95
_AT_ONCE = 4_000_000
"""Draws held in memory at one time."""


def mean_by_picture(values: Sequence[float], pictures: Sequence[Hashable]) -> dict[Hashable, float]:
    """The mean of each picture's values."""
    collected: dict[Hashable, list[float]] = {}
    for value, picture in zip(values, pictures, strict=True):
        collected.setdefault(picture, []).append(value)
    return {picture: float(np.mean(found)) for picture, found in collected.items()}


def bootstrap_interval(
    values: Sequence[float], pictures: Sequence[Hashable], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of the mean over all values, resampling pictures with all their objects.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("there is nothing to resample")
    sums: dict[Hashable, list[float]] = {}
    for value, picture in zip(values, pictures, strict=True):
        entry = sums.setdefault(picture, [0.0, 0.0])
        entry[0] += value
        entry[1] += 1
    totals = np.array(list(sums.values()))
    rng = np.random.default_rng(seed)
    means = []
    step = max(1, _AT_ONCE // len(totals))
    for first in range(0, resamples, step):
        drawn = totals[rng.integers(len(totals), size=(min(step, resamples - first), len(totals)))].sum(1)
        means.append(drawn[:, 0] / drawn[:, 1])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(means), (tail, 100 - tail))
    return float(low), float(high)


def wilcoxon_p(differences: Sequence[float] | Float[np.ndarray, " n"]) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; 1 where no difference is left."""
    from scipy.stats import wilcoxon

    nonzero = np.asarray(differences, dtype=np.float64)
    nonzero = nonzero[nonzero != 0]
    if len(nonzero) == 0:
        return 1.0
    method = "exact" if len(nonzero) <= 25 and len(np.unique(np.abs(nonzero))) == len(nonzero) else "approx"
    return float(wilcoxon(nonzero, method=method).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for how many tests there are (Holm 1979); answers in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
