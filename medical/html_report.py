"""The report: one HTML file that holds its figures and overlays, and names what it does not show."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .aggregate import Contrast, describe_prompt
from .prompts import CLICKS
from .rows import ORACLE, write_text
from .run import INTENDED_USE

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0;font-size:13px}td,th{padding:3px 9px;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child,td.t,th.t{text-align:left}img{max-width:100%}"
    ".use{background:#fff3cd;padding:.6em 1em}.oracle{color:#a33}small{color:#666}"
)


def write_report(
    path: Path,
    record: Mapping[str, Any],
    summary: Sequence[Mapping[str, Any]],
    contrasts: Sequence[Contrast],
    noc: Sequence[Mapping[str, Any]],
    figures: Sequence[Path],
    overlays: Sequence[Path],
    faults: Sequence[Mapping[str, Any]],
) -> None:
    """Write the report.

    Args:
        path: the file.
        record: of `report.json`.
        summary: lines of `summary.csv`.
        contrasts: lines of `compare.csv`.
        noc: lines of `noc.csv`.
        figures: pictures to show first.
        overlays: pictures to show last.
        faults: cases that could not be used.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>zim-medseg</title><style>{STYLE}</style><h1>zim-medseg</h1>",
        f"<p class=use><b>{html.escape(INTENDED_USE.capitalize())}.</b> {html.escape(str(record['note']))}</p>",
        _data(record, faults),
        "<h2>IoU</h2>",
        *(_picture(figure, figure.stem) for figure in figures),
        _summary_table(summary),
        _volume_table(summary),
        "<h2>Comparisons</h2><p>Differences of patients' IoU, with 95&nbsp;% bootstrap intervals; Wilcoxon's signed-"
        "rank test, corrected by Holm over data sets and prompts of a pair of models.</p><ul>",
        *(f"<li>{html.escape(contrast.says)}" for contrast in contrasts),
        "</ul>",
        _noc_table(noc),
        "<h2>Best, median and worst</h2><p>By the first model's IoU, which stands beside each name. The reference's "
        "outline is white.</p>"
        if overlays
        else "",
        *(f"<h3>{html.escape(p.stem)}</h3>{_picture(p, p.stem)}" for p in overlays),
        _method(record),
        "</html>\n",
    ]
    write_text(path, "\n".join(parts))


def _picture(path: Path, alt: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f"<img alt='{html.escape(alt, quote=True)}' src='data:image/png;base64,{content}'>"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = ["<table><tr>", *(f"<th>{html.escape(name)}" for name in head)]
    for line in lines:
        cells += ["<tr>", *(f"<td>{html.escape(cell)}" for cell in line)]
    return "".join([*cells, "</table>"])


def _data(record: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> str:
    names = ("cases", "patients", "objects", "cases_without_object", "dropped_objects", "faults")
    head = ["data set", "layout", *(name.replace("_", " ") for name in names), "window"]
    lines = [
        [d["title"], d["layout"], *(str(d[name]) for name in names), ", ".join(d["windows"])]
        for d in record["datasets"]
    ]
    efforts = [
        [m, *(f"{e[n]:g}" for n in ("frames", "encodings", "prompts")), f"{e['encode_seconds']:.1f}",
         f"{e['prompt_seconds']:.1f}"]
        for m, e in record["models"].items()
    ]  # fmt: skip
    told = "".join(f"<li>{html.escape(f['dataset'])}, {html.escape(f['case'])}: {html.escape(f['reason'])} "
                   f"{html.escape(f['explanation'])}" for f in faults)  # fmt: skip
    notes = "".join(f"<li>{html.escape(d['title'])}: {html.escape(n)}" for d in record["datasets"] for n in d["notes"])
    refused = "".join(
        f"<li>{html.escape(m)} does not take {html.escape(', '.join(p))}" for m, p in record["refused"].items() if p
    )
    return (
        "<h2>Data</h2>" + _table(head, lines)
        + _table(["model", "frames", "encodings", "prompts", "encoding [s]", "prompts [s]"], efforts)
        + (f"<ul>{refused}{notes}</ul>" if refused or notes else "")
        + (f"<h3>Left out</h3><ul>{told}</ul>" if told else "")
    )  # fmt: skip


def _summary_table(summary: Sequence[Mapping[str, Any]]) -> str:
    found: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for line in summary:
        if line["label"] == "all" and line["level"] == "slice":
            place = tuple(line[n] for n in ("dataset", "prompt", "n_clicks", "candidate", "model"))
            found.setdefault(place, {})[line["metric"]] = line
    most = max((place[2] for place in found), default=0)
    lines = []
    for (dataset, prompt, n_clicks, candidate, model), metrics in found.items():
        if prompt == CLICKS and n_clicks not in (1, most):
            continue
        iou = metrics.get("iou")
        if iou is None:
            continue
        marked = (
            f"{model} (ORACLE)" if candidate == ORACLE else model if candidate == "single" else f"{model} ({candidate})"
        )
        interval = (
            f"{iou['mean']:.3f} [{iou['ci_low']:.3f}, {iou['ci_high']:.3f}]" if iou["n"] > 1 else f"{iou['mean']:.3f}"
        )
        others = [
            f"{metrics[n]['mean']:.3f}" if n in metrics else ""
            for n in ("dice", "hd95_px", "hd95_mm", "nsd_px", "nsd_mm")
        ]
        counts = [str(iou["n"]), str(iou["n_predictions"]), str(iou["n_empty_predictions"])]
        lines.append([dataset, describe_prompt(prompt, n_clicks), marked, interval, *others, *counts])
    head = ["data set", "prompt", "model", "IoU [95 %]", "Dice", "HD95 [px]", "HD95 [mm]", "NSD (px)", "NSD (mm)", "n",
            "predictions", "empty"]  # fmt: skip
    return _table(head, lines) + "<p><small>n counts patients (cases where names do not tell patients).</small></p>"


def _volume_table(summary: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [line["dataset"], line["prompt"], line["model"], line["metric"], str(line["n"]), f"{line['mean']:.3f}"]
        for line in summary
        if line["level"] == "volume"
        and line["label"] == "all"
        and line["metric"] in ("dice", "iou", "hd95_mm", "nsd_mm")
    ]
    return (
        "<h3>Volumes, in three dimensions</h3>" + _table(["data set", "prompt", "model", "metric", "n", "mean"], lines)
        if lines
        else ""
    )


def _noc_table(noc: Sequence[Mapping[str, Any]]) -> str:
    if not noc:
        return ""
    lines = [
        [line["dataset"], line["model"], f"{line['target_iou']:.2f}", f"{line['mean_clicks']:.2f}",
         f"{line['share_reached']:.0%}", str(line["n_objects"])]
        for line in noc
    ]  # fmt: skip
    head = ["data set", "model", "target IoU", "clicks (mean)", "reached", "objects"]
    return "<h2>Number of clicks</h2><p>Objects that never reach the target count as the maximum.</p>" + _table(
        head, lines
    )


def _method(record: Mapping[str, Any]) -> str:
    definitions = "".join(
        f"<li><b>{html.escape(name)}</b>: {html.escape(text)}" for name, text in record["definitions"].items()
    )
    protocol = "".join(f"<li>{html.escape(k)}: {html.escape(str(v))}" for k, v in record["protocol"].items())
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    return (
        f"<h2>Method</h2><ul>{definitions}</ul><h3>Protocol</h3><ul>{protocol}</ul>"
        f"<p><small>{html.escape(versions)}; {html.escape(record['machine'])}; {record['seconds']} s.</small></p>"
    )
