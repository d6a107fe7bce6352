"""The report of a run: means over tasks with their spread over seeds, beside what others publish."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from zim_plugins.evaluation.tables import PUBLISHED_MARK, Table, short_name

from ..whole_files import write_whole
from . import published
from .metrics import DEFINITIONS, SCORES
from .places import PROTOCOLS

Row = dict[str, Any]
COLUMNS: tuple[str, ...] = ("task", "model", "seed", "protocol", *SCORES, "clicks", "visits", "reference", "failure")


def build_report(rows: Sequence[Row], faults: Mapping[str, str], provenance: dict[str, Any]) -> dict[str, Any]:
    """Put together what a run found.

    Args:
        rows: of `run`.
        faults: tasks whose labels cannot be used, and why.
        provenance: how the numbers came about.
    """
    failures = [{"task": task, "model": "", "seed": "", "message": message} for task, message in faults.items()]
    for row in rows:
        if row["failure"] is not None:
            failures.append(
                {key: row[key] for key in ("task", "model", "seed")} | {"message": row["failure"]["message"]}
            )
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    asked = len(tasks) + len(faults)
    models = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        scored = [row for row in rows if row["model"] == model and row["failure"] is None]
        models[model] = {
            "tasks": {task: _spread([row for row in scored if row["task"] == task]) for task in tasks},
            "mean": _mean_of_tasks(scored),
            "tasks_asked": asked,
        }
    return {
        "format": 1,
        "provenance": provenance,
        "definitions": DEFINITIONS,
        "protocols": PROTOCOLS,
        "models": models,
        "failures": failures,
        "rows": list(rows),
        "published": {"nvos": [vars(entry) for entry in published.NVOS], "source": published.SOURCE},
    }


def build_tables(report: Mapping[str, Any]) -> list[Table]:
    """The table of means, with published rows for NVOS, and one of the tasks."""
    dataset, protocol = (report["provenance"]["dataset"][key] for key in ("name", "protocol"))
    header = ("Method", "Protocol", "mIoU ↑", "mAcc ↑", "boundary IoU ↑", "Tasks", "Seeds")
    rows, marks = [], []
    for model, found in report["models"].items():
        means = found["mean"]
        cells = [_cell(means[score]) for score in SCORES]
        count = f"{means['tasks']} of {found['tasks_asked']}"
        rows.append((short_name(model), protocol, *cells, count, str(means["seeds"])))
        marks.append(False)
    note = "In %; +- is the standard deviation over seeds."
    if dataset == "nvos":
        for entry in published.NVOS:
            said = "; ".join(word for word in (entry.kind, entry.note) if word)
            name = f"{entry.method} ({PUBLISHED_MARK}, {published.SOURCE}{'; ' + said if said else ''})"
            cells = [f"{v:.1f}" if v is not None else "" for v in (entry.iou, entry.accuracy, entry.boundary_iou)]
            rows.append((name, "its own", *cells, "", ""))
            marks.append(True)
        note += (
            f" Rows marked {PUBLISHED_MARK} were read in others' notes on the papers ({published.SOURCE}) and not "
            "measured here; protocols differ from paper to paper, and they are means over all tasks."
        )
    tables = [Table(f"{dataset}, protocol {protocol}: means", header, tuple(rows), tuple(marks), note)]
    tasks = [
        (task, short_name(model), *(_cell(scores[score]) for score in SCORES), str(scores["seeds"]))
        for model, found in report["models"].items()
        for task, scores in found["tasks"].items()
    ]
    header = ("Task", "Method", "IoU ↑", "Acc ↑", "boundary IoU ↑", "Seeds")
    marks = [False] * len(tasks)
    if dataset == "nvos":
        for task, (iou, accuracy) in published.VCAR_TASKS.items():
            name = f"VCAR ({PUBLISHED_MARK}, {published.SOURCE})"
            tasks.append((task, name, f"{iou:.1f}", f"{accuracy:.1f}", "", ""))
            marks.append(True)
    tables.append(Table(f"{dataset}, protocol {protocol}: tasks", header, tuple(tasks), tuple(marks), note))
    return tables


def rows_as_csv(rows: Sequence[Row]) -> str:
    """Every row, one line each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"failure": "" if row["failure"] is None else row["failure"]["message"]})
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_whole(path, lambda stream: stream.write(text.encode()))


def _spread(rows: Sequence[Row]) -> dict[str, Any]:
    """Mean and standard deviation of one task's scores over its seeds."""
    return {score: _moments([row[score] for row in rows]) for score in SCORES} | {"seeds": len(rows)}


def _mean_of_tasks(rows: Sequence[Row]) -> dict[str, Any]:
    """The mean over tasks of each seed that has them all, then mean and spread over these seeds."""
    by_seed: dict[int, dict[str, Row]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], {})[row["task"]] = row
    most = max((len(tasks) for tasks in by_seed.values()), default=0)
    whole = [list(tasks.values()) for tasks in by_seed.values() if len(tasks) == most]
    scores = {score: _moments([mean(row[score] for row in tasks) for tasks in whole]) for score in SCORES}
    return scores | {"tasks": most, "seeds": len(whole)}


def _moments(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": mean(values) if values else None,
        "std": stdev(values) if len(values) > 1 else None,
    }


def _cell(moments: Mapping[str, float | None]) -> str:
    if moments["mean"] is None:
        return ""
    spread = "" if moments["std"] is None else f" +- {100 * moments['std']:.1f}"
    return f"{100 * moments['mean']:.1f}{spread}"
