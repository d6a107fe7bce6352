"""The report of a run: means over tasks with their spread over seeds, beside what others publish."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from zim_plugins.evaluation import Row
from zim_plugins.evaluation.report import PUBLISHED_MARK, Table, short_name

from . import published
from .datasets import NVOS_VIEWS
from .metrics import DEFINITIONS, SCORES
from .scene_lookup import PROTOCOLS

PUBLISHED_NOTE = (
    f" Rows marked {PUBLISHED_MARK} were read in others' notes on the papers ({published.SOURCE}), not measured here; "
    "protocols differ from paper to paper."
)
COLUMNS: tuple[str, ...] = ("task", "model", "seed", "protocol", "field", *SCORES, "clicks", "visits", "reference")


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
            "fields": {field: _mean_of_tasks(found) for field, found in _by_field(scored).items()},
            "field_of": {row["task"]: _field(row) for row in scored},
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
    """Means over tasks, one table for each kind of field, and the tasks one by one; for NVOS with published rows."""
    of_nvos = report["provenance"]["dataset"]["name"] == "nvos"
    measured = {field for found in report["models"].values() for field in found["fields"]}
    families = [
        f for f in published.FIELDS if f in measured or (of_nvos and any(e.family == f for e in published.NVOS))
    ]
    if not measured and families[:1] != list(published.FIELDS[:1]):
        families = [published.FIELDS[0], *families]
    tables = [_table_of_means(report, family, first=not i) for i, family in enumerate(families)]
    others = [_table_of_means(report, published.OTHER, first=False)] if of_nvos else []
    return [*tables, *others, _table_of_tasks(report)]


def _table_of_means(report: Mapping[str, Any], family: str, *, first: bool) -> Table:
    """Means on one kind of field, ours and published; models without any score stand in the first table."""
    dataset = report["provenance"]["dataset"]
    header = ("Method", "Protocol", "mIoU ↑", "mAcc ↑", "boundary IoU ↑", "Tasks", "Seeds")
    rows, marks, note = [], [], "In %; +- is the standard deviation over seeds."
    for model, found in report["models"].items():
        means = found["fields"].get(family, found["mean"] if first and not found["fields"] else None)
        if means is None:
            continue
        count = f"{means['tasks']} of {found['tasks_asked']}"
        cells = (_cell(means[score]) for score in SCORES)
        rows.append((short_name(model), dataset["protocol"], *cells, count, str(means["seeds"])))
        marks.append(False)
        if dataset["name"] == "nvos" and means["tasks"] < len(NVOS_VIEWS):
            note += f" {short_name(model)}: {means['tasks']} of NVOS's {len(NVOS_VIEWS)} tasks, no mean to compare."
    for entry in published.NVOS if dataset["name"] == "nvos" else ():
        if entry.family != family:
            continue
        said = "; ".join(w for w in (f"{PUBLISHED_MARK}, {published.SOURCE}", entry.kind, entry.note) if w)
        cells = (f"{v:.1f}" if v is not None else "" for v in (entry.iou, entry.accuracy, entry.boundary_iou))
        rows.append((f"{entry.method} ({said})", "its own", *cells, "", ""))
        marks.append(True)
    if any(marks):
        note += PUBLISHED_NOTE
    on = "other kinds of scene" if family == published.OTHER else family
    caption = f"{dataset['name']}, protocol {dataset['protocol']}: means on {on}"
    return Table(caption, header, tuple(rows), tuple(marks), note)


def _table_of_tasks(report: Mapping[str, Any]) -> Table:
    dataset = report["provenance"]["dataset"]
    rows = [
        (
            task,
            short_name(model),
            found["field_of"].get(task, ""),
            *(_cell(scores[score]) for score in SCORES),
            str(scores["seeds"]),
        )
        for model, found in report["models"].items()
        for task, scores in found["tasks"].items()
    ]
    marks = [False] * len(rows)
    for task, (iou, accuracy) in published.VCAR_TASKS.items() if dataset["name"] == "nvos" else ():
        said = f"VCAR ({PUBLISHED_MARK}, {published.SOURCE})"
        rows.append((task, said, published.VCAR_FIELD, f"{iou:.1f}", f"{accuracy:.1f}", "", ""))
        marks.append(True)
    header = ("Task", "Method", "Field", "IoU ↑", "Acc ↑", "boundary IoU ↑", "Seeds")
    note = "In %; +- is the standard deviation over seeds." + PUBLISHED_NOTE * any(marks)
    return Table(f"{dataset['name']}, protocol {dataset['protocol']}: tasks", header, tuple(rows), tuple(marks), note)


def _field(row: Row) -> str:
    """Return what a row was scored on; rows of versions without splats do not say it."""
    return row.get("field", published.FIELDS[0])


def _by_field(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(_field(row), []).append(row)
    return found


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
    return {"mean": mean(values) if values else None, "std": stdev(values) if len(values) > 1 else None}


def _cell(moments: Mapping[str, float | None]) -> str:
    if moments["mean"] is None:
        return ""
    spread = "" if moments["std"] is None else f" +- {100 * moments['std']:.1f}"
    return f"{100 * moments['mean']:.1f}{spread}"
