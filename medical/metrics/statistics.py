"""Statistics of patients and of data sets: nothing is claimed where there is too little to claim it from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from zim_plugins.evaluation.statistics import (
    MIN_P,
    MIN_PAIRS,
    RESAMPLES,
    bootstrap_interval,
    percentile_interval,
    wilcoxon,
)


@dataclass(frozen=True)
class Summary:
    """Summary of one figure per case."""

    n: int
    """Cases that count."""
    mean: float
    sd: float
    """With n - 1; NaN for one case."""
    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]
    """95 % of the mean, by resampling cases; NaN below `MIN_PAIRS`."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of two models on the same cases."""

    n: int
    """Pairs."""
    difference: float
    """Mean of first minus second."""
    interval: tuple[float, float]
    ties: int
    """Pairs without a difference: Wilcoxon's test leaves them out."""
    statistic: float
    p: float
    """Of Wilcoxon's signed-rank test, two-sided; NaN below `MIN_PAIRS`."""
    effect: float
    """Rank-biserial correlation in [-1, 1]: 1 where the first is better in every pair."""


def summarise(values: Sequence[float], *, seed: int = 0, known: bool = True) -> Summary:
    """Mean, spread and a bootstrap interval of one figure per patient; NaN are left out and n says so.

    Args:
        values: one for each patient; for each case where patients are not known.
        known: whether it is known which cases are of one patient; without it there is no interval.
    """
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
        interval=bootstrap_interval(kept, seed=seed) if known and len(kept) >= MIN_PAIRS else (nan, nan),
    )


def summarise_clusters(clusters: Sequence[Sequence[float]], *, seed: int = 0, known: bool = True) -> Summary:
    """The same of several data sets together: each counts once, with the mean of its patients.

    n counts data sets; the interval resamples data sets, and patients within them.
    """
    kept = [own for values in clusters if len(own := np.array([v for v in values if np.isfinite(v)], np.float64))]
    summary = summarise([float(own.mean()) for own in kept], seed=seed, known=False)
    if not known or len(kept) < MIN_PAIRS:
        return summary
    return replace(summary, interval=bootstrap_clusters(kept, seed=seed))


def bootstrap_clusters(clusters: Sequence[Float[np.ndarray, " _"]], *, seed: int = 0) -> tuple[float, float]:
    """The percentile interval of the mean of clusters' means, resampling clusters and members within each of them."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(clusters), size=(RESAMPLES, len(clusters)))
    means = np.empty(drawn.shape)
    for number, own in enumerate(clusters):
        here = drawn == number
        count = int(here.sum())
        means[here] = own[rng.integers(len(own), size=(count, len(own)))].mean(axis=1)
    return percentile_interval(means.mean(axis=1))


def compare_clusters(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], *, seed: int = 0, known: bool = True
) -> Comparison:
    """Two models on the same patients of several data sets: tested by the data sets' mean differences."""
    kept = []
    for one, other in zip(first, second, strict=True):
        own = np.asarray(one, np.float64) - np.asarray(other, np.float64)
        if np.isfinite(own).any():
            kept.append(own[np.isfinite(own)])
    found = compare([float(own.mean()) for own in kept], [0.0] * len(kept), seed=seed, known=known)
    if not known or len(kept) < MIN_PAIRS:
        return found
    return replace(found, interval=bootstrap_clusters(kept, seed=seed))


def compare(first: Sequence[float], second: Sequence[float], *, seed: int = 0, known: bool = True) -> Comparison:
    """Two models on the same patients, in the same order; pairs in which one is NaN are left out and n says so.

    Args:
        first: one figure for each patient; for each case where patients are not known.
        second: of the other model.
        known: whether it is known which cases are of one patient; without it there is no test and no interval.
    """
    pairs = np.array([(a, b) for a, b in zip(first, second, strict=True) if np.isfinite(a) and np.isfinite(b)])
    nan = float("nan")
    if len(pairs) == 0:
        return Comparison(0, nan, (nan, nan), 0, nan, nan, nan)
    difference = pairs[:, 0] - pairs[:, 1]
    nonzero = difference[difference != 0]
    statistic, p = nan, nan
    if known and len(difference) >= MIN_PAIRS:
        statistic, p = wilcoxon(difference)
    return Comparison(
        n=len(difference),
        difference=float(difference.mean()),
        interval=bootstrap_interval(difference, seed=seed) if known and len(difference) >= MIN_PAIRS else (nan, nan),
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


def p_text(p: float) -> str:
    """Return a p-value as tables print it: three significant digits, never 0, empty where no test was made.

    >>> p_text(0.04567), p_text(1.5e-11), p_text(0.0), p_text(float("nan"))
    ('0.0457', '1.5e-11', '< 1e-300', '')
    """
    if not np.isfinite(p):
        return ""
    return f"{p:.3g}" if p > MIN_P else f"< {MIN_P:.0e}"


def clicks_needed(ious: Sequence[float], target: float) -> int:
    """NoC: the first number of clicks whose IoU reaches the target, else as many as were made (the cap)."""
    return next((i for i, iou in enumerate(ious, start=1) if iou >= target), len(ious))
