"""Overlays: the best, the median and the worst case of each data set, as the paper lays out its figure.

Columns: image with the prompt, reference, then each model's matte over the image; the reference's outline is white.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from zim_plugins.core import read_alpha, write_image
from zim_plugins.imaging.overlay import (
    DARK_PAPER,
    REFERENCE_TINT,
    captioned,
    draw_marks,
    draw_outline,
    joined,
    resized,
    tint,
)  # fmt: skip

from ..io.pairing import CaseFiles
from ..protocol.evaluate_scan import Place
from ..protocol.prompt_modes import CLICKS, PixelPrompt, pop_prompt, tight_box
from ..protocol.records import SINGLE, Row
from ..run import RunConfig, answer_name, read_case

PANEL_PX = 300
LEAST_VIEW_PX = 64
"""Small objects are shown in a cut-out of at least this side."""
RANKS = ("best", "median", "worst")


def pick_cases(rows: Sequence[Row], model: str, prompt: str, max_clicks: int) -> dict[str, Row]:
    """The best, median and worst object by a model's IoU; fewer where there are fewer than three objects."""
    own = [
        row for row in rows
        if row.model == model and row.prompt == prompt and row.level == "slice" and row.candidate == SINGLE
        and (prompt != CLICKS or row.n_clicks == max_clicks) and np.isfinite(row.iou)
    ]  # fmt: skip
    own.sort(key=lambda row: (-row.iou, row.case, row.frame, row.label, row.instance))
    if not own:
        return {}
    at = {"best": 0, "median": len(own) // 2, "worst": len(own) - 1}
    picked: dict[str, Row] = {}
    for rank in RANKS:
        if own[at[rank]] not in picked.values():
            picked[rank] = own[at[rank]]
    return picked


def write_overlays(
    config: RunConfig,
    cases: Mapping[tuple[str, str], tuple[Place, CaseFiles]],
    rows: Sequence[Row],
    prompts: Sequence[str],
    *,
    hide_border: float = 0.0,
) -> list[Path]:
    """Write `overlays/DATASET_PROMPT_RANK.jpg` for the first model's ranks, from the mattes that the run kept.

    Args:
        config: of the run; its `save` must hold "mattes".
        cases: where each case's files are, by data set and case.
        hide_border: share of the image on each side that is blackened, where text may be burned in.
    """
    models = list(dict.fromkeys(row.model for row in rows))
    pointed = _pointed(config.out / "prompts.jsonl")
    paths = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        own = [row for row in rows if row.dataset == dataset]
        for prompt in prompts:
            for rank, row in pick_cases(own, models[0], prompt, config.trial.max_clicks).items():
                strip = _strip(config, cases[dataset, row.case], row, models, own, pointed, hide_border)
                path = config.out / "overlays" / f"{dataset}_{prompt}_{rank}.jpg"
                paths.append(write_image(path, strip))
    return paths


def _strip(
    config: RunConfig, case: tuple[Place, CaseFiles], row: Row, models: Sequence[str], rows: Sequence[Row],
    pointed: Mapping[tuple[object, ...], PixelPrompt], hide_border: float,
) -> UInt8[np.ndarray, "h w 3"]:  # fmt: skip
    """Panels beside one another, with captions."""
    scan = read_case(config, *case)
    rgb = np.ascontiguousarray(scan.frames[row.frame])
    # Words stand for all instances of a label together, whose number is 0.
    shown = [t.mask for t in scan.targets(row.frame) if t.label == row.label and row.instance in (0, t.instance)]
    mask = np.logical_or.reduce(shown)
    if hide_border > 0:
        rgb = rgb.copy()
        h, w = (max(1, round(side * hide_border)) for side in rgb.shape[:2])
        rgb[:h], rgb[-h:], rgb[:, :w], rgb[:, -w:] = 0, 0, 0, 0
    view = view_of(mask)
    rgb = np.ascontiguousarray(rgb[view])
    scale = PANEL_PX / max(rgb.shape[:2])
    size = max(1, round(rgb.shape[0] * scale)), max(1, round(rgb.shape[1] * scale))
    small, reference = resized(rgb, size), resized(np.ascontiguousarray(mask[view]), size)
    where = (row.dataset, row.case, row.frame, row.label, row.instance, row.prompt)
    shown = pointed.get((*where, "")) or pointed.get((*where, models[0])) or PixelPrompt()
    # A click of the protocol is a pixel's index; what is drawn is its centre.
    clicks = [(x + 0.5, y + 0.5, positive) for x, y, positive in shown.clicks]
    origin = view[1].start, view[0].start
    prompted = draw_marks(small, clicks=clicks, boxes=shown.boxes, origin=origin, scale=(scale, scale))
    panels = [captioned(prompted, f"{row.case}, {row.label}"),
              captioned(tint(small, reference, REFERENCE_TINT), "reference")]  # fmt: skip
    for model in models:
        name = answer_name(row.frame, row.label, row.instance, model, row.prompt)
        path = config.out / "mattes" / row.dataset / row.case / name
        if not path.exists():
            continue
        alpha = resized(np.ascontiguousarray(read_alpha(path)[view]), size)
        panel = draw_outline(tint(small, alpha), reference)
        panels.append(captioned(panel, f"{model}: IoU {_iou_of(rows, row, model):.2f}"))
    return joined(panels, paper=DARK_PAPER)


def view_of(mask: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Rows and columns that show an object and as much round it as it is long, all of them where it is large."""
    x1, y1, x2, y2 = tight_box(mask)
    side = max(LEAST_VIEW_PX, 3 * max(x2 - x1, y2 - y1))
    rows, columns = (
        slice(max(0, middle - side // 2), min(whole, middle + side // 2))
        for middle, whole in (((y1 + y2 - 1) // 2, mask.shape[0]), ((x1 + x2 - 1) // 2, mask.shape[1]))
    )
    return rows, columns


def _iou_of(rows: Sequence[Row], like: Row, model: str) -> float:
    """IoU of another model on the same object under the same prompt."""
    same = ("case", "frame", "label", "instance", "prompt", "n_clicks", "candidate", "level")
    for row in rows:
        if row.model == model and all(getattr(row, name) == getattr(like, name) for name in same):
            return row.iou
    return float("nan")


def _pointed(path: Path) -> dict[tuple[object, ...], PixelPrompt]:
    found: dict[tuple[object, ...], PixelPrompt] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        names = ("dataset", "case", "frame", "label", "instance", "prompt", "model")
        found[tuple(fields[name] for name in names)] = pop_prompt(fields)
    return found
