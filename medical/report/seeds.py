"""Spread over prompt seeds: how far the means move where only the random part of the prompts is drawn again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..protocol.records import Row
from .aggregate import TESTED, by_setting, by_source, patients_known, per_patient

SEED_COLUMNS = (
    *("dataset", "level", "model", "prompt", "n_clicks", "candidate", "metric", "n_seeds", "mean", "sd", "min", "max"),
)


def first_seed(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the first seed: those whose masks are kept."""
    return [row for row in rows if row.seed == rows[0].seed]


def seed_lines(rows: Sequence[Row], pooled: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return a line for each setting with the mean IoU's mean, SD (n - 1), least and largest over seeds.

    Args:
        rows: of all data sets and seeds; nothing is returned for one seed.
        pooled: names of data sets that stand for several, of which each counts once.
    """
    seeds = list(dict.fromkeys(row.seed for row in rows))
    if len(seeds) < 2:
        return []
    lines = []
    for setting, group in by_setting(rows).items():
        known = patients_known(group)
        means = []
        for seed in seeds:
            figures = per_patient([row for row in group if row.seed == seed], TESTED)
            means.append(_mean(figures, setting.dataset in pooled) if known or figures else float("nan"))
        lines.append({
            "dataset": setting.dataset, "level": setting.level, "model": setting.model, "prompt": setting.prompt,
            "n_clicks": setting.n_clicks, "candidate": setting.candidate, "metric": TESTED, "n_seeds": len(seeds),
            "mean": float(np.mean(means)), "sd": float(np.std(means, ddof=1)), "min": min(means), "max": max(means),
        })  # fmt: skip
    return lines


def _mean(figures: Mapping[str, float], is_pooled: bool) -> float:
    values = [float(np.nanmean(own)) for own in by_source(figures).values()] if is_pooled else list(figures.values())
    return float(np.nanmean(values))
