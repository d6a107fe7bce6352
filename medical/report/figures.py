"""Figures: IoU by data set and prompt, of all data sets together, and against the number of clicks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import atomic_path

from ..protocol.prompt_modes import CLICKS, MEANINGS
from ..protocol.records import SINGLE
from .aggregate import ALL_DATASETS, ALL_LABELS, POOLED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f6fd6", "#e07b2a", "#6f6f6f", "#3a9a5b", "#a04fb0", "#b8a000")
"""Of models, in the order of the run."""
MARKS = ("o", "s", "D", "^", "v", "P")
DPI = 130
MIN_LABELLED = 0.08
"""Height of a bar from which its figure stands in it, not above it."""
Line = Mapping[str, Any]


def draw_figures(folder: Path, summary: Sequence[Line], curves: Sequence[Line], models: Sequence[str]) -> list[Path]:
    """Write the figures that the lines of `summary.csv` and `curves.csv` allow, and answer with their paths.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    lines = [
        line for line in summary
        if line["metric"] == "iou" and line["label"] == ALL_LABELS and line["level"] == "slice"
        and line["candidate"] == SINGLE and line["prompt"] != CLICKS
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    if lines:
        paths.append(_save(_together(lines, models), folder / "modes.png"))
        paths.append(_save(_by_dataset(lines, models), folder / "datasets.png"))
    if curves:
        paths.append(_save(_by_clicks(curves, models), folder / "clicks.png"))
    return paths


def _new_figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "medical") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _together(lines: Sequence[Line], models: Sequence[str]) -> "Figure":
    """Prompts along x, a bar for each model: all patients of all data sets."""
    whole = [line for line in lines if line["dataset"] == ALL_DATASETS] or lines
    prompts = _prompts(whole)
    figure = _new_figure(max(5.0, 1.5 * len(prompts) + 1), 3.4)
    axis = figure.subplots()
    width = 0.8 / len(models)
    for i, model in enumerate(models):
        own = {line["prompt"]: line for line in whole if line["model"] == model}
        at = [k + (i - (len(models) - 1) / 2) * width for k, prompt in enumerate(prompts) if prompt in own]
        found = [own[prompt] for prompt in prompts if prompt in own]
        axis.bar(at, [line["mean"] for line in found], width, label=model, color=COLOURS[i % len(COLOURS)])
        for x, line in zip(at, found, strict=True):
            axis.plot([x, x], [line["ci_low"], line["ci_high"]], color="black", linewidth=1)
            top = np.nanmax([line["mean"], line["ci_high"]])
            inside = line["mean"] >= MIN_LABELLED
            axis.text(x, 0.02 if inside else top + 0.01, f"{line['mean']:.2f}", ha="center", fontsize=7,
                      color="white" if inside else "black")  # fmt: skip
    has_intervals = any(np.isfinite(line["ci_low"]) for line in whole)
    axis.set_ylim(0, 1)
    axis.set_ylabel("IoU, with 95 % interval" if has_intervals else "IoU", fontsize=8)
    names = [f"{prompt}\n{MEANINGS.get(prompt, '').replace(' of ', chr(10) + 'of ', 1)}" for prompt in prompts]
    axis.set_xticks(range(len(prompts)), names, fontsize=7)
    axis.tick_params(axis="y", labelsize=8)
    axis.grid(axis="y", linewidth=0.3)
    axis.set_axisbelow(True)
    axis.set_title(
        f"{whole[0]['dataset']} (n = {max(line['n'] for line in whole)} {whole[0]['unit']}s)", fontsize=9, loc="left"
    )
    figure.legend(*axis.get_legend_handles_labels(), fontsize=8, ncols=len(models), loc="outside upper right")
    return figure


def _by_dataset(lines: Sequence[Line], models: Sequence[str]) -> "Figure":
    """A row for each data set, a column for each prompt: patients as dots, their mean as a mark, its interval."""
    prompts, datasets = _prompts(lines), list(dict.fromkeys(line["dataset"] for line in lines))
    figure = _new_figure(2.0 * len(prompts) + 1.6, 0.16 * len(models) * len(datasets) + 1.2)
    axes = figure.subplots(1, len(prompts), squeeze=False, sharey=True)[0]
    for axis, prompt in zip(axes, prompts, strict=True):
        for i, model in enumerate(models):
            colour = COLOURS[i % len(COLOURS)]
            own = {line["dataset"]: line for line in lines if (line["prompt"], line["model"]) == (prompt, model)}
            for k, dataset in enumerate(datasets):
                if dataset in own:
                    y = k + (i - (len(models) - 1) / 2) * 0.8 / len(models)
                    _dots(axis, y, own[dataset], colour)
            marks = [(own[d]["mean"], k + (i - (len(models) - 1) / 2) * 0.8 / len(models))
                     for k, d in enumerate(datasets) if d in own]  # fmt: skip
            if marks:
                xs, ys = zip(*marks, strict=True)
                axis.plot(xs, ys, MARKS[i % len(MARKS)], color=colour, markersize=4.5, label=model)
        axis.set_xlim(0, 1)
        axis.set_title(prompt, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(axis="x", linewidth=0.3)
        for k in range(0, len(datasets), 2):
            axis.axhspan(k - 0.5, k + 0.5, color="#f3f3f3", zorder=0)
    counts = {d: max(line["n"] for line in lines if line["dataset"] == d) for d in datasets}
    units = {line["dataset"]: line["unit"] for line in lines}
    axes[0].set_yticks(range(len(datasets)), [f"{d} (n = {counts[d]} {units[d]}s)" for d in datasets], fontsize=7.5)
    axes[0].set_ylim(len(datasets) - 0.5, -0.5)
    figure.supxlabel("IoU", fontsize=8)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, fontsize=8, ncols=len(models), loc="outside upper right")
    return figure


def _dots(axis: "Axes", y: float, line: Line, colour: str) -> None:
    axis.plot(line["values"], [y] * len(line["values"]), ".", color=colour, alpha=0.25, markersize=3)
    if np.isfinite(line["ci_low"]):
        axis.plot([line["ci_low"], line["ci_high"]], [y, y], color=colour, linewidth=1.2)


def _by_clicks(curves: Sequence[Line], models: Sequence[str]) -> "Figure":
    """A panel for each data set, that of all together first."""
    datasets = sorted(dict.fromkeys(line["dataset"] for line in curves), key=lambda name: name not in POOLED)
    columns = min(3, len(datasets))
    rows = -(-len(datasets) // columns)
    figure = _new_figure(2.3 * columns + 0.6, 1.9 * rows + 0.6)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, dataset in zip(axes, datasets, strict=False):
        n = max(line["n"] for line in curves if line["dataset"] == dataset)
        for i, model in enumerate(models):
            own = sorted(
                (line for line in curves if (line["dataset"], line["model"]) == (dataset, model)),
                key=lambda line: line["n_clicks"],
            )
            if own:
                numbers, colour = [line["n_clicks"] for line in own], COLOURS[i % len(COLOURS)]
                axis.plot(numbers, [line["mean_iou"] for line in own], marker="o", markersize=3, color=colour,
                          label=model)  # fmt: skip
                low, high = ([line[name] for line in own] for name in ("ci_low", "ci_high"))
                axis.fill_between(numbers, low, high, color=colour, alpha=0.15, linewidth=0)
        unit = next(line["unit"] for line in curves if line["dataset"] == dataset)
        axis.set_title(f"{dataset} (n = {n} {unit}s)", fontsize=8)
        axis.set_ylim(0, 1)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(linewidth=0.3)
        axis.tick_params(labelsize=7, labelbottom=True)
    for axis in axes[len(datasets) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7)
    figure.supxlabel("clicks", fontsize=8)
    figure.supylabel("IoU", fontsize=8)
    return figure


def _prompts(lines: Sequence[Line]) -> list[str]:
    """Return the prompts in the order in which they are explained."""
    known = list(MEANINGS)
    found = dict.fromkeys(line["prompt"] for line in lines)
    return sorted(found, key=lambda prompt: known.index(prompt) if prompt in known else len(known))


def _save(figure: "Figure", path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
    return path
