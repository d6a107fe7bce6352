"""The report as one HTML file that opens from disk: tables, tests, failures, and pictures embedded in it."""

import base64
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zim_plugins.evaluation.matting.run import Row
from zim_plugins.evaluation.report.tables import Table, short_name
from zim_plugins.imaging import atomic_write

SAMPLED = 12
"""Results shown of each model and prompt beside the worst, evenly over the data set."""
FAILURES_SHOWN = 200

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem; color: #1d2430; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .22rem .6rem; border-bottom: 1px solid #dde2ea; text-align: right; white-space: nowrap }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left }
tr.published td { color: #6b7686; font-style: italic }
.note, figcaption { color: #5a6473; font-size: .85rem }
.failures td { text-align: left; white-space: normal }
figure { margin: .5rem 0 } figure img { max-width: 100%; display: block; border: 1px solid #dde2ea }
select { font: inherit } pre { overflow-x: auto; background: #f4f6f9; padding: .8rem }
"""
_SCRIPT = """
const choice = document.querySelector('#choice');
const show = () => document.querySelectorAll('section.results').forEach(s => { s.hidden = s.id !== choice.value; });
if (choice) { choice.addEventListener('change', show); show(); }
"""


def write_page(path: Path, report: dict[str, Any], tables: Sequence[Table], rows: Sequence[Row]) -> None:
    """Write the page, whole or not at all; pictures are read from the folder that it is written to."""
    with atomic_write(path, durable=True) as stream:
        stream.write(build_page(report, tables, rows, path.parent).encode())


def build_page(report: dict[str, Any], tables: Sequence[Table], rows: Sequence[Row], folder: Path) -> str:
    """The page's text.

    Args:
        report: of `build_report`.
        tables: of `build_tables`.
        rows: of all models.
        folder: of the run, where the pictures lie.
    """
    dataset, counts = report["provenance"]["dataset"], report["counts"]
    title = f"Evaluation on {dataset['name']} {dataset['split']}"
    body = [f"<h1>{_text(title)}</h1>"]
    body.append(f"<p>{counts['scored']} of {counts['rows']} rows scored, {counts['failures']} failures.</p>")
    body += [_failures(report)] if report["failures"] else []
    body.append("<h2>Means</h2>")
    body += [_table(table) for table in tables]
    body += [_paired(report["paired"])] if report["paired"] else []
    body.append(_results(report, rows, folder))
    provenance = json.dumps(report["provenance"], indent=1, sort_keys=True)
    body.append(f"<h2>How these numbers came about</h2><pre>{_text(provenance)}</pre>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _table(table: Table) -> str:
    rows = [_row(table.header, "th")]
    for cells, published in zip(table.rows, table.published, strict=True):
        rows.append(_row(cells, "td", "published" if published else ""))
    caption, note = _text(table.caption), _text(table.note)
    return f'<h3>{caption}</h3><div class="wide"><table>{"".join(rows)}</table></div><p class="note">{note}</p>'


def _paired(tests: Sequence[dict[str, Any]]) -> str:
    header = ("Score", "Prompt", "First", "Second", "Mean difference", "Pictures", "p", "p (Holm)")
    rows = [_row(header, "th")]
    for t in tests:
        cells = (
            t["score"],
            t["prompt"],
            short_name(t["first"]),
            short_name(t["second"]),
            f"{t['mean_difference']:.4g}",
            t["pictures"],
        )
        rows.append(_row((*map(str, cells), f"{t['p']:.2g}", f"{t['p_holm']:.2g}"), "td"))
    note = "First minus second; Wilcoxon's signed-rank test over pictures, adjusted for all tests of this table (Holm)."
    table = f'<div class="wide"><table>{"".join(rows)}</table></div>'
    return f'<h2>Models against each other</h2>{table}<p class="note">{note}</p>'


def _failures(report: dict[str, Any]) -> str:
    failures = report["failures"]
    rows = [_row(("What", "Picture", "Object", "Model", "Prompt", "Why"), "th")]
    for f in failures[:FAILURES_SHOWN]:
        rows.append(_row([f[k] for k in ("kind", "picture", "object", "model", "prompt", "message")], "td"))
    more = len(failures) - FAILURES_SHOWN
    note = f'<p class="note">and {more} more: see report.json</p>' if more > 0 else ""
    return f'<h2>Failures</h2><table class="failures">{"".join(rows)}</table>{note}'


def _results(report: dict[str, Any], rows: Sequence[Row], folder: Path) -> str:
    """Pictures of the worst cases and of some results evenly over the set, one section for each model and prompt."""
    sections, options = [], []
    for number, group in enumerate(report["worst"]):
        found = [
            row
            for row in rows
            if (row["prompt"], row["model"]) == (group["prompt"], group["model"]) and row.get("drawn")
        ]
        if not found:
            continue
        by_object = {row["object"]: row for row in found}
        worst = [by_object[case["object"]] for case in group["cases"] if case["object"] in by_object]
        step = max(1, len(found) // SAMPLED)
        name = f"{short_name(group['model'])}, {group['prompt']}"
        options.append(f'<option value="results-{number}">{_text(name)}</option>')
        figures = f"<h3>Worst by {group['by']}</h3>" + _figures(worst, group["by"], folder)
        figures += "<h3>Evenly over the set</h3>" + _figures(found[::step][:SAMPLED], group["by"], folder)
        sections.append(f'<section class="results" id="results-{number}">{figures}</section>')
    if not sections:
        return ""
    note = "Picture with prompt, truth, answer, absolute difference."
    chooser = f'<p><label>Model and prompt: <select id="choice">{"".join(options)}</select></label> {note}</p>'
    return f"<h2>Results</h2>{chooser}" + "".join(sections)


def _figures(rows: Iterable[Row], by: str, folder: Path) -> str:
    figures = []
    for row in rows:
        path = folder / row["drawn"]
        if not path.is_file():
            continue
        content = base64.b64encode(path.read_bytes()).decode()
        caption = f"{row['object']}: {by} {row[by]:.4g}, IoU {row['iou']:.3f}"
        image = f'<img alt="{_text(caption)}" src="data:image/jpeg;base64,{content}">'
        figures.append(f"<figure>{image}<figcaption>{_text(caption)}</figcaption></figure>")
    return "".join(figures)


def _row(cells: Iterable[str], tag: str, name: str = "") -> str:
    inner = "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells)
    return f'<tr class="{name}">{inner}</tr>' if name else f"<tr>{inner}</tr>"


def _text(text: str) -> str:
    return html.escape(str(text))
