"""The report: one HTML file that holds its figures and overlays, and names what it does not show."""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from zim_plugins.imaging import write_text

from ..labelling import OVERLAP_RULE
from ..protocol.prompt_modes import CLICKS
from ..protocol.records import ORACLE, SINGLE
from ..run import INTENDED_USE
from .aggregate import ALL_LABELS, POOLED, Contrast, beside_the_copy, describe_prompt, no_claims
from .results import Tables

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0;font-size:13px}td,th{padding:3px 9px;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child,td:nth-child(2),th:nth-child(2),td:nth-child(3),th:nth-child(3)"
    "{text-align:left}img{max-width:100%}h3{margin-bottom:.3em}summary{cursor:pointer;color:#1f6fd6}"
    ".use{background:#fff3cd;padding:.6em 1em}small{color:#666}"
)


def write_report(
    path: Path,
    record: Mapping[str, Any],
    tables: Tables,
    figures: Sequence[Path],
    overlays: Sequence[Path],
    faults: Sequence[Mapping[str, Any]],
) -> None:
    """Write the report.

    Args:
        path: the file.
        record: of `report.json`.
        tables: of the CSV files; all data sets together stand first, each of them is folded away.
        figures: pictures to show first.
        overlays: pictures to show last.
        faults: cases that could not be used.
    """
    most = max((line["n_clicks"] for line in tables.summary), default=0)
    shown = [
        line for line in tables.summary
        if line["label"] == ALL_LABELS and (line["prompt"] != CLICKS or line["n_clicks"] in (1, most))
    ]  # fmt: skip
    volumes = [line for line in shown if line["level"] == "volume"]
    structures = [
        line for line in tables.summary
        if line["label"] != ALL_LABELS and (line["prompt"] != CLICKS or line["n_clicks"] in (1, most))
    ]  # fmt: skip
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>zim-medseg</title><style>{STYLE}</style><h1>zim-medseg</h1>",
        f"<p class=use><b>{html.escape(INTENDED_USE.capitalize())}.</b> {html.escape(str(record['note']))}</p>",
        "<h2>Results</h2>",
        *(_picture(figure) for figure in figures),
        "<p><small>Lines are 95&nbsp;% intervals, drawn from six patients on; pale dots are patients. Where nobody "
        "says which cases are of one patient, dots are cases, and there is no line and no test.</small></p>",
        _split([line for line in shown if line["level"] == "slice"], _summary_table),
        *(["<h3>Volumes, in three dimensions</h3>", _split(volumes, _summary_table)] if volumes else []),
        f"<h3>Each structure</h3><details><summary>tables</summary>{_summary_table(structures)}</details>"
        if structures
        else "",
        "<h2>Comparisons</h2><p>Differences of patients' IoU, with 95&nbsp;% bootstrap intervals (of all data sets "
        "together: data sets are resampled, and patients within them); Wilcoxon's signed-rank test, corrected by Holm "
        "over all comparisons of this report. <code>compare.csv</code> holds all differences.</p>",
        *(f"<p>{html.escape(said)}</p>" for said in beside_the_copy(tables.summary)),
        _split([one for one in tables.contrasts if one.is_tested], _contrast_list),
        *(f"<p>{html.escape(said)}</p>" for said in no_claims(tables.contrasts)),
        "<h2>Number of clicks</h2><p>Objects that never reach the target count as the maximum.</p>"
        + _split(tables.noc, _noc_table)
        if tables.noc
        else "",
        "<h2>Spread over prompt seeds</h2><p>Means of IoU where the random part of the prompts is drawn again.</p>"
        + _split(tables.seeds, _seed_table)
        if tables.seeds
        else "",
        _data(record, faults),
        "<h2>Best, median and worst</h2><p>By the first model's IoU. Blue is the matte, white the reference's outline."
        if overlays
        else "",
        *(f"<h3>{html.escape(p.stem.replace('_', ' '))}</h3>{_picture(p)}" for p in overlays),
        _method(record),
        "</html>\n",
    ]
    write_text(path, "\n".join(parts))


def _split(lines: Sequence[Any], show: Callable[[Sequence[Any]], str]) -> str:
    """Return the section of all data sets together, then one for each, folded; one data set is shown as it is."""
    pooled, each = [], []
    for line in lines:
        dataset = line["dataset"] if isinstance(line, Mapping) else line.dataset
        (pooled if dataset in POOLED else each).append(line)
    if not pooled:
        return show(each)
    return f"{show(pooled)}<details><summary>each data set</summary>{show(each)}</details>"


def _contrast_list(contrasts: Sequence[Contrast]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(contrast.says)}" for contrast in contrasts) + "</ul>"


def _picture(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    return f"<img alt='{html.escape(path.stem, quote=True)}' src='data:image/{kind};base64,{content}'>"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = ["<table><tr>", *(f"<th>{html.escape(name)}" for name in head)]
    for line in lines:
        cells += ["<tr>", *(f"<td>{html.escape(cell)}" for cell in line)]
    return "".join([*cells, "</table>"])


def _data(record: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> str:
    names = ("cases", "patients", "objects", "cases_without_object", "dropped_objects", "faults")
    head = ["data set", "layout", *(name.replace("_", " ") for name in names), "window"]
    lines = [
        [
            d["title"],
            d["layout"],
            *("unknown" if d[name] is None else str(d[name]) for name in names),
            ", ".join(d["windows"]),
        ]
        for d in record["datasets"]
    ]
    efforts = [
        [m, *(f"{e[n]:g}" for n in ("frames", "encodings", "prompts")), f"{e['encode_seconds']:.1f}",
         f"{e['prompt_seconds']:.1f}"]
        for m, e in record["models"].items()
    ]  # fmt: skip
    told = [f"{m} does not take {', '.join(p)}" for m, p in record["refused"].items() if p]
    told += [f"{d['title']}: {d['patients_from']}" for d in record["datasets"]]
    told += [f"{d['title']}: {note}" for d in record["datasets"] for note in d["notes"]]
    told += [
        f"{d['title']}: predictions of {d['cases_with_overlap']} cases overlap: {OVERLAP_RULE}"
        for d in record["datasets"] if d["cases_with_overlap"]
    ]  # fmt: skip
    told += [f"{d['title']}, {drift}" for d in record["datasets"] for drift in d["drifts"]]
    if record["cases"]["problems"]:
        told.append(f"{record['cases']['problems']} files make no case: `zim-medseg check` names them")
    told += [f"left out: {f['dataset']}, {f['case']}: {f['reason']} {f['explanation']}" for f in faults]
    return (
        "<h2>Data</h2>" + _table(head, lines)
        + "<p>Each frame is encoded once, for all its prompts; equal prompts are answered once.</p>"
        + _table(["model", "frames", "runs of the encoder", "prompts", "encoding [s]", "prompts [s]"], efforts)
        + "<ul>" + "".join(f"<li>{html.escape(text)}" for text in told) + "</ul>"
    )  # fmt: skip


_OTHERS = {
    "dice": "Dice", "hd95_px": "HD95 [px]", "hd95_penalty_px": "HD95, failures the diagonal [px]",
    "hd95_mm": "HD95 [mm]", "hd95_penalty_mm": "HD95, failures the diagonal [mm]", "nsd_px": "NSD (px)",
    "nsd_mm": "NSD (mm)",
}  # fmt: skip
"""Columns of a summary beside IoU, each with its own n where that differs from IoU's."""


def _summary_table(summary: Sequence[Mapping[str, Any]]) -> str:
    found: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for line in summary:
        place = tuple(line[n] for n in ("dataset", "level", "label", "prompt", "n_clicks", "candidate", "model"))
        found.setdefault(place, {})[line["metric"]] = line
    measured = [name for name in _OTHERS if any(name in metrics for metrics in found.values())]
    by_structure = any(label != ALL_LABELS for _, _, label, *_ in found)
    lines = []
    for (dataset, level, label, prompt, n_clicks, candidate, model), metrics in found.items():
        iou = metrics["iou"]
        marked = {ORACLE: f"{model} (ORACLE)", SINGLE: model}.get(candidate, f"{model} ({candidate})")
        interval = f" [{iou['ci_low']:.3f}, {iou['ci_high']:.3f}]" if isfinite(iou["ci_low"]) else ""
        others = [_with_n(metrics.get(name), iou["n"]) for name in measured]
        counts = [f"{iou['n']} {iou['unit']}s", str(iou["n_predictions"]), str(iou["n_empty_predictions"])]
        where = [f"{dataset}{', volumes' if level == 'volume' and by_structure else ''}"]
        where += [label] if by_structure else []
        lines.append([*where, describe_prompt(prompt, n_clicks), marked, f"{iou['mean']:.3f}{interval}", *others,
                      *counts])  # fmt: skip
    head = ["data set", *(["structure"] if by_structure else []), "prompt", "model", "IoU [95 %]"]
    return _table([*head, *(_OTHERS[name] for name in measured), "n", "predictions", "empty"], lines)


def _with_n(line: Mapping[str, Any] | None, usual: int) -> str:
    """A mean, and its n where fewer than usual have it."""
    if line is None:
        return "none (n = 0)"
    return f"{line['mean']:.3f}" + (f" (n = {line['n']})" if line["n"] != usual else "")


def _noc_table(noc: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [line["dataset"], line["model"], f"{line['target_iou']:.2f}", f"{line['mean_clicks']:.2f}",
         f"{line['share_reached']:.0%}", str(line["n_objects"])]
        for line in noc
    ]  # fmt: skip
    return _table(["data set", "model", "target IoU", "clicks (mean)", "reached", "objects"], lines)


def _seed_table(seeds: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [f"{line['dataset']}{', volumes' if line['level'] == 'volume' else ''}",
         describe_prompt(line["prompt"], line["n_clicks"]), line["model"],
         *(f"{line[name]:.3f}" for name in ("mean", "sd", "min", "max")), str(line["n_seeds"])]
        for line in seeds if line["candidate"] == SINGLE
    ]  # fmt: skip
    return _table(["data set", "prompt", "model", "IoU", "SD", "least", "largest", "seeds"], lines)


def _method(record: Mapping[str, Any]) -> str:
    definitions = "".join(
        f"<li><b>{html.escape(name)}</b>: {html.escape(text)}" for name, text in record["definitions"].items()
    )
    protocol = "".join(f"<li>{html.escape(k)}: {html.escape(str(v))}" for k, v in record["protocol"].items())
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    origins = "".join(
        f"<li>{html.escape(name)}: {html.escape(', '.join(f'{k} {v}' for k, v in origin.items()))}"
        for name, origin in record["origins"].items()
    )
    return (
        f"<h2>Method</h2><ul>{definitions}</ul><h3>Protocol</h3><ul>{protocol}</ul>"
        f"<h3>Models</h3><ul>{origins}</ul><p><code>{html.escape(record['command'])}</code></p>"
        f"<p><small>commit {html.escape(str(record['commit']))}; {html.escape(versions)}; "
        f"{html.escape(record['machine'])}; {record['seconds']} s.</small></p>"
    )
