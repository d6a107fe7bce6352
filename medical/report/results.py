"""Results: the cases of a run put together into its tables."""

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from zim_plugins.evaluation import source_commit
from zim_plugins.evaluation.report import csv_text, write_rows
from zim_plugins.evaluation.statistics import CONFIDENCE, MIN_PAIRS, RESAMPLES
from zim_plugins.imaging import write_text

from ..deidentify import safe_name
from ..grouping import EACH_CASE, PATTERN
from ..labelling import OVERLAP_RULE
from ..metrics.surface import HD95_DEFINITION, NSD_DEFINITION
from ..protocol.evaluate_scan import THRESHOLD
from ..protocol.models import PromptedModel
from ..protocol.prompt_modes import CLICKS
from ..protocol.records import COLUMNS, DIGITS, Row, row_fields, row_from
from ..protocol.rivals import RIVALS
from ..provenance import describe_models, text_digest, versions
from ..run import INTENDED_USE, SCHEMA_VERSION, RunConfig, Tally
from .aggregate import (
    COMPARE_COLUMNS,
    CURVE_COLUMNS,
    NOC_COLUMNS,
    POOLED,
    SUMMARY_COLUMNS,
    Contrast,
    compare_line,
    contrasts,
    curve_lines,
    noc_lines,
    summary_lines,
    with_pooled,
)
from .nnunet_summary import nnunet_summary
from .seeds import SEED_COLUMNS, first_seed, seed_lines

KEPT = "notes intensity efforts refused dropped overlaps frames labels drifts seconds".split()
"""Values of a case that the record of the run is made from."""


@dataclass
class Results:
    """Results of all cases of a run."""

    rows: list[Row] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    """Lines of `prompts.jsonl`."""
    faults: list[dict[str, Any]] = field(default_factory=list)
    cases: list[dict[str, Any]] = field(default_factory=list)
    """Of each finished case: its place, notes, window, efforts."""

    @property
    def models(self) -> list[str]:
        """Return the models in the order of the run."""
        return list(dict.fromkeys(row.model for row in self.rows))

    @property
    def datasets(self) -> list[str]:
        """Return the data sets in the order of the run."""
        return list(dict.fromkeys(row.dataset for row in self.rows))

    def efforts(self) -> dict[str, dict[str, float]]:
        """Return each model's work in all."""
        total: dict[str, dict[str, float]] = {}
        for case in self.cases:
            for model, effort in case["efforts"].items():
                own = total.setdefault(model, dict.fromkeys(effort, 0.0))
                for name, value in effort.items():
                    own[name] += value
        return total


def gather(config: RunConfig, found: Iterable[tuple[str, str]]) -> Results:
    """Read the results of cases, named by data set and case, in the order of data sets and of cases' names.

    Raises:
        ResultsError: those of a case are damaged or not there.
    """
    results, store, titles = Results(), config.store, [spec.title for spec in config.datasets]
    for dataset, case in sorted(found, key=lambda place: (titles.index(place[0]), f"{place[1]}.json")):
        record = store.read(f"{dataset}/{case}")
        part = record.more
        place = {name: part[name] for name in ("dataset", "case", "patient")}
        if record.failed:
            results.faults.append(place | part["fault"])
            continue
        results.rows += [row_from(stored) for stored in record.rows]
        results.prompts += part["prompts"]
        results.cases.append(place | {name: part[name] for name in KEPT})
    return results


def headline_prompt(prompts: Sequence[str]) -> str:
    """The prompt that single images and `summary.json` show: the box round all, where it was asked for."""
    return next((p for p in ("mode5", "mode3", "mode4", "mode1", "mode2", CLICKS) if p in prompts), prompts[0])


@dataclass(frozen=True)
class Tables:
    """Tables of the report, one line each as in the files of these names."""

    summary: list[dict[str, Any]]
    contrasts: list[Contrast]
    curves: list[dict[str, Any]]
    noc: list[dict[str, Any]]
    seeds: list[dict[str, Any]]
    """Empty where one seed was run."""


def write_tables(config: RunConfig, results: Results) -> Tables:
    """Write `rows.csv`, `summary.csv`, `compare.csv`, `curves.csv`, `noc.csv`, `summary.json` and the rest."""
    out, seed, max_clicks = config.out, config.trial.seed, config.trial.max_clicks
    rows = with_pooled(results.rows, {spec.title: f"{spec.layout}:{spec.folder}" for spec in config.datasets})
    tables = Tables(
        summary=summary_lines(rows, seed=seed),
        contrasts=contrasts(rows, results.models, max_clicks=max_clicks, seed=seed),
        curves=curve_lines(rows, seed=seed),
        noc=noc_lines(rows),
        seeds=seed_lines(rows, POOLED),
    )
    timing = [
        {"dataset": case["dataset"], "case": case["case"], "model": model, **effort}
        for case in results.cases for model, effort in case["efforts"].items()
    ]  # fmt: skip
    write_rows(out, csv_text(COLUMNS, map(row_fields, results.rows), digits=DIGITS), "cases.csv")
    has_clicks = CLICKS in config.trial.prompts
    for name, columns, lines, is_written in (
        ("summary", SUMMARY_COLUMNS, tables.summary, True),
        ("compare", COMPARE_COLUMNS, [compare_line(c) for c in tables.contrasts], True),
        ("seeds", SEED_COLUMNS, tables.seeds, bool(tables.seeds)),
        ("curves", CURVE_COLUMNS, tables.curves, has_clicks),
        ("noc", NOC_COLUMNS, tables.noc, has_clicks),
        ("timing", tuple(timing[0]) if timing else (), timing, bool(timing)),
    ):
        if is_written:
            write_text(out / f"{name}.csv", csv_text(columns, lines, digits=DIGITS))
    write_text(out / "prompts.jsonl", "".join(f"{line}\n" for line in dict.fromkeys(results.prompts)))
    write_text(out / "errors.jsonl", "".join(json.dumps(fault) + "\n" for fault in results.faults))
    headline = headline_prompt(config.trial.prompts)
    for model in results.models:
        for prompt in config.trial.prompts:
            text = _json(nnunet_summary(first_seed(results.rows), model=model, prompt=prompt, max_clicks=max_clicks))
            write_text(out / "summaries" / f"{safe_name(model)}_{prompt}.json", text)
            if model == results.models[0] and prompt == headline:
                write_text(out / "summary.json", text)
    return tables


def write_record(
    config: RunConfig, results: Results, tally: Tally, models: Sequence[PromptedModel], *, note: str = ""
) -> dict[str, Any]:
    """Write `report.json`: how the figures came about."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "intended_use": INTENDED_USE,
        "note": note,
        "command": config.command,
        "commit": source_commit(),
        "origins": describe_models(models),
        "protocol": asdict(config.trial) | {"threshold": THRESHOLD},
        "reading": asdict(config.reading),
        "options": {
            "labels": config.labels,
            "groups": None
            if config.groups is None
            else config.groups.partition(":")[0]
            if config.groups == EACH_CASE or config.groups.startswith(PATTERN)
            else "a file",
            "limit": config.limit,
            "save": list(config.save),
            "dicom_seg": config.dicom_seg,
            "allow_phi_output": config.keep_patient,
            "keep_names": config.keep_names,
            "prompts_from": None if config.prompts_from is None else text_digest(config.prompts_from),
        },
        "definitions": {
            "hd95": HD95_DEFINITION,
            "nsd": NSD_DEFINITION,
            "average": "instances, frames, labels, cases, then patients; all data sets together: then data sets, each "
            "of which counts once",
            "interval": f"{CONFIDENCE:.0%} percentile bootstrap of the mean, {RESAMPLES} resamples of patients; all "
            "data sets together: of data sets, and of patients within them",
            "test": "Wilcoxon signed-rank on patients' IoU (all together: on data sets' means), two-sided, Holm over "
            f"all comparisons; none below n = {MIN_PAIRS}, and none where patients are not known",
            "label_maps": f"values of the data set's own files; {OVERLAP_RULE}",
            "empty": "empty reference: no prompt, not counted; empty prediction: Dice, IoU and NSD 0, HD95 undefined; "
            "there the penalised HD95 is the diagonal of the frame or volume",
            "rivals": "; ".join(f"{name}: {what}" for name, what in RIVALS.items() if name in results.models),
        },
        "datasets": [
            {
                "title": spec.title,
                "layout": spec.layout,
                "label_values": tally.tables[spec.title].values,
                "patients_from": tally.groupings[spec.title],
            }
            | _counts(spec.title, results)
            for spec in config.datasets
        ],
        "models": results.efforts(),
        "refused": {m: sorted({p for c in results.cases for p in c["refused"].get(m, [])}) for m in results.models},
        "cases": {name: getattr(tally, name) for name in ("done", "taken_up", "edited", "faults", "problems")},
        "seconds": round(sum(case["seconds"] for case in results.cases), 1),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }
    write_text(config.out / "report.json", _json(record))
    return record


def _counts(dataset: str, results: Results) -> dict[str, Any]:
    cases = [case for case in results.cases if case["dataset"] == dataset]
    rows = [row for row in results.rows if row.dataset == dataset]
    return {
        "cases": len(cases),
        "patients": len({c["patient"] for c in cases}) if all(c["patient"] for c in cases) else None,
        "objects": len({(r.case, r.frame, r.label, r.instance) for r in rows if r.level == "slice"}),
        "cases_without_object": sum(not any(r.case == case["case"] for r in rows) for case in cases),
        "dropped_objects": sum(case["dropped"] for case in cases),
        "faults": sum(fault["dataset"] == dataset for fault in results.faults),
        "notes": sorted({note for case in cases for note in case["notes"]}),
        "cases_with_overlap": sum(bool(case["overlaps"]) for case in cases),
        "drifts": sorted({f"{case['case']}, {drift}" for case in cases for drift in case["drifts"]}),
        "windows": sorted({str(case["intensity"].get("kind")) for case in cases}),
    }


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"
