"""The report of a run: what `zim_plugins.evaluation` makes of its rows, and FID.

Of the two names that reports sort by, `model` is what is compared (methods, or mattes) and `prompt` what is held fixed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zim_plugins.evaluation import Row
from zim_plugins.evaluation.report import Comparison, rows_by_group, short
from zim_plugins.evaluation.report import build_report as build_comparison
from zim_plugins.evaluation.statistics import MIN_PAIRS

from .fid import LEAST_IMAGES, frechet_distance
from .scoring import COLUMNS, LOWER_IS_BETTER, NEITHER_IS_BETTER

COMPARISON = Comparison(
    COLUMNS,
    tested="hole_psnr ring_psnr ring_ssim leftover lpips seam clip_gone_1 clip_distance".split(),
    worst_by=("hole_psnr", "seam"),  # where no truth is known, the most visible seam
    higher_is_better=frozenset(COLUMNS) - LOWER_IS_BETTER - NEITHER_IS_BETTER,
    min_pairs=MIN_PAIRS,
    min_subsets=2,
)
ROW_COLUMNS = ("case", "subset", "category", "matte", "filler", "method", *COLUMNS)
"""Names and scores of a row, in `rows.csv`."""

Compare = Literal["methods", "mattes"]


def arrange(rows: Sequence[Row], compare: Compare) -> list[Row]:
    """Name what is compared `model` and what is held fixed `prompt`, for the report and the page."""
    arranged = []
    for row in rows:
        fixed, varied = (row["matte"], row["method"]) if compare == "methods" else (row["method"], row["matte"])
        names = {"object": row["case"], "picture": row["case"], "model": varied, "prompt": f"{fixed}, {row['filler']}"}
        arranged.append(row | names)
    return arranged


def build_report(
    rows: Sequence[Row],
    faults: Sequence[dict[str, str]],
    missing: dict[str, str],
    provenance: dict[str, Any],
    out: Path,
) -> dict[str, Any]:
    """Put together what a run found.

    Args:
        rows: of `arrange`.
        faults: kind, image and message of what the data set's reader passed over.
        missing: scores that could not be had, and why.
        provenance: of `describe_run`.
        out: the run's folder, where features lie.
    """
    scored = [row for row in rows if row["failure"] is None]
    return build_comparison(rows, faults, COMPARISON, provenance) | {"missing": missing, "fid": _fids(scored, out)}


def _fids(scored: Sequence[Row], out: Path) -> list[dict[str, Any]]:
    """FID of each group's results, against the clean images, or the images with the object where none are known."""
    found = []
    for (prompt, model), group in rows_by_group(scored).items():
        files = [out / row["features"] for row in group if row.get("features")]
        if len(files) < 2:
            continue
        features = np.stack([np.load(file) for file in files])
        entry = {"prompt": prompt, "model": model, "n": len(files), "of_full_rank": len(files) >= LEAST_IMAGES}
        found.append(entry | {"fid": short(frechet_distance(features[:, 0], features[:, 1]))})
    return found
