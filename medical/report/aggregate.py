"""One figure per patient from rows, and tables from those.

Order of averaging: instances of a label on a frame, then frames, then labels, then the cases of a patient. Patients are
what is resampled and tested: slices of one patient are not independent. Where nobody says which cases are of one
patient, cases are averaged and nothing is resampled or tested. Where there are several data sets, all of them together
are one more, and where the patients of some only are known, those once more: every data set counts once, with the mean
of its patients.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from zim_plugins.evaluation.statistics import MIN_PAIRS, holm

from ..metrics.statistics import (
    Comparison,
    Summary,
    clicks_needed,
    compare,
    compare_clusters,
    p_text,
    summarise,
    summarise_clusters,
)
from ..protocol.evaluate_scan import COPIED, PROPAGATED
from ..protocol.prompt_modes import CLICKS
from ..protocol.records import SINGLE, SURFACES, Row
from ..protocol.rivals import RIVALS

METRICS = ("iou", "dice", *SURFACES)
TESTED = "iou"
"""The figure that models are compared by: one, so that the family of tests stays small."""
NOC_TARGETS = (0.80, 0.85, 0.90)
ALL_LABELS = "all"
ALL_DATASETS = "all data sets"
KNOWN_DATASETS = "data sets of known patients"
POOLED = (ALL_DATASETS, KNOWN_DATASETS)
PATIENT, CASE, DATASET = "patient", "case", "data set"
UNKNOWN_PATIENTS = "patients unknown (--groups): no claim"
_SOURCE = "\x1f"
"""Parts a data set from its patient where all data sets are put together."""


@dataclass(frozen=True)
class Setting:
    """Subject of one line of the summary."""

    dataset: str
    level: str
    model: str
    prompt: str
    n_clicks: int
    """Of iterated clicks; 0 for the modes, whose number of clicks depends on the object."""
    candidate: str


@dataclass(frozen=True)
class Contrast:
    """Two models under one prompt on one data set."""

    dataset: str
    level: str
    prompt: str
    n_clicks: int
    candidate: str
    first: str
    second: str
    means: tuple[float, float]
    outcome: Comparison
    p_holm: float
    unit: str = PATIENT
    """What n counts."""
    known: bool = True
    """Whether it is known which cases are of one patient."""

    @property
    def is_tested(self) -> bool:
        """True where there is enough to claim something from."""
        return self.known and self.outcome.n >= MIN_PAIRS

    @property
    def says(self) -> str:
        """One sentence, and no winner where there is none to name."""
        low, high = self.outcome.interval
        head = (
            f"{self.dataset}{', volumes' if self.level == 'volume' else ''}, "
            f"{describe_prompt(self.prompt, self.n_clicks)} (n = {self.outcome.n} {self.unit}s): "
            f"{self.first} {self.means[0]:.3f}, {self.second} {self.means[1]:.3f}, "
            f"difference {self.outcome.difference:+.3f}"
        )
        if not self.known:
            return f"{head}; {UNKNOWN_PATIENTS}."
        if self.outcome.n < MIN_PAIRS:
            return f"{head}; n < {MIN_PAIRS}: no claim."
        tail = f" [{low:+.3f}, {high:+.3f}], Wilcoxon p {_is(self.outcome.p)}, Holm p {_is(self.p_holm)}"
        if low <= 0 <= high or not self.p_holm < 0.05:
            return f"{head}{tail}: no difference shown."
        return f"{head}{tail}: {self.first if self.outcome.difference > 0 else self.second} is better."


def _is(p: float) -> str:
    """Return a p-value as a sentence says it."""
    text = p_text(p)
    return text if text.startswith("<") else f"= {text or 'n/a'}"


def describe_prompt(prompt: str, n_clicks: int) -> str:
    """A prompt's name with its number of clicks."""
    return (f"{n_clicks} clicks" if n_clicks != 1 else "1 click") if prompt == CLICKS else prompt


def setting_of(row: Row) -> Setting:
    """The setting that a row belongs to."""
    n_clicks = row.n_clicks if row.prompt == CLICKS else 0
    return Setting(row.dataset, row.level, row.model, row.prompt, n_clicks, row.candidate)


def with_pooled(rows: Sequence[Row], sources: Mapping[str, str]) -> list[Row]:
    """Rows, and those of several data sets once more as of one.

    Args:
        sources: where each data set's files are: two labels of one source have the same patients.
    """
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    if len(datasets) < 2:
        return list(rows)
    pooled = _as_one(rows, ALL_DATASETS, sources)
    unknown = {row.dataset for row in rows if not row.patient}
    if unknown and len(datasets) - len(unknown) > 1:
        pooled += _as_one([row for row in rows if row.dataset not in unknown], KNOWN_DATASETS, sources)
    return [*rows, *pooled]


def _as_one(rows: Sequence[Row], name: str, sources: Mapping[str, str]) -> list[Row]:
    return [
        replace(
            row, dataset=name, case=f"{sources[row.dataset]}{_SOURCE}{row.dataset}/{row.case}",
            patient=f"{sources[row.dataset]}{_SOURCE}{row.patient}" if row.patient else "",
        ) for row in rows
    ]  # fmt: skip


def by_setting(rows: Iterable[Row]) -> dict[Setting, list[Row]]:
    """Rows by setting, in order of appearance."""
    groups: dict[Setting, list[Row]] = {}
    for row in rows:
        groups.setdefault(setting_of(row), []).append(row)
    return groups


def patients_known(rows: Iterable[Row]) -> bool:
    """Return whether every row says whose it is."""
    return all(row.patient for row in rows)


def by_source(figures: Mapping[str, float]) -> dict[str, list[float]]:
    """Figures of all data sets together, by data set."""
    sources: dict[str, list[float]] = {}
    for name, value in figures.items():
        sources.setdefault(name.partition(_SOURCE)[0], []).append(value)
    return sources


def per_patient(rows: Iterable[Row], metric: str, label: str = ALL_LABELS) -> dict[str, float]:
    """One figure per patient, in order of their names; NaN where none of a patient's rows has one.

    Where one of them is not known, one figure per case.
    """
    rows = list(rows)
    known = patients_known(rows)
    tree: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list))))
    for row in rows:
        if label in (ALL_LABELS, row.label):
            tree[row.patient if known else row.case][row.case][row.label][row.frame].append(getattr(row, metric))
    return {patient: _mean_down(tree[patient]) for patient in sorted(tree)}


def summary_lines(rows: Sequence[Row], *, seed: int = 0) -> list[dict[str, Any]]:
    """A line for each setting, label and metric; `values` are the patients' figures, for drawing."""
    lines = []
    for setting, group in by_setting(rows).items():
        labels = list(dict.fromkeys(row.label for row in group)) if setting.dataset not in POOLED else []
        for label in [ALL_LABELS, *(labels if len(labels) > 1 else [])]:
            own = [row for row in group if label in (ALL_LABELS, row.label)]
            for metric in METRICS:
                figures = per_patient(own, metric)
                values = list(figures.values())
                if np.isfinite(values).any():
                    found, unit = _summary(setting.dataset, figures, own, seed)
                    lines.append(_summary_line(setting, label, metric, values, found, own, unit))
    return lines


SUMMARY_COLUMNS = (
    *("dataset", "level", "label", "model", "prompt", "n_clicks", "candidate", "metric", "n", "unit"),
    *("mean", "sd", "median"),
    *("q25", "q75", "ci_low", "ci_high", "n_predictions", "n_empty_predictions", "n_undefined"),
)


def _summary(dataset: str, figures: Mapping[str, float], rows: Sequence[Row], seed: int) -> tuple[Summary, str]:
    """Summary of one figure per patient, and what its n counts."""
    known = patients_known(rows)
    if dataset in POOLED:
        return summarise_clusters(list(by_source(figures).values()), seed=seed, known=known), DATASET
    return summarise(list(figures.values()), seed=seed, known=known), PATIENT if known else CASE


def _summary_line(
    setting: Setting, label: str, metric: str, values: Sequence[float], found: Summary, rows: Sequence[Row], unit: str
) -> dict[str, Any]:
    return {
        "dataset": setting.dataset, "level": setting.level, "label": label, "model": setting.model,
        "prompt": setting.prompt, "n_clicks": setting.n_clicks, "candidate": setting.candidate, "metric": metric,
        "n": found.n, "unit": unit,
        "mean": found.mean, "sd": found.sd, "median": found.median, "q25": found.quartiles[0],
        "q75": found.quartiles[1], "ci_low": found.interval[0], "ci_high": found.interval[1],
        "n_predictions": len(rows), "n_empty_predictions": sum(row.empty_pred for row in rows),
        "n_undefined": int(np.isnan([getattr(row, metric) for row in rows]).sum()), "values": values,
    }  # fmt: skip


def contrasts(rows: Sequence[Row], models: Sequence[str], *, max_clicks: int, seed: int = 0) -> list[Contrast]:
    """Compare every pair of models under every prompt on every data set; Holm over all comparisons that were tested.

    Rivals are compared with models, and with one another only where there is no model.
    """
    groups = by_setting(rows)
    places = list(dict.fromkeys(
        (s.dataset, s.level, s.prompt, s.n_clicks, s.candidate)
        for s in groups if s.prompt != CLICKS or s.n_clicks == max_clicks
    ))  # fmt: skip
    found: list[Contrast] = []
    only_rivals = all(model in RIVALS for model in models)
    for first, second in combinations(models, 2):
        if first in RIVALS and second in RIVALS and not only_rivals:
            continue
        for dataset, level, prompt, n_clicks, candidate in places:
            # Take the patients that both models have.
            pair = [groups.get(Setting(dataset, level, m, prompt, n_clicks, candidate)) for m in (first, second)]
            if pair[0] is None or pair[1] is None:
                continue
            one, other = per_patient(pair[0], TESTED), per_patient(pair[1], TESTED)
            shared = [p for p in one if p in other]
            one, other = {p: one[p] for p in shared}, {p: other[p] for p in shared}
            # Test over patients, or over data sets where several are pooled.
            known, unit = patients_known([*pair[0], *pair[1]]), PATIENT
            if dataset in POOLED:
                clusters, unit = [list(by_source(figures).values()) for figures in (one, other)], DATASET
                outcome = compare_clusters(*clusters, seed=seed, known=known)
                values = [[float(np.nanmean(own)) for own in clusters_of] for clusters_of in clusters]
            else:
                values, unit = [list(one.values()), list(other.values())], PATIENT if known else CASE
                outcome = compare(*values, seed=seed, known=known)
            means = float(np.nanmean(values[0])), float(np.nanmean(values[1]))
            place = dataset, level, prompt, n_clicks, candidate, first, second
            found.append(Contrast(*place, means, outcome, np.nan, unit, known))
    # Correct for the number of comparisons.
    corrected = holm([contrast.outcome.p for contrast in found])
    return [replace(contrast, p_holm=p) for contrast, p in zip(found, corrected, strict=True)]


def no_claims(contrasts: Sequence[Contrast]) -> list[str]:
    """Say once for which data sets nothing is claimed, and why."""
    reasons: dict[str, dict[str, None]] = {}
    for contrast in contrasts:
        if not contrast.is_tested:
            few = f"fewer than {MIN_PAIRS} {contrast.unit}s"
            why = few if contrast.known else "which cases are of one patient is not known (say it with --groups)"
            name = f"{contrast.dataset}{' (volumes)' if contrast.level == 'volume' else ''}"
            reasons.setdefault(why, {})[name] = None
    return [f"No test, no interval and no claim for {', '.join(names)}: {why}." for why, names in reasons.items()]


COMPARE_COLUMNS = (
    *("dataset", "level", "prompt", "n_clicks", "candidate", "metric", "first", "second", "n", "unit"),
    "mean_first",
    *("mean_second", "difference", "ci_low", "ci_high", "ties", "wilcoxon", "p", "p_holm", "rank_biserial", "claim"),
)


def compare_line(contrast: Contrast) -> dict[str, Any]:
    """A contrast as a line of `compare.csv`."""
    outcome = contrast.outcome
    return {
        "dataset": contrast.dataset, "level": contrast.level, "prompt": contrast.prompt,
        "n_clicks": contrast.n_clicks, "candidate": contrast.candidate, "metric": TESTED, "first": contrast.first,
        "second": contrast.second, "n": outcome.n, "unit": contrast.unit,
        "mean_first": contrast.means[0], "mean_second": contrast.means[1],
        "difference": outcome.difference, "ci_low": outcome.interval[0], "ci_high": outcome.interval[1],
        "ties": outcome.ties, "wilcoxon": outcome.statistic, "p": p_text(outcome.p), "p_holm": p_text(contrast.p_holm),
        "rank_biserial": outcome.effect, "claim": contrast.says,
    }  # fmt: skip


def beside_the_copy(summary: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of each propagated prompt how it stands to copying its key slices' masks, over all labels, in 3D Dice."""
    means = {
        (line["dataset"], line["model"], line["prompt"]): line for line in summary
        if (line["level"], line["metric"], line["label"], line["candidate"]) == ("volume", "dice", ALL_LABELS, SINGLE)
    }  # fmt: skip
    said = []
    for (dataset, model, prompt), line in means.items():
        copied = means.get((dataset, model, prompt.removesuffix(PROPAGATED) + COPIED))
        if prompt.endswith(PROPAGATED) and copied is not None:
            gap = line["mean"] - copied["mean"]
            verdict = "above" if gap > 0 else "no better than" if gap > -5e-4 else "BELOW"
            said.append(
                f"{dataset}, {prompt}, {model} (n = {line['n']} {line['unit']}s): propagation {line['mean']:.3f}, "
                f"{verdict} the copy of its own key slices {copied['mean']:.3f} (3D Dice; the copy is told where the "
                "object ends)."
            )
    return said


CURVE_COLUMNS = ("dataset", "model", "n_clicks", "n", "unit", "mean_iou", "ci_low", "ci_high")


def curve_lines(rows: Sequence[Row], *, seed: int = 0) -> list[dict[str, Any]]:
    """IoU against the number of clicks."""
    lines = []
    for setting, group in by_setting(rows).items():
        if setting.prompt == CLICKS and setting.level == "slice" and setting.candidate == SINGLE:
            found, unit = _summary(setting.dataset, per_patient(group, "iou"), group, seed)
            lines.append({
                "dataset": setting.dataset, "model": setting.model, "n_clicks": setting.n_clicks, "n": found.n,
                "unit": unit, "mean_iou": found.mean, "ci_low": found.interval[0], "ci_high": found.interval[1],
            })  # fmt: skip
    return sorted(lines, key=lambda line: (line["dataset"], line["model"], line["n_clicks"]))


NOC_COLUMNS = ("dataset", "model", "target_iou", "n_objects", "mean_clicks", "share_reached", "max_clicks")


def noc_lines(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Number of clicks to a target IoU, per object; an object that never reaches it counts as the maximum."""
    objects: dict[tuple[str, str], dict[tuple[Any, ...], dict[int, float]]] = {}
    for row in rows:
        if row.prompt == CLICKS and row.level == "slice" and row.candidate == SINGLE:
            one = objects.setdefault((row.dataset, row.model), {})
            one.setdefault((row.case, row.frame, row.label, row.instance, row.seed), {})[row.n_clicks] = row.iou
    lines = []
    for (dataset, model), found in objects.items():
        curves = [[ious[n] for n in sorted(ious)] for ious in found.values()]
        for target in NOC_TARGETS:
            lines.append({
                "dataset": dataset, "model": model, "target_iou": target, "n_objects": len(curves),
                "mean_clicks": float(np.mean([clicks_needed(c, target) for c in curves])),
                "share_reached": float(np.mean([max(c) >= target for c in curves])),
                "max_clicks": max(len(c) for c in curves),
            })  # fmt: skip
    return lines


def _mean_down(branch: Any) -> float:
    """Mean of the means below, without NaN."""
    if isinstance(branch, dict):
        branch = [_mean_down(one) for one in branch.values()]
    finite = [value for value in branch if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
