"""Statistics over cases: intervals, paired tests, and nothing claimed where there is too little to claim it from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

MIN_CASES = 6
"""With fewer pairs an exact two-sided Wilcoxon test cannot fall below p = 0.0625, and resampling so few values gives
intervals that are too narrow: neither is told."""
RESAMPLES = 9999
CONFIDENCE = 0.95
_CHUNK = 256


@dataclass(frozen=True)
class Summary:
    """Of one figure per case."""

    n: int
    """Cases that count."""
    mean: float
    sd: float
    """With n - 1; NaN for one case."""
    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]
    """95 % of the mean, by resampling cases; NaN below `MIN_CASES`."""


@dataclass(frozen=True)
class Comparison:
    """Of two models on the same cases."""

    n: int
    """Pairs."""
    difference: float
    """Mean of first minus second."""
    interval: tuple[float, float]
    ties: int
    """Pairs without a difference: Wilcoxon's test leaves them out."""
    statistic: float
    p: float
    """Of Wilcoxon's signed-rank test, two-sided; NaN below `MIN_CASES`."""
    effect: float
    """Rank-biserial correlation in [-1, 1]: 1 where the first is better in every pair."""


def summarise(values: Sequence[float], *, seed: int = 0) -> Summary:
    """Mean, spread and a bootstrap interval of one figure per case; NaN are left out and n says so."""
    kept, nan = np.array([v for v in values if np.isfinite(v)], dtype=np.float64), float("nan")
    if len(kept) == 0:
        return Summary(0, nan, nan, nan, (nan, nan), (nan, nan))
    low, middle, high = (float(q) for q in np.percentile(kept, [25, 50, 75]))
    return Summary(
        n=len(kept),
        mean=float(kept.mean()),
        sd=float(kept.std(ddof=1)) if len(kept) > 1 else float("nan"),
        median=middle,
        quartiles=(low, high),
        interval=bootstrap_mean(kept, seed=seed) if len(kept) >= MIN_CASES else (nan, nan),
    )


def bootstrap_mean(
    values: Float[np.ndarray, " n"], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The percentile interval of the mean; each value is one case, so that slices of a patient stay together."""
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        means[start : start + size] = values[rng.integers(len(values), size=(size, len(values)))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def compare(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Comparison:
    """Two models on the same cases, in the same order; pairs in which one is NaN are left out and n says so."""
    pairs = np.array([(a, b) for a, b in zip(first, second, strict=True) if np.isfinite(a) and np.isfinite(b)])
    nan = float("nan")
    if len(pairs) == 0:
        return Comparison(0, nan, (nan, nan), 0, nan, nan, nan)
    difference = pairs[:, 0] - pairs[:, 1]
    nonzero = difference[difference != 0]
    statistic, p = nan, nan
    if len(difference) >= MIN_CASES:
        statistic, p = _wilcoxon(difference) if len(nonzero) else (0.0, 1.0)
    return Comparison(
        n=len(difference),
        difference=float(difference.mean()),
        interval=bootstrap_mean(difference, seed=seed) if len(difference) >= MIN_CASES else (nan, nan),
        ties=len(difference) - len(nonzero),
        statistic=statistic,
        p=p,
        effect=rank_biserial(nonzero),
    )


def rank_biserial(differences: Float[np.ndarray, " n"]) -> float:
    """Ranks in favour minus ranks against, as a share of all; 0 where there is no difference."""
    from scipy.stats import rankdata

    if len(differences) == 0:
        return 0.0
    ranks = rankdata(np.abs(differences))
    return float((ranks[differences > 0].sum() - ranks[differences < 0].sum()) / ranks.sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaN (no test was made) stay NaN and do not count."""
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * float(p[index])))
        corrected[index] = largest
    return corrected.tolist()


def clicks_needed(ious: Sequence[float], target: float) -> int:
    """NoC: the first number of clicks whose IoU reaches the target, else as many as were made (the cap)."""
    return next((i for i, iou in enumerate(ious, start=1) if iou >= target), len(ious))


def _wilcoxon(difference: Float[np.ndarray, " n"]) -> tuple[float, float]:
    from scipy.stats import wilcoxon

    nonzero = difference[difference != 0]
    exact = len(nonzero) <= 50 and len(np.unique(np.abs(nonzero))) == len(nonzero)
    outcome: Any = wilcoxon(
        nonzero, zero_method="wilcox", alternative="two-sided", method="exact" if exact else "approx"
    )
    return float(outcome.statistic), float(outcome.pvalue)
