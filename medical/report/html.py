"""Sections of the report: one page that holds its figures and overlays, and names what it does not show."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from zim_plugins.evaluation.report import Section, Table, embedded

from ..labelling import OVERLAP_RULE
from ..protocol.prompt_modes import CLICKS
from ..protocol.records import ORACLE, SINGLE
from ..run import INTENDED_USE
from .aggregate import ALL_LABELS, POOLED, beside_the_copy, describe_prompt, no_claims
from .results import Tables

CAPTIONS = {
    "modes": "Mean IoU of each prompt",
    "datasets": "Mean IoU of each data set",
    "clicks": "Mean IoU after each click",
}
"""What a figure shows, by its file's stem."""
RESULTS_NOTE = (
    "Lines are 95 % intervals, drawn from six patients on; pale dots are patients. Where nobody says which cases are "
    "of one patient, dots are cases, and there is no line and no test."
)
COMPARISONS_NOTE = (
    "Differences of patients' IoU, with 95 % bootstrap intervals (of all data sets together: data sets are resampled, "
    "and patients within them); Wilcoxon's signed-rank test, corrected by Holm over all comparisons of this report. "
    "compare.csv holds all differences."
)
SEEDS_NOTE = "Means of IoU where the random part of the prompts is drawn again."
OVERLAYS_NOTE = "By the first model's IoU. Blue is the matte, white the reference's outline."
Show = Callable[[Sequence[Any]], dict[str, Any]]
"""Makes the fields of a section from lines or contrasts."""


def page_sections(
    record: Mapping[str, Any],
    tables: Tables,
    figures: Sequence[Path],
    overlays: Sequence[Path],
    faults: Sequence[Mapping[str, Any]],
) -> list[Section]:
    """Return the sections of the page.

    Args:
        record: of `report.json`.
        tables: of the CSV files; all data sets together stand first, each of them is folded away.
        figures: images to show first.
        overlays: images to show last.
        faults: cases that could not be used.
    """
    most = max((line["n_clicks"] for line in tables.summary), default=0)
    lines = [line for line in tables.summary if line["prompt"] != CLICKS or line["n_clicks"] in (1, most)]
    shown = [line for line in lines if line["label"] == ALL_LABELS]
    slices, volumes = ([line for line in shown if line["level"] == level] for level in ("slice", "volume"))
    structures = [line for line in lines if line["label"] != ALL_LABELS]
    said = [*beside_the_copy(tables.summary), *no_claims(tables.contrasts)]
    sections = [
        Section(notice=f"{INTENDED_USE.capitalize()}.", text=[record["note"]] if record["note"] else []),
        Section("Results", figures=[embedded(path, CAPTIONS[path.stem]) for path in figures], notes=[RESULTS_NOTE]),
        _split("", slices, _summary),
        _split("Volumes, in three dimensions", volumes, _summary),
        _split("Each structure", structures, _summary, fold="tables"),
        Section("Comparisons", text=[COMPARISONS_NOTE, *said]),
        _split("", [one for one in tables.contrasts if one.is_tested], _contrasts),
        _split("Number of clicks", tables.noc, _noc, note="Objects that never reach the target count as the maximum."),
        _split("Spread over prompt seeds", tables.seeds, _seeds, note=SEEDS_NOTE),
        _data(record, faults),
        Section("Best, median and worst" if overlays else "", text=[OVERLAYS_NOTE] if overlays else [],
                figures=[embedded(path, path.stem.replace("_", " ")) for path in overlays]),
        _method(record),
    ]  # fmt: skip
    return [section for section in sections if section != Section()]


def _split(title: str, lines: Sequence[Any], show: Show, *, note: str = "", fold: str = "") -> Section:
    """Return a section of all data sets together with one for each of them, folded; one data set is shown as it is."""
    if not lines:
        return Section()
    pooled, each = [], []
    for line in lines:
        dataset = line["dataset"] if isinstance(line, Mapping) else line.dataset
        (pooled if dataset in POOLED else each).append(line)
    text = [note] if note else []
    if not pooled or fold:
        return Section(title, text=text, fold=fold, **show(lines))
    return Section(title, text=text, sections=[Section(fold="each data set", **show(each))], **show(pooled))


def _contrasts(contrasts: Sequence[Any]) -> dict[str, Any]:
    return {"items": [contrast.says for contrast in contrasts]}


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 3) -> Table:
    return Table("", tuple(head), tuple(tuple(line) for line in lines), words=words)


def _data(record: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> Section:
    names = ("cases", "patients", "objects", "cases_without_object", "dropped_objects", "faults")
    head = ["data set", "layout", *(name.replace("_", " ") for name in names), "window"]
    lines = [
        [d["title"], d["layout"], *("unknown" if d[name] is None else str(d[name]) for name in names),
         ", ".join(d["windows"])]
        for d in record["datasets"]
    ]  # fmt: skip
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
    work = ["model", "frames", "runs of the encoder", "prompts", "encoding [s]", "prompts [s]"]
    encoded = "Each frame is encoded once, for all its prompts; equal prompts are answered once."
    return Section("Data", items=told, tables=[_table(head, lines, 2), _table(work, efforts, 1)], notes=[encoded])


_OTHERS = {
    "dice": "Dice", "hd95_px": "HD95 [px]", "hd95_penalty_px": "HD95, failures the diagonal [px]",
    "hd95_mm": "HD95 [mm]", "hd95_penalty_mm": "HD95, failures the diagonal [mm]", "nsd_px": "NSD (px)",
    "nsd_mm": "NSD (mm)",
}  # fmt: skip
"""Columns of a summary beside IoU, each with its own n where that differs from IoU's."""


def _summary(summary: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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
    head = ["data set", *(["structure"] if by_structure else []), "prompt", "model", "IoU [95\N{NO-BREAK SPACE}%]"]
    head += [*(_OTHERS[name] for name in measured), "n", "predictions", "empty"]
    return {"tables": [_table(head, lines, 4 if by_structure else 3)]}


def _with_n(line: Mapping[str, Any] | None, usual: int) -> str:
    """A mean, and its n where fewer than usual have it."""
    if line is None:
        return "none (n = 0)"
    return f"{line['mean']:.3f}" + (f" (n = {line['n']})" if line["n"] != usual else "")


def _noc(noc: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lines = [
        [line["dataset"], line["model"], f"{line['target_iou']:.2f}", f"{line['mean_clicks']:.2f}",
         f"{line['share_reached']:.0%}", str(line["n_objects"])]
        for line in noc
    ]  # fmt: skip
    return {"tables": [_table(["data set", "model", "target IoU", "clicks (mean)", "reached", "objects"], lines, 2)]}


def _seeds(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lines = [
        [f"{line['dataset']}{', volumes' if line['level'] == 'volume' else ''}",
         describe_prompt(line["prompt"], line["n_clicks"]), line["model"],
         *(f"{line[name]:.3f}" for name in ("mean", "sd", "min", "max")), str(line["n_seeds"])]
        for line in seeds if line["candidate"] == SINGLE
    ]  # fmt: skip
    return {"tables": [_table(["data set", "prompt", "model", "IoU", "SD", "least", "largest", "seeds"], lines)]}


def _method(record: Mapping[str, Any]) -> Section:
    origins = [f"{name}: {', '.join(f'{k} {v}' for k, v in own.items())}" for name, own in record["origins"].items()]
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    parts = [
        Section("Protocol", items=[f"{name}: {value}" for name, value in record["protocol"].items()]),
        Section("Models", items=origins, code=record["command"]),
    ]
    came = f"commit {record['commit']}; {versions}; {record['machine']}; {record['seconds']} s."
    definitions = [f"{name}: {text}" for name, text in record["definitions"].items()]
    return Section("Method", items=definitions, sections=parts, notes=[came])
