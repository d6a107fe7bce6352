"""One object's scores as a row, and the image that shows them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core.overlay import draw_prompt
from zim_plugins.core.prompt import Prompt
from zim_plugins.evaluation.metrics import MattingErrors, boundary_iou, dim_errors, iou, size_class, zim_errors
from zim_plugins.imaging.image import read_alpha, write_image
from zim_plugins.imaging.overlay import grey, joined, shrunk

PROFILES = ("zim", "dim", "dim_unknown")
"""zim and dim: whole image. dim_unknown: the classic errors over the unknown pixels of a trimap."""
OVERLAPS = {"iou": iou, "boundary_iou": boundary_iou}
"""Scores of the masks above one half, by name. A metric of masks is added here, one of mattes to `MattingErrors`."""
HIGHER_IS_BETTER = frozenset(OVERLAPS)
_ERRORS = tuple(field.name for field in dataclasses.fields(MattingErrors))
_DIGITS = 9
TILE_PX = 180
"""Height of the tiles of a result's image."""


def score_columns(profiles: Sequence[str]) -> list[str]:
    """Names of all scores: `iou`, `boundary_iou`, then `PROFILE_ERROR`, so that no two definitions share a column."""
    return [*OVERLAPS, *(f"{profile}_{error}" for profile in profiles for error in _ERRORS)]


def score_answer(
    alpha: Float32[np.ndarray, "h w"],
    truth: Float32[np.ndarray, "h w"],
    profiles: Sequence[str],
    unknown: Bool[np.ndarray, "h w"] | None = None,
) -> dict[str, Any]:
    """All scores of one answer, with the object's size class; mattes are scored as floats, unrounded.

    Args:
        alpha: the answer, in [0, 1].
        truth: the true matte.
        profiles: of `PROFILES`.
        unknown: the unknown pixels of a trimap, for `dim_unknown`.
    """
    mask, target = alpha > 0.5, truth > 0.5
    scores: dict[str, float] = {name: score(mask, target) for name, score in OVERLAPS.items()}
    for profile in profiles:
        errors = zim_errors(alpha, truth) if profile == "zim" else None
        if errors is None:
            errors = dim_errors(alpha, truth, unknown if profile == "dim_unknown" else None)
        scores |= {f"{profile}_{name}": value for name, value in dataclasses.asdict(errors).items()}
    return {"size": size_class(truth)} | {name: float(f"{value:.{_DIGITS}g}") for name, value in scores.items()}


def read_unknown(path: Path, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The pixels of a trimap that are neither 0 nor 1.

    Raises:
        ImageError: it cannot be read.
        ValueError: it is of another size than (H, W), or has no unknown pixel.
    """
    trimap = read_alpha(path)
    if trimap.shape != size:
        raise ValueError(f"{path} is {trimap.shape}, its image {size} (height, width)")
    unknown = (trimap > 0) & (trimap < 1)
    if not unknown.any():
        raise ValueError(f"{path} has no unknown pixel")
    return unknown


def draw_result(
    path: Path,
    rgb: UInt8[np.ndarray, "h w 3"],
    truth: Float32[np.ndarray, "h w"],
    alpha: Float32[np.ndarray, "h w"],
    prompt: Prompt,
) -> None:
    """Write the image with its prompt, the truth, the answer and their difference, side by side."""
    tiles = [shrunk(tile, TILE_PX) for tile in (rgb, grey(truth), grey(alpha), grey(np.abs(alpha - truth)))]
    height, width = tiles[0].shape[:2]
    tiles[0] = draw_prompt(tiles[0], prompt, scale=(width / rgb.shape[1], height / rgb.shape[0]))
    write_image(path, joined(tiles), quality=80)
