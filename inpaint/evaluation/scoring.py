"""All scores of one removal as a row, and the image that shows it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from zim_plugins.core import composite, write_image
from zim_plugins.evaluation import iou
from zim_plugins.imaging import from_unit, to_unit
from zim_plugins.imaging.overlay import draw_marks, grey, joined, shrunk

from .cases import Case
from .clip import CLIP_RANKS, Clip
from .fid import Inception
from .metrics import exchanged, hole_psnr, leftover, psnr, regions_of, seam, sharpness, ssim_map
from .perceptual import Lpips

TRUTH_COLUMNS = (
    *("hole_psnr", "ring_psnr", "given_ring_psnr", "core_psnr", "outside_psnr"),
    *("ring_ssim", "core_ssim", "outside_ssim", "leftover", "lpips"),
)
"""Scores that need the clean image; `leftover` also needs the object's colours, `lpips` weights."""
PLAIN_COLUMNS = ("seam", "sharpness", "uncovered", "hole_share", "iou")
"""Scores that need neither clean image nor weights."""
CLIP_COLUMNS = (*(f"clip_gone_{k}" for k in CLIP_RANKS), "clip_distance", "clip_text_drop")
COLUMNS = (*TRUTH_COLUMNS, *PLAIN_COLUMNS, *CLIP_COLUMNS)
LOWER_IS_BETTER = frozenset({"leftover", "lpips", "uncovered"})
NEITHER_IS_BETTER = frozenset({"seam", "sharpness", "hole_share"})
"""1 is what the first two should be near; the third tells how much was repainted."""
TILE_PX = 180
"""Height of the tiles of a removal's image."""

Scores = dict[str, float | None]


@dataclass(frozen=True)
class Networks:
    """Networks that some scores need; None where their weights are not there."""

    lpips: Lpips | None = None
    clip: Clip | None = None
    inception: Inception | None = None


NO_NETWORKS = Networks()


def score_result(
    result: UInt8[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
    given: Float32[np.ndarray, "h w"],
    case: Case,
    *,
    box: Float[np.ndarray, " 4"],
    category: str = "",
    twin: UInt8[np.ndarray, "h w 3"] | None = None,
    networks: Networks = NO_NETWORKS,
) -> Scores:
    """Score one removal; None where a score is undefined or what it needs is not there.

    Args:
        result: RGB, the object removed.
        hole: the pixels that were repainted.
        given: the matte that the method was given, in [0, 1].
        box: tight box of the object, X1 Y1 X2 Y2 [px].
        twin: RGB, the object removed from `twin_of(case)` with the same matte and fill, for `leftover`.
        networks: what needs weights.
    """
    scores: Scores = dict.fromkeys(COLUMNS)
    regions, given_ring = regions_of(case.alpha), regions_of(given).ring
    if case.clean is not None:
        parts = {"ring": regions.ring, "given_ring": given_ring, "core": regions.core, "outside": regions.outside}
        scores["hole_psnr"] = hole_psnr(result, case.clean, regions.support)
        scores |= {f"{name}_psnr": psnr(result, case.clean, part) for name, part in parts.items() if part.any()}
        scores |= _ssims(result, case.clean, parts)
        if case.foreground is not None and twin is not None:
            other = exchanged(case.foreground, case.alpha)
            scores["leftover"] = leftover(result, twin, case.alpha, case.foreground, other)
        if networks.lpips is not None:
            scores["lpips"] = networks.lpips(result, case.clean, regions.support)
    scores["seam"], scores["sharpness"] = seam(result, hole), sharpness(result, hole)
    scores["uncovered"] = float((regions.core & ~hole).sum() / max(1, regions.core.sum()))
    scores["hole_share"], scores["iou"] = float(hole.mean()), iou(given > 0.5, case.alpha > 0.5)
    clip = None if networks.clip is None else networks.clip.score(case.image, result, box, category)
    if clip is not None:
        scores |= {f"clip_gone_{k}": float(gone) for k, gone in clip.gone.items()}
        scores |= {"clip_distance": clip.distance, "clip_text_drop": clip.text_drop}
    return {name: None if value is None else float(f"{value:.9g}") for name, value in scores.items()}


def twin_of(case: Case) -> UInt8[np.ndarray, "h w 3"] | None:
    """The case's image with the object in other colours; None where its own are not known."""
    if case.clean is None or case.foreground is None:
        return None
    return from_unit(composite(exchanged(case.foreground, case.alpha), case.alpha, to_unit(case.clean)))


def draw_removal(path: Path, result: UInt8[np.ndarray, "h w 3"], case: Case, box: Float[np.ndarray, " 4"]) -> None:
    """Write image with box, truth (where none is known, the object's mask), result and their difference in a row."""
    reference = case.image if case.clean is None else case.clean
    change = np.abs(result.astype(np.int16) - reference).astype(np.uint8)
    shown = [case.image, grey(case.alpha) if case.clean is None else case.clean, result, change]
    tiles = [shrunk(tile, TILE_PX) for tile in shown]
    height, width = tiles[0].shape[:2]
    scale = width / case.image.shape[1], height / case.image.shape[0]
    tiles[0] = draw_marks(tiles[0], boxes=[box.tolist()], scale=scale)
    write_image(path, joined(tiles), quality=80)


def _ssims(result: np.ndarray, clean: np.ndarray, parts: dict[str, np.ndarray]) -> Scores:
    similarity = ssim_map(result, clean)
    if similarity is None:
        return {}
    names = ("ring", "core", "outside")
    return {f"{name}_ssim": float(similarity[parts[name]].mean()) for name in names if parts[name].any()}
