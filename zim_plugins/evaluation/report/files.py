"""Files of a report, called and written alike by every command."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zim_plugins.evaluation.report.csv import csv_text
from zim_plugins.evaluation.report.html import Section, build_page
from zim_plugins.evaluation.report.tables import Table, to_latex, to_markdown
from zim_plugins.evaluation.results import Row
from zim_plugins.imaging import write_text

logger = logging.getLogger(__name__)

FAILURE_COLUMNS = ("failure", "message")


def write_report(
    out: Path,
    report: dict[str, Any],
    *,
    title: str,
    sections: Sequence[Section],
    tables: Sequence[Table],
    columns: Sequence[str],
    rows: Sequence[Row],
    former: str = "rows.csv",
) -> None:
    """Write report.json, rows.csv, tables.md, tables.tex and report.html, each whole or not at all.

    Args:
        out: folder of the run.
        report: JSON values.
        columns: names and scores of rows.csv; a failure and its message follow them.
        former: name of rows.csv before version 0.2, under which it is written once more.
    """
    write_json(out / "report.json", report)
    write_rows(out, csv_text((*columns, *FAILURE_COLUMNS), rows), former)
    write_text(out / "tables.md", to_markdown(tables))
    write_text(out / "tables.tex", to_latex(tables))
    write_text(out / "report.html", build_page(title, sections))


def write_rows(out: Path, text: str, former: str = "rows.csv") -> None:
    """Write rows.csv, and the same under its former name, which goes with the next version."""
    for name in dict.fromkeys(("rows.csv", former)):
        write_text(out / name, text)
    if former != "rows.csv":
        logger.warning("%s is called rows.csv now; in this version both are written", former)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all, with sorted names."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
