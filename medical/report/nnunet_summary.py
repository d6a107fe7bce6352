"""nnU-Net's `summary.json`, for the tools that read it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..protocol.prompt_modes import CLICKS
from ..protocol.records import SINGLE, Row

_COUNTS = ("TP", "FP", "FN", "TN", "n_pred", "n_ref")


def nnunet_summary(rows: Sequence[Row], *, model: str, prompt: str, max_clicks: int) -> dict[str, Any]:
    """One model under one prompt, in the shape that nnU-Net writes: per case and label, their means, and one of all.

    The slices of a case are pooled, as nnU-Net pools the voxels of a volume.
    """
    cases: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        wanted = row.model == model and row.prompt == prompt and row.level == "slice" and row.candidate == SINGLE
        if wanted and (row.prompt != CLICKS or row.n_clicks == max_clicks):
            cases[row.dataset, row.case][row.label].append(row)
    per_case = [
        {
            "reference_file": f"{dataset}/{case}",
            "prediction_file": f"masks/{dataset}/{case}",
            "metrics": {label: _pooled(group) for label, group in labels.items()},
        }
        for (dataset, case), labels in cases.items()
    ]
    names = list(dict.fromkeys(label for entry in per_case for label in entry["metrics"]))
    mean = {name: _mean([e["metrics"][name] for e in per_case if name in e["metrics"]]) for name in names}
    return {
        "metric_per_case": per_case,
        "mean": mean,
        "foreground_mean": _mean(list(mean.values())),
        "model": model,
        "prompt": prompt,
        "intended_use": "research only",
    }


def _pooled(rows: Sequence[Row]) -> dict[str, float | int | None]:
    both, predicted = sum(r.n_both for r in rows), sum(r.n_pred for r in rows)
    reference, pixels = sum(r.n_ref for r in rows), sum(r.n_px for r in rows)
    united = predicted + reference - both
    return {
        "Dice": round(2 * both / (predicted + reference), 6) if united else None,
        "IoU": round(both / united, 6) if united else None,
        "TP": both, "FP": predicted - both, "FN": reference - both, "TN": pixels - united,
        "n_pred": predicted, "n_ref": reference,
    }  # fmt: skip


def _mean(entries: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for name in ("Dice", "IoU", *_COUNTS):
        values = [entry[name] for entry in entries if entry[name] is not None]
        means[name] = round(float(np.mean(values)), 6) if values else None
    return means
