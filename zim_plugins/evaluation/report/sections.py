"""Sections of the pages that show models against each other: means, tests, failures, results, provenance."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zim_plugins.evaluation.report.html import Figure, Section, embedded
from zim_plugins.evaluation.report.tables import Table, short_name
from zim_plugins.evaluation.results import Row

SAMPLED = 12
"""Results shown of each model and prompt besides the worst, evenly over the data set."""
FAILURES_SHOWN = 200


def comparison_sections(
    report: dict[str, Any], tables: Sequence[Table], rows: Sequence[Row], folder: Path
) -> list[Section]:
    """Return the sections of a page."""
    counts = report["counts"]
    said = f"{counts['scored']} of {counts['rows']} rows scored, {counts['failures']} failures."
    sections = [Section(text=[said])]
    if report["failures"]:
        sections.append(failures_section(report["failures"]))
    sections.append(Section("Means", tables=tables))
    if report["paired"]:
        sections.append(_paired(report["paired"]))
    if shown := _results(report, rows, folder):
        note = "Image with prompt, truth, answer, absolute difference."
        sections.append(Section("Results", text=[note], sections=shown, chooser="Model and prompt"))
    return [*sections, provenance_section(report["provenance"])]


def failures_section(failures: Sequence[dict[str, Any]]) -> Section:
    """Return the section of what could not be scored, by the names that the failures have."""
    names = tuple(failures[0])
    rows = tuple(tuple(str(failure[name]) for name in names) for failure in failures[:FAILURES_SHOWN])
    more = len(failures) - FAILURES_SHOWN
    notes = [f"and {more} more: see report.json"] if more > 0 else []
    header = tuple(name.capitalize() for name in names)
    return Section("Failures", tables=[Table("", header, rows, words=len(names))], notes=notes)


def provenance_section(provenance: dict[str, Any]) -> Section:
    """Return the section that says how the numbers came about."""
    return Section("How these numbers came about", code=json.dumps(provenance, indent=1, sort_keys=True))


def _paired(tests: Sequence[dict[str, Any]]) -> Section:
    header = ("Score", "Prompt", "First", "Second", "Mean difference", "Images", "p", "p (Holm)")
    rows = []
    for t in tests:
        names = t["score"], t["prompt"], short_name(t["first"]), short_name(t["second"])
        rows.append((*names, f"{t['mean_difference']:.4g}", str(t["pictures"]), f"{t['p']:.2g}", f"{t['p_holm']:.2g}"))
    note = "First minus second; Wilcoxon's signed-rank test over images, adjusted for all tests of this table (Holm)."
    return Section("Models against each other", tables=[Table("", header, tuple(rows), note=note, words=4)])


def _results(report: dict[str, Any], rows: Sequence[Row], folder: Path) -> list[Section]:
    """Return the worst cases and some evenly over the set, a section for each model and prompt."""
    sections = []
    for group in report["worst"]:
        pair = group["prompt"], group["model"]
        found = [row for row in rows if (row["prompt"], row["model"]) == pair and row.get("drawn")]
        if not found:
            continue
        by_object = {row["object"]: row for row in found}
        worst = [by_object[case["object"]] for case in group["cases"] if case["object"] in by_object]
        evenly = found[:: max(1, len(found) // SAMPLED)][:SAMPLED]
        parts = [
            Section(title, figures=_figures(chosen, group["by"], folder))
            for title, chosen in ((f"Worst by {group['by']}", worst), ("Evenly over the set", evenly))
        ]
        sections.append(Section(f"{short_name(group['model'])}, {group['prompt']}", sections=parts))
    return sections


def _figures(rows: Iterable[Row], by: str, folder: Path) -> list[Figure]:
    return [
        embedded(
            folder / row["drawn"], f"{row['object']}: {by} {_shown(row[by], '.4g')}, IoU {_shown(row['iou'], '.3f')}"
        )
        for row in rows
        if (folder / row["drawn"]).is_file()
    ]


def _shown(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)
