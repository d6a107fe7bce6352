"""Intervals of means and tests of differences; over images or patients, since objects of one are not independent."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

RESAMPLES = 9999
CONFIDENCE = 0.95
MAX_EXACT = 50
"""Differences up to which Wilcoxon's test is exact where none are tied; above, a normal distribution stands for it."""
MIN_PAIRS = 6
"""With fewer pairs an exact two-sided Wilcoxon test cannot fall below p = 0.0625, and resampling so few values gives
intervals that are too narrow."""
MIN_P = 1e-300
"""Least p-value that a test returns: one that underflows is not 0."""
_AT_ONCE = 4_000_000
"""Draws held in memory at one time."""


def mean_by_image(values: Sequence[float], images: Sequence[Hashable]) -> dict[Hashable, float]:
    """The mean of each image's values."""
    collected: dict[Hashable, list[float]] = {}
    for value, image in zip(values, images, strict=True):
        collected.setdefault(image, []).append(value)
    return {image: float(np.mean(found)) for image, found in collected.items()}


def bootstrap_interval(
    values: Sequence[float] | Float[np.ndarray, " n"], images: Sequence[Hashable] | None = None, *, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over all values.

    Args:
        values: what the mean is of.
        images: the image of each value, or whatever else is drawn as a whole; by default each value is one.

    Raises:
        ValueError: there is no value.

    Example:
        >>> bootstrap_interval([0.5] * 8)
        (0.5, 0.5)
    """
    if len(values) == 0:
        raise ValueError("there is nothing to resample")
    index = {image: k for k, image in enumerate(dict.fromkeys(images or range(len(values))))}
    groups = [index[image] for image in images or range(len(values))]
    sums, counts = np.bincount(groups, values), np.bincount(groups).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = []
    step = max(1, _AT_ONCE // len(sums))
    for first in range(0, RESAMPLES, step):
        drawn = rng.integers(len(sums), size=(min(step, RESAMPLES - first), len(sums)))
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    return percentile_interval(np.concatenate(means))


def percentile_interval(resampled: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the middle 95 % of resampled means."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, (tail, 100 - tail))
    return float(low), float(high)


def wilcoxon(differences: Sequence[float] | Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return statistic and two-sided p of the Wilcoxon signed-rank test; (0, 1) where no difference is left.

    Example:
        >>> wilcoxon([1.0, 2.0, 3.0, 0.0])
        (0.0, 0.25)
    """
    from scipy import stats

    nonzero = np.asarray(differences, dtype=np.float64)
    nonzero = nonzero[nonzero != 0]
    if len(nonzero) == 0:
        return 0.0, 1.0
    is_exact = len(nonzero) <= MAX_EXACT and len(np.unique(np.abs(nonzero))) == len(nonzero)
    found: Any = stats.wilcoxon(nonzero, method="exact" if is_exact else "approx")
    return float(found.statistic), max(float(found.pvalue), MIN_P)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for how many tests there are (Holm 1979), in the order given; NaN, where none was made, stay.

    Example:
        >>> holm([0.03, 0.01, float("nan")])
        [0.03, 0.02, nan]
    """
    tested = [i for i, p in enumerate(p_values) if np.isfinite(p)]
    adjusted, highest = [float("nan")] * len(p_values), 0.0
    for rank, i in enumerate(sorted(tested, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(tested) - rank) * float(p_values[i])))
        adjusted[i] = highest
    return adjusted
