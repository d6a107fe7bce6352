"""Figures: IoU by prompt and data set, as in the paper's comparison, and against the number of clicks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zim_plugins.core import MissingExtra

from .prompts import CLICKS, MEANINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f6fd6", "#e07b2a", "#7a7a7a", "#b9b9b9", "#3a9a5b", "#a04fb0")
"""Of models, in the order of the run; baselines fall on the greys in the usual order."""
DPI = 130


def draw_figures(
    folder: Path, summary: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> list[Path]:
    """Write the figures that the lines of `summary.csv` and `curves.csv` allow, and answer with their paths.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    order = {prompt: place for place, prompt in enumerate(MEANINGS)}
    lines = [
        line for line in sorted(summary, key=lambda line: order.get(line["prompt"], len(order)))
        if line["metric"] == "iou" and line["label"] == "all" and line["level"] == "slice"
        and line["candidate"] == "single"
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    by_dataset = [line for line in lines if line["prompt"] != CLICKS]
    if by_dataset:
        paths.append(_save(_datasets(by_dataset, models), folder / "datasets.png"))
        paths.append(_save(_modes(by_dataset, models), folder / "modes.png"))
    if curves:
        paths.append(_save(_clicks(curves, models), folder / "clicks.png"))
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


def _datasets(lines: Sequence[Mapping[str, Any]], models: Sequence[str]) -> "Figure":
    """A row for each prompt: data sets along x, a bar for each model."""
    prompts = list(dict.fromkeys(line["prompt"] for line in lines))
    datasets = list(dict.fromkeys(line["dataset"] for line in lines))
    figure = _new_figure(max(6.0, 1.1 * len(datasets) + 2), 2.4 * len(prompts))
    axes = figure.subplots(len(prompts), 1, squeeze=False, sharex=True)[:, 0]
    for axis, prompt in zip(axes, prompts, strict=True):
        own = [line for line in lines if line["prompt"] == prompt]
        _bars(axis, own, "dataset", datasets, models)
        axis.set_title(f"{prompt}: {MEANINGS.get(prompt, '')}", fontsize=9, loc="left")
    figure.legend(*axes[-1].get_legend_handles_labels(), fontsize=8, ncols=len(models), loc="outside upper right")
    counts = {d: max(line["n"] for line in lines if line["dataset"] == d) for d in datasets}
    axes[-1].set_xticks(range(len(datasets)), [f"{d}\n(n = {counts[d]})" for d in datasets], fontsize=7, rotation=30,
                        ha="right")  # fmt: skip
    return figure


def _modes(lines: Sequence[Mapping[str, Any]], models: Sequence[str]) -> "Figure":
    """Prompts along x, the mean over data sets: each data set counts once."""
    prompts = list(dict.fromkeys(line["prompt"] for line in lines))
    averaged = []
    for prompt in prompts:
        for model in models:
            means = [line["mean"] for line in lines if line["prompt"] == prompt and line["model"] == model]
            if means:
                mean = float(np.nanmean(means))
                averaged.append({"prompt": prompt, "model": model, "mean": mean, "ci_low": np.nan, "ci_high": np.nan})
    figure = _new_figure(max(5.0, 1.2 * len(prompts) + 2), 3.2)
    axis = figure.subplots()
    _bars(axis, averaged, "prompt", prompts, models)
    axis.set_xticks(range(len(prompts)), prompts, fontsize=8)
    axis.set_title("mean over data sets", fontsize=9, loc="left")
    figure.legend(*axis.get_legend_handles_labels(), fontsize=8, ncols=len(models), loc="outside upper right")
    return figure


def _bars(
    axis: "Axes", lines: Sequence[Mapping[str, Any]], along: str, places: Sequence[str], models: Sequence[str]
) -> None:
    width = 0.8 / max(1, len(models))
    for i, model in enumerate(models):
        own = {line[along]: line for line in lines if line["model"] == model}
        at = [k + (i - (len(models) - 1) / 2) * width for k, place in enumerate(places) if place in own]
        found = [own[place] for place in places if place in own]
        if not found:
            continue
        means = np.array([line["mean"] for line in found])
        low, high = (np.array([line[name] for line in found]) for name in ("ci_low", "ci_high"))
        spread = np.nan_to_num(np.stack([means - low, high - means])).clip(min=0)
        axis.bar(at, means, width, label=model, color=COLOURS[i % len(COLOURS)])
        if np.isfinite(low).any():
            axis.errorbar(at, means, yerr=spread, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
    axis.set_ylim(0, 1)
    axis.set_ylabel("IoU", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", linewidth=0.3)


def _clicks(curves: Sequence[Mapping[str, Any]], models: Sequence[str]) -> "Figure":
    """A panel for each data set, and first one for their mean."""
    datasets = list(dict.fromkeys(line["dataset"] for line in curves))
    panels = ["mean over data sets", *datasets] if len(datasets) > 1 else datasets
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = _new_figure(3.0 * columns + 0.6, 2.5 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        for i, model in enumerate(models):
            own = [
                line
                for line in curves
                if line["model"] == model and (panel not in datasets or line["dataset"] == panel)
            ]
            numbers = sorted({line["n_clicks"] for line in own})
            if not numbers:
                continue
            colour = COLOURS[i % len(COLOURS)]
            means = [np.nanmean([line["mean_iou"] for line in own if line["n_clicks"] == n]) for n in numbers]
            axis.plot(numbers, means, marker="o", markersize=3, color=colour, label=model)
            if panel in datasets:
                band = {line["n_clicks"]: (line["ci_low"], line["ci_high"]) for line in own}
                low, high = zip(*(band[n] for n in numbers), strict=True)
                axis.fill_between(numbers, low, high, color=colour, alpha=0.15, linewidth=0)
        n = max((line["n"] for line in curves if line["dataset"] == panel), default=None)
        axis.set_title(panel if n is None else f"{panel} (n = {n})", fontsize=8)
        axis.set_ylim(0, 1)
        axis.grid(linewidth=0.3)
        axis.tick_params(labelsize=7)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7)
    figure.supxlabel("clicks", fontsize=8)
    figure.supylabel("IoU", fontsize=8)
    return figure


def _save(figure: "Figure", path: Path) -> Path:
    import os

    temporary = path.with_name(f".zim-{os.getpid()}.png")
    try:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
