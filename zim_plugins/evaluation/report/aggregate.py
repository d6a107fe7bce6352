"""The report of a run: means with intervals, paired tests, failures and provenance.

The report holds no time of day: a run that was killed and resumed writes the same bytes as one that was not.
"""

import itertools
import os
import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

import zim_plugins
from zim_plugins.data.faults import Fault
from zim_plugins.evaluation.matting.scoring import HIGHER_IS_BETTER, score_columns
from zim_plugins.evaluation.provenance import source_commit
from zim_plugins.evaluation.results import Row
from zim_plugins.evaluation.statistics import bootstrap_interval, holm, mean_by_picture, wilcoxon

ROW_COLUMNS = ("picture", "object", "subset", "size", "model", "prompt")
"""Names of a row before its scores, in `rows.csv`."""
SIZES = ("all", "S", "M", "L")
WORST = 12
"""Worst cases that the report names, for each model and prompt."""
TESTED = ("iou", "boundary_iou", "zim_sad", "zim_mse", "zim_grad", "dim_grad", "dim_unknown_mse", "dim_unknown_grad")
"""Scores that pairs of models are compared by, where they are scored; none is another one rescaled."""

Report = dict[str, Any]


def build_report(
    rows: Sequence[Row], faults: Sequence[Fault], profiles: Sequence[str], provenance: dict[str, Any]
) -> Report:
    """Put together what a run found.

    Args:
        rows: of all models, in order.
        faults: what the data set's reader passed over.
        profiles: of the scores.
        provenance: see `describe_run`.
    """
    columns = score_columns(profiles)
    scored = [row for row in rows if row["failure"] is None]
    failures = [_failure_row(fault) for fault in faults]
    failures += [
        {key: row[key] for key in ("picture", "object", "model", "prompt")} | row["failure"]
        for row in rows
        if row["failure"] is not None
    ]
    return {
        "format": 1,
        "provenance": provenance,
        "columns": columns,
        "counts": {"rows": len(rows), "scored": len(scored), "failures": len(failures)},
        "failure_counts": dict(sorted(Counter(f["kind"] for f in failures).items())),
        "failures": failures,
        "means": _means(scored, columns),
        "paired": _paired(scored, [c for c in TESTED if c in columns]),
        "worst": _worst(scored, columns),
    }


def describe_run(settings: dict[str, Any], models: Sequence[dict[str, Any]], dataset: dict[str, Any]) -> dict[str, Any]:
    """Return how the numbers came about: settings, checkpoints, data, commit, machine and versions."""
    import scipy
    import torch

    return {
        "settings": settings,
        "models": list(models),
        "dataset": dataset,
        "commit": source_commit(),
        "machine": {
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
        },
        "versions": {
            "zim_plugins": zim_plugins.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
    }


def _failure_row(fault: Fault) -> dict[str, str]:
    """Return what the reader passed over, as a row like the others."""
    row = {"picture": fault.where, "object": "", "model": "", "prompt": ""}
    return row | {"kind": fault.kind, "message": fault.message}


def _means(scored: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """One entry for each subset, size, prompt and model; plain means over objects, with intervals over pictures."""
    entries = []
    subsets = list(dict.fromkeys(["all", *(row["subset"] for row in scored if row["subset"])]))
    for subset, size, (prompt, model) in itertools.product(subsets, SIZES, _groups(scored)):
        found = [
            row
            for row in scored
            if (row["prompt"], row["model"]) == (prompt, model)
            and subset in ("all", row["subset"])
            and size in ("all", row["size"])
        ]
        if not found:
            continue
        pictures = [row["picture"] for row in found]
        entry = {"subset": subset, "size": size, "prompt": prompt, "model": model}
        entry |= {"objects": len(found), "pictures": len(set(pictures)), "scores": {}}
        for column in columns:
            values = [row[column] for row in found]
            low, high = bootstrap_interval(values, pictures)
            entry["scores"][column] = {"mean": _short(float(np.mean(values))), "low": _short(low), "high": _short(high)}
        entries.append(entry)
    return entries


def _paired(scored: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Wilcoxon tests between all pairs of models on the objects that both answered; Holm over the whole table."""
    tests = []
    groups = _groups(scored)
    for prompt in dict.fromkeys(prompt for prompt, _ in groups):
        models = [model for p, model in groups if p == prompt]
        by_model = {m: {r["object"]: r for r in scored if (r["prompt"], r["model"]) == (prompt, m)} for m in models}
        for (first, second), column in itertools.product(itertools.combinations(models, 2), columns):
            shared = [key for key in by_model[first] if key in by_model[second]]
            if not shared:
                continue
            differences = [by_model[first][key][column] - by_model[second][key][column] for key in shared]
            by_picture = mean_by_picture(differences, [by_model[first][key]["picture"] for key in shared])
            test = {"prompt": prompt, "first": first, "second": second, "score": column, "pictures": len(by_picture)}
            test["mean_difference"] = _short(float(np.mean(differences)))
            test["p"] = wilcoxon(list(by_picture.values()))[1]
            tests.append(test)
    for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = _short(adjusted)
        test["p"] = _short(test["p"])
    return tests


def _worst(scored: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return, for each model and prompt, the objects of highest MSE by the first profile, else of lowest IoU."""
    by = next((c for c in columns if c.endswith("_mse")), "iou")
    sign = 1 if by in HIGHER_IS_BETTER else -1
    worst = []
    for prompt, model in _groups(scored):
        found = [row for row in scored if (row["prompt"], row["model"]) == (prompt, model)]
        ranked = sorted(found, key=lambda row: (sign * row[by], row["object"]))[:WORST]
        cases = [{"object": row["object"], by: row[by], "iou": row["iou"], "drawn": row.get("drawn")} for row in ranked]
        worst.append({"prompt": prompt, "model": model, "by": by, "cases": cases})
    return worst


def _groups(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Prompts and models, in the order of their first row, prompts first."""
    prompts = dict.fromkeys(row["prompt"] for row in rows)
    models = dict.fromkeys(row["model"] for row in rows)
    present = {(row["prompt"], row["model"]) for row in rows}
    return [pair for pair in itertools.product(prompts, models) if pair in present]


def _short(value: float) -> float:
    return float(f"{value:.9g}")
