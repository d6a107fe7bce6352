"""The report as one HTML page; its pictures stay files beside it."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zim_plugins.evaluation.report.tables import Table

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1400px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.6em 0}td,th{padding:3px 10px;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}tr.published td{color:#667;"
    "font-style:italic}img{max-width:100%}.note,figcaption{color:#556;font-size:.85em}pre{background:#f4f6f9;padding:1em;"
    "overflow-x:auto}"
)


def build_page(report: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """The page's text.

    Args:
        report: of `build_report`.
        tables: of `build_tables`.
    """
    title = f"zim-nvos: {report['provenance']['dataset']['name']}"
    definitions = "".join(f"<li>{_text(name)}: {_text(said)}" for name, said in report["definitions"].items())
    remark = report["provenance"]["dataset"].get("remark", "")
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{_text(title)}</title><style>{_STYLE}</style><h1>{_text(title)}</h1>",
        f"<p>{_text(remark)}</p>" if remark else "",
        _failures(report["failures"]),
        *(_table(table) for table in tables),
        "<h2>Pictures</h2><p class=note>First line: the reference view with its prompt. Below, each scored view: "
        "picture, overlay, 3D matte, truth, and errors (white: found, blue: missed, red: wrong).</p>",
        *(_figure(row) for row in report["rows"] if row.get("picture")),
        f"<h2>Definitions</h2><ul>{definitions}</ul>",
        f"<h2>How these numbers came about</h2><pre>{_text(json.dumps(report['provenance'], indent=1))}</pre></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    if not failures:
        return ""
    lines = [_row([f[key] for key in ("task", "model", "seed", "message")], "td") for f in failures]
    return f"<h2>Failures</h2><table>{_row(('Task', 'Model', 'Seed', 'Why'), 'th')}{''.join(lines)}</table>"


def _table(table: Table) -> str:
    lines = [_row(table.header, "th")]
    for cells, mark in zip(table.rows, table.published, strict=True):
        lines.append(_row(cells, "td", " class=published" if mark else ""))
    return f"<h2>{_text(table.caption)}</h2><table>{''.join(lines)}</table><p class=note>{_text(table.note)}</p>"


def _figure(row: Mapping[str, Any]) -> str:
    caption = f"{row['task']}, {row['model']}, seed {row['seed']}: IoU {100 * row['iou']:.1f} %"
    image = f'<img src="{_text(row["picture"])}" alt="{_text(caption)}">'
    return f"<figure>{image}<figcaption>{_text(caption)}</figcaption></figure>"


def _row(cells: Iterable[Any], tag: str, attributes: str = "") -> str:
    return f"<tr{attributes}>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(value: Any) -> str:
    return html.escape(str(value))
