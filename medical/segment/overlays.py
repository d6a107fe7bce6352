"""Overlays: a sheet of slices with what was segmented and what was pointed at, to look at."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from zim_plugins.imaging.overlay import (
    DARK_PAPER,
    captioned,
    draw_marks,
    draw_outline,
    joined,
    object_colour,
    resized,
    tint,
)  # fmt: skip

from .following import Followed
from .placing import PlacedMarks

MAX_PANELS = 20
"""Slices on a sheet."""
PANEL_PX = 320
COLUMNS = 5


def draw_sheet(
    frames: UInt8[np.ndarray, "s h w 3"],
    structures: Sequence[tuple[PlacedMarks, Followed]],
    numbers: Sequence[int],
    spacing_mm: tuple[float, float, float] | None = None,
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """Draw the slices that show a structure, prompted ones always, the others evenly; in the scan's proportions.

    Args:
        structures: prompts, and what was found.
        numbers: what captions call each frame.
        spacing_mm: of the scan, for its proportions.
    """
    shown = pick_frames(structures) or [len(frames) // 2]
    panels = [_panel(frames[frame], frame, f"slice {numbers[frame]}", structures, spacing_mm) for frame in shown]
    return joined(panels, columns=COLUMNS, paper=DARK_PAPER)


def pick_frames(structures: Sequence[tuple[PlacedMarks, Followed]]) -> list[int]:
    """Frames to show: prompted ones first, then an even choice of those with a structure."""
    prompted = sorted({frame for one, _ in structures for frame in one.slices})
    others = sorted({frame for _, found in structures for frame in found.masks} - set(prompted))
    room = MAX_PANELS - len(prompted)
    if room <= 0:
        return prompted[:MAX_PANELS]
    if len(others) > room:
        others = [others[i] for i in np.unique(np.linspace(0, len(others) - 1, room).round().astype(int))]
    return sorted({*prompted, *others})


def _panel(
    rgb: UInt8[np.ndarray, "h w 3"],
    frame: int,
    caption: str,
    structures: Sequence[tuple[PlacedMarks, Followed]],
    spacing_mm: tuple[float, float, float] | None,
) -> UInt8[np.ndarray, "panel_h panel_w 3"]:
    height, width = rgb.shape[:2]
    row_mm, column_mm = (1.0, 1.0) if spacing_mm is None else spacing_mm[1:]
    scale = PANEL_PX / max(height * row_mm, width * column_mm)
    size = max(8, round(height * row_mm * scale)), max(8, round(width * column_mm * scale))
    shown = resized(np.ascontiguousarray(rgb), size)
    for index, (_, found) in enumerate(structures):
        if frame in found.masks:
            mask, colour = resized(found.masks[frame], size), object_colour(index)
            shown = draw_outline(tint(shown, mask, colour), mask, colour)
    prompted = [one.slices[frame] for one, _ in structures if frame in one.slices]
    for prompts in prompted:
        boxes = [] if prompts.box is None else [prompts.box]
        shown = draw_marks(shown, clicks=prompts.points, boxes=boxes, scale=(size[1] / width, size[0] / height))
    return captioned(shown, caption + (", prompted" if prompted else ""))
