"""The report of a run: means with intervals, paired tests, worst cases, FID, failures and provenance.

It is laid out as `zim_plugins.evaluation` lays out its own, so that its page shows it: of the two names that the page
sorts by, `model` is what is compared (methods, or mattes) and `prompt` what is held fixed. It holds no time of day.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zim_plugins.evaluation.results import Row
from zim_plugins.evaluation.statistics import MIN_PAIRS, bootstrap_interval, holm, wilcoxon

from .fid import LEAST_PICTURES, frechet_distance
from .scoring import COLUMNS, LOWER_IS_BETTER, NEITHER_IS_BETTER

TESTED = ("hole_psnr", "ring_psnr", "ring_ssim", "leftover", "lpips", "seam", "clip_gone_1", "clip_distance")
"""Scores that pairs are compared by."""
WORST = 12
ROW_COLUMNS = ("case", "subset", "category", "matte", "filler", "method", *COLUMNS)
"""Names and scores of a row, in `rows.csv`."""

Compare = Literal["methods", "mattes"]
Failure = dict[str, str]


def arrange(rows: Sequence[Row], compare: Compare) -> list[Row]:
    """Name what is compared `model` and what is held fixed `prompt`, for the report and the page."""
    arranged = []
    for row in rows:
        fixed, varied = (row["matte"], row["method"]) if compare == "methods" else (row["method"], row["matte"])
        names = {"object": row["case"], "picture": row["case"], "model": varied, "prompt": f"{fixed}, {row['filler']}"}
        arranged.append(row | names)
    return arranged


def build_report(
    rows: Sequence[Row], faults: Sequence[Failure], missing: dict[str, str], provenance: dict[str, Any], out: Path
) -> dict[str, Any]:
    """Put together what a run found.

    Args:
        rows: of `arrange`.
        faults: kind, picture and message of what the data set's reader passed over.
        missing: scores that could not be had, and why.
        provenance: of `zim_plugins.evaluation.report.aggregate.describe_run`.
        out: the run's folder, where features lie.
    """
    scored = [row for row in rows if row["failure"] is None]
    failures = [{"object": "", "model": "", "prompt": ""} | fault for fault in faults]
    failures += [
        {key: row[key] for key in ("picture", "object", "model", "prompt")} | row["failure"]
        for row in rows
        if row["failure"] is not None
    ]
    return {
        "format": 1,
        "provenance": provenance,
        "columns": list(COLUMNS),
        "missing": missing,
        "counts": {"rows": len(rows), "scored": len(scored), "failures": len(failures)},
        "failure_counts": dict(sorted(Counter(f["kind"] for f in failures).items())),
        "failures": failures,
        "means": _means(scored),
        "paired": _paired(scored),
        "worst": _worst(scored),
        "fid": _fids(scored, out),
    }


def groups(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Prompts and models, in the order of their first row, prompts first."""
    present = dict.fromkeys((row["prompt"], row["model"]) for row in rows)
    prompts, models = dict.fromkeys(p for p, _ in present), dict.fromkeys(m for _, m in present)
    return [pair for pair in itertools.product(prompts, models) if pair in present]


def _means(scored: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry for each subset, prompt and model; of each score its mean, interval and number of cases."""
    entries = []
    subsets = list(dict.fromkeys(row["subset"] for row in scored if row["subset"]))
    subsets = ["all", *(subsets if len(subsets) > 1 else [])]
    for subset, (prompt, model) in itertools.product(subsets, groups(scored)):
        found = [r for r in _of(scored, prompt, model) if subset in ("all", r["subset"])]
        scores = {}
        for column in COLUMNS:
            pairs = [(row[column], row["case"]) for row in found if row[column] is not None]
            if not pairs:
                continue
            values, cases = zip(*pairs, strict=True)
            low, high = bootstrap_interval(values, cases)
            mean = float(np.mean(values))
            scores[column] = {"mean": _short(mean), "low": _short(low), "high": _short(high), "n": len(values)}
        entries.append({"subset": subset, "prompt": prompt, "model": model, "cases": len(found), "scores": scores})
    return entries


def _paired(scored: Sequence[Row]) -> list[dict[str, Any]]:
    """Wilcoxon tests between all pairs on the cases that both answered, Holm over the whole table; none below six."""
    tests = []
    for prompt in dict.fromkeys(prompt for prompt, _ in groups(scored)):
        models = [m for p, m in groups(scored) if p == prompt]
        by_model = {m: {row["case"]: row for row in _of(scored, prompt, m)} for m in models}
        for (first, second), column in itertools.product(itertools.combinations(models, 2), TESTED):
            pairs = [
                (row[column], by_model[second][key][column])
                for key, row in by_model[first].items()
                if key in by_model[second] and row[column] is not None and by_model[second][key][column] is not None
            ]
            if len(pairs) < MIN_PAIRS:
                continue
            differences = np.array([a - b for a, b in pairs])
            test = {"prompt": prompt, "first": first, "second": second, "score": column, "pictures": len(pairs)}
            test |= {"mean_difference": _short(float(differences.mean())), "least": _short(float(differences.min()))}
            test |= {"most": _short(float(differences.max())), "p": wilcoxon(differences)[1]}
            tests.append(test)
    for test, adjusted in zip(tests, holm([t["p"] for t in tests]), strict=True):
        test |= {"p": _short(test["p"]), "p_holm": _short(adjusted)}
    return tests


def _worst(scored: Sequence[Row]) -> list[dict[str, Any]]:
    """Return each group's cases of lowest PSNR; where no truth is known, those whose seam is most visible."""
    worst = []
    for prompt, model in groups(scored):
        found = _of(scored, prompt, model)
        by = "hole_psnr" if any(row["hole_psnr"] is not None for row in found) else "seam"
        found = [row for row in found if row[by] is not None]
        sign = -1 if by in LOWER_IS_BETTER | NEITHER_IS_BETTER else 1
        ranked = sorted(found, key=lambda row: (sign * row[by], row["case"]))[:WORST]
        cases = [{"object": row["case"], by: row[by], "iou": row["iou"], "drawn": row.get("drawn")} for row in ranked]
        worst.append({"prompt": prompt, "model": model, "by": by, "cases": cases})
    return worst


def _fids(scored: Sequence[Row], out: Path) -> list[dict[str, Any]]:
    """FID of each group's results, against the clean pictures, or the pictures with the object where none are known."""
    found = []
    for prompt, model in groups(scored):
        files = [out / row["features"] for row in _of(scored, prompt, model) if row.get("features")]
        if len(files) < 2:
            continue
        features = np.stack([np.load(file) for file in files])
        entry = {"prompt": prompt, "model": model, "n": len(files), "of_full_rank": len(files) >= LEAST_PICTURES}
        found.append(entry | {"fid": _short(frechet_distance(features[:, 0], features[:, 1]))})
    return found


def _of(rows: Sequence[Row], prompt: str, model: str) -> list[Row]:
    return [row for row in rows if (row["prompt"], row["model"]) == (prompt, model)]


def _short(value: float) -> float:
    return float(f"{value:.9g}")
