"""The report's tables, as `zim_plugins.evaluation.report.tables` writes them and as the page shows them."""

from collections.abc import Sequence
from typing import Any

from zim_plugins.evaluation.report import Table, short_name

from .methods import METHODS
from .scoring import CLIP_COLUMNS, LOWER_IS_BETTER, NEITHER_IS_BETTER

NAMES = {
    "hole_psnr": "hole PSNR",
    "ring_psnr": "ring PSNR",
    "given_ring_psnr": "given ring PSNR",
    "core_psnr": "core PSNR",
    "outside_psnr": "outside PSNR",
    "ring_ssim": "ring SSIM",
    "core_ssim": "core SSIM",
    "outside_ssim": "outside SSIM",
    "leftover": "leftover",
    "lpips": "LPIPS",
    "seam": "seam",
    "sharpness": "sharpness",
    "uncovered": "uncovered",
    "hole_share": "hole / image",
    "iou": "matte IoU",
    **{f"clip_gone_{k}": f"CLIP@{k}" for k in (1, 3, 5)},
    "clip_distance": "CLIP distance",
    "clip_text_drop": "CLIP text drop",
}
BLOCKS = {
    "against the clean image": (
        *("hole_psnr", "ring_psnr", "given_ring_psnr", "core_psnr", "outside_psnr"),
        *("ring_ssim", "core_ssim", "outside_ssim", "leftover", "lpips"),
    ),
    "without a clean image": ("seam", "sharpness", "uncovered", "hole_share", "iou"),
    "by CLIP": CLIP_COLUMNS,
}
NOTES = {
    "against the clean image": (
        "hole: all squared error of the image per pixel of the true support; ring: true alpha in (0.01, 0.5); given "
        "ring: the same of the matte that was given; core: true alpha at least 0.5; outside: true alpha 0; PSNR in dB, "
        "at most 100. leftover: share of the object's contrast that is left in the ring."
    ),
    "without a clean image": (
        "seam: change across the hole's rim, relative to 8 px outside (near 1 is good); sharpness: change inside the "
        "hole, relative to around it; uncovered: share of the object outside the hole; IoU of the given matte."
    ),
    "by CLIP": "CLIP@k: share of objects no longer among the k best classes; distance: 1 - cosine of the crops.",
}


def build_tables(report: dict[str, Any]) -> list[Table]:
    """One table for each subset and kind of score; scores that nobody has are left out."""
    tables = []
    for subset in dict.fromkeys(entry["subset"] for entry in report["means"]):
        entries = [entry for entry in report["means"] if entry["subset"] == subset]
        for block, columns in BLOCKS.items():
            present = [c for c in columns if any(c in entry["scores"] for entry in entries)]
            if present:
                tables.append(_table(entries, report["provenance"]["dataset"]["name"], subset, block, present))
    if report["fid"]:
        rows = tuple((name(f["model"]), f["prompt"], f"{f['fid']:.2f}", str(f["n"])) for f in report["fid"])
        note = "Features of the network given. Below some 2048 images FID tells little."
        tables.append(Table("FID", ("Compared", "Given", "FID ↓", "n"), rows, (False,) * len(rows), note))
    return tables


def name(model: str) -> str:
    """Return a method's name in words; a matte keeps its own."""
    return METHODS[model].label if model in METHODS else short_name(model)


def _table(entries: Sequence[dict[str, Any]], dataset: str, subset: str, block: str, columns: Sequence[str]) -> Table:
    header = ("Compared", "Given", *(f"{NAMES[c]}{_arrow(c)}" for c in columns), "n")
    rows = []
    for entry in entries:
        cells = [_cell(entry["scores"].get(c), entry["objects"]) for c in columns]
        rows.append((name(entry["model"]), entry["prompt"], *cells, str(entry["objects"])))
    whole = "" if subset == "all" else f", {subset}"
    note = f"{NOTES[block]} In brackets: 95 % bootstrap interval over cases; n where it is not the last column's."
    return Table(f"{dataset}{whole}: {block}", header, tuple(rows), (False,) * len(rows), note)


def _cell(score: dict[str, Any] | None, cases: int) -> str:
    if score is None:
        return "-"
    few = "" if score["n"] == cases else f" (n {score['n']})"
    return f"{_number(score['mean'])} [{_number(score['low'])}, {_number(score['high'])}]{few}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _arrow(column: str) -> str:
    return "" if column in NEITHER_IS_BETTER else " ↓" if column in LOWER_IS_BETTER else " ↑"
