"""The report of a run that sets models against each other: means with intervals, paired tests, worst cases, failures.

The report holds no time of day: a run that was killed and resumed writes the same bytes as one that was not.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zim_plugins.evaluation.matting.scoring import HIGHER_IS_BETTER, score_columns
from zim_plugins.evaluation.results import Row
from zim_plugins.evaluation.statistics import bootstrap_interval, holm, mean_by_image, wilcoxon

WORST = 12
"""Worst cases that the report names, for each model and prompt."""

Report = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Scores of a comparison; rows have image, object, subset, model, prompt, failure, and each score or None."""

    columns: Sequence[str]
    """Names of the scores."""
    tested: Sequence[str]
    """Scores that pairs of models are compared by, where they are scored; none is another one rescaled."""
    worst_by: Sequence[str]
    """Scores that cases are ranked by: the first that a model has."""
    higher_is_better: frozenset[str]
    sizes: Sequence[str] = ("all",)
    """Values of a row's `size` that have means of their own."""
    min_pairs: int = 1
    """Fewer images than these are not tested."""
    min_subsets: int = 1
    """Fewer subsets than these have no means of their own."""


ROW_COLUMNS = ("picture", "object", "subset", "size", "model", "prompt")
"""Names of a row of mattes before its scores, in `rows.csv`."""


def matting_comparison(profiles: Sequence[str]) -> Comparison:
    """Return how mattes are compared that were scored by these profiles."""
    columns = score_columns(profiles)
    tested = "iou boundary_iou zim_sad zim_mse zim_grad dim_grad dim_unknown_mse dim_unknown_grad".split()
    worst_by = [column for column in columns if column.endswith("_mse")][:1] or ["iou"]
    return Comparison(
        columns, [c for c in tested if c in columns], worst_by, HIGHER_IS_BETTER, sizes=("all", "S", "M", "L")
    )


def build_report(
    rows: Sequence[Row], faults: Sequence[dict[str, str]], how: Comparison, provenance: dict[str, Any]
) -> Report:
    """Put together what a run found.

    Args:
        rows: of all models, in order.
        faults: image, kind and message of what the data set's reader passed over.
        provenance: see `describe_run`.
    """
    scored = [row for row in rows if row["failure"] is None]
    names = ("picture", "object", "model", "prompt")
    failures = [dict.fromkeys(names, "") | fault for fault in faults]
    failures += [{name: row[name] for name in names} | row["failure"] for row in rows if row["failure"] is not None]
    return {
        "format": 1,
        "provenance": provenance,
        "columns": list(how.columns),
        "counts": {"rows": len(rows), "scored": len(scored), "failures": len(failures)},
        "failure_counts": dict(sorted(Counter(f["kind"] for f in failures).items())),
        "failures": failures,
        "means": _means(scored, how),
        "paired": _paired(scored, how),
        "worst": _worst(scored, how),
    }


def rows_by_group(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each prompt and model, in the order of their first rows, prompts first."""
    prompts, models = (list(dict.fromkeys(row[name] for row in rows)) for name in ("prompt", "model"))
    groups: dict[tuple[str, str], list[Row]] = {pair: [] for pair in itertools.product(prompts, models)}
    for row in rows:
        groups[row["prompt"], row["model"]].append(row)
    return {pair: found for pair, found in groups.items() if found}


def short(value: float) -> float:
    """Return a number with the nine digits that reports keep."""
    return float(f"{value:.9g}")


def _means(scored: Sequence[Row], how: Comparison) -> list[dict[str, Any]]:
    """One entry for each subset, size, prompt and model; plain means over objects, with intervals over images."""
    entries = []
    subsets = list(dict.fromkeys(row["subset"] for row in scored if row["subset"]))
    subsets = ["all", *(subsets if len(subsets) >= how.min_subsets else [])]
    for subset, size, (pair, group) in itertools.product(subsets, how.sizes, rows_by_group(scored).items()):
        found = [r for r in group if subset in ("all", r["subset"]) and size in ("all", r.get("size"))]
        if not found:
            continue
        entry = {"subset": subset, "size": size, "prompt": pair[0], "model": pair[1]}
        entry |= {"objects": len(found), "pictures": len({row["picture"] for row in found}), "scores": {}}
        for column in how.columns:
            values, images = zip(*((row[column], row["picture"]) for row in found), strict=True)
            kept = [(value, image) for value, image in zip(values, images, strict=True) if value is not None]
            if kept:
                values, images = zip(*kept, strict=True)
                low, high = bootstrap_interval(values, images)
                score = {"mean": short(float(np.mean(values))), "low": short(low), "high": short(high)}
                entry["scores"][column] = score | {"n": len(values)}
        entries.append(entry)
    return entries


def _paired(scored: Sequence[Row], how: Comparison) -> list[dict[str, Any]]:
    """Wilcoxon tests between all pairs of models on the objects that both answered; Holm over the whole table."""
    tests = []
    by_model = {pair: {row["object"]: row for row in rows} for pair, rows in rows_by_group(scored).items()}
    pairs = [(one, other) for one, other in itertools.combinations(by_model, 2) if one[0] == other[0]]
    for (first, second), column in itertools.product(pairs, how.tested):
        shared = [
            (row[column] - other[column], row["picture"])
            for key, row in by_model[first].items()
            if (other := by_model[second].get(key)) and row[column] is not None and other[column] is not None
        ]
        by_image = mean_by_image(*zip(*shared, strict=True)) if shared else {}
        if len(by_image) < how.min_pairs:
            continue
        differences = [difference for difference, _ in shared]
        test = {"prompt": first[0], "first": first[1], "second": second[1], "score": column}
        test |= {"pictures": len(by_image), "mean_difference": short(float(np.mean(differences)))}
        test |= {"least": short(min(differences)), "most": short(max(differences))}
        tests.append(test | {"p": wilcoxon(list(by_image.values()))[1]})
    for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test |= {"p": short(test["p"]), "p_holm": short(adjusted)}
    return tests


def _worst(scored: Sequence[Row], how: Comparison) -> list[dict[str, Any]]:
    """Return the objects of each model and prompt that were worst by the first score that it has."""
    worst = []
    for (prompt, model), group in rows_by_group(scored).items():
        by = next((c for c in how.worst_by if any(row[c] is not None for row in group)), how.worst_by[-1])
        sign = 1 if by in how.higher_is_better else -1
        found = [row for row in group if row[by] is not None]
        ranked = sorted(found, key=lambda row: (sign * row[by], row["object"]))[:WORST]
        cases = [{"object": row["object"], by: row[by], "iou": row["iou"], "drawn": row.get("drawn")} for row in ranked]
        worst.append({"prompt": prompt, "model": model, "by": by, "cases": cases})
    return worst
