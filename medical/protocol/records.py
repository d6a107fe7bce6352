"""Rows: one measured prediction each, as files hold them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool

from ..metrics.overlap import overlap

SINGLE, BEST_SCORE, ORACLE = "single", "best-score", "oracle"
CANDIDATES = (SINGLE, BEST_SCORE, ORACLE)
"""single: the model's one answer; best-score: of several, the one it scores highest; oracle: the one nearest to the
reference, which no user has."""


@dataclass(frozen=True)
class Row:
    """One line of `rows.csv`."""

    dataset: str
    patient: str
    """Empty where nobody says whose case it is."""
    case: str
    level: str
    """slice: one frame; volume: all predicted frames together."""
    frame: int
    """-1 for volumes."""
    label: str
    instance: int
    model: str
    prompt: str
    n_clicks: int
    """0 for boxes."""
    clicker: str
    seed: int
    """Of what is random in the prompt."""
    candidate: str
    dice: float
    iou: float
    hd95_px: float
    """NaN where nothing was predicted."""
    hd95_penalty_px: float
    """The same, but the diagonal of the frame or volume where nothing was predicted: failures rank last."""
    hd95_mm: float
    hd95_penalty_mm: float
    nsd_px: float
    nsd_mm: float
    n_pred: int
    n_ref: int
    n_both: int
    n_px: int
    """Of the frame or volume."""
    empty_pred: int
    """1 where nothing was predicted."""


SURFACES = ("hd95_px", "hd95_penalty_px", "hd95_mm", "hd95_penalty_mm", "nsd_px", "nsd_mm")
"""Figures of surfaces, in the order of `rows.csv`."""
COLUMNS = tuple(f.name for f in fields(Row))
DIGITS = 6
"""Decimals of figures in files."""


@dataclass(frozen=True)
class Measure:
    """Measurements besides overlap."""

    surfaces: bool = True
    """HD95 and NSD."""
    tolerance_mm: float = 2.0
    tolerance_px: float = 2.0


def measure(
    prediction: Bool[np.ndarray, "*size"],
    reference: Bool[np.ndarray, "*size"],
    spacing_mm: Sequence[float] | None,
    how: Measure,
) -> dict[str, Any]:
    """The figures of a row."""
    counted = overlap(prediction, reference)
    nan = float("nan")
    figures: dict[str, Any] = {"dice": counted.dice, "iou": counted.iou}
    figures |= dict.fromkeys(SURFACES, nan)
    if how.surfaces:
        figures |= _surface_figures(prediction, reference, spacing_mm, how)
    return figures | {
        "n_pred": counted.predicted,
        "n_ref": counted.reference,
        "n_both": counted.both,
        "n_px": int(reference.size),
        "empty_pred": int(counted.predicted == 0),
    }


def _surface_figures(
    prediction: Bool[np.ndarray, "*size"],
    reference: Bool[np.ndarray, "*size"],
    spacing_mm: Sequence[float] | None,
    how: Measure,
) -> dict[str, float]:
    """HD95 and NSD: of frames in pixels, of all in mm where the spacing is known."""
    from ..metrics.surface import surface_agreement, surface_distances

    in_px = (1.0,) * reference.ndim if reference.ndim == 2 else None
    figures = {}
    both = prediction.any() and reference.any()
    square = in_px is not None and spacing_mm is not None and np.ptp(spacing_mm) < 1e-9
    distances = surface_distances(prediction, reference, spacing=in_px) if both and in_px is not None else None
    for unit, spacing, tolerance in (("px", in_px, how.tolerance_px), ("mm", spacing_mm, how.tolerance_mm)):
        if spacing is None:
            continue
        if distances is not None and (unit == "px" or square):  # measured once, told in both units
            found = distances.scaled(float(spacing[0])).agreement(tolerance)
        else:
            found = surface_agreement(prediction, reference, spacing=spacing, tolerance=tolerance)
        penalised = found.hd95 if prediction.any() else _diagonal(reference.shape, spacing)
        figures |= {f"hd95_{unit}": found.hd95, f"hd95_penalty_{unit}": penalised, f"nsd_{unit}": found.nsd}
    return figures


def _diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Distance of the farthest two pixels, in the unit of the spacing: no HD95 is larger."""
    return math.hypot(*(step * (count - 1) for step, count in zip(spacing, shape, strict=True)))


def row_fields(row: Row) -> dict[str, Any]:
    """A row as JSON holds it: None for NaN, six digits."""
    return {name: _plain(value) for name, value in asdict(row).items()}


def row_from(stored: Mapping[str, Any]) -> Row:
    """A row from JSON.

    Raises:
        ValueError: a field is missing or unknown.
    """
    if set(stored) != set(COLUMNS):
        raise ValueError(f"the stored row has the fields {sorted(stored)}: it is of another version")
    fields_of: dict[str, Any] = {name: float("nan") if value is None else value for name, value in stored.items()}
    return Row(**fields_of)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    return value
