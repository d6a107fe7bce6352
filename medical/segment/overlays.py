"""Overlays: a sheet of slices with what was segmented and what was pointed at, to look at."""

import colorsys
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import Bool, UInt8

from .following import Followed
from .marks import SlicePrompts, StructurePrompts

MAX_PANELS = 20
PANEL_PX = 320
COLUMNS = 5
CAPTION_PX = 18
FILL_OPACITY = 0.35


def colour_of(index: int) -> tuple[int, int, int]:
    """Colour of a structure by its place, RGB in [0, 255]; neighbours differ most."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * 0.618034) % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_sheet(
    frames: UInt8[np.ndarray, "s h w 3"],
    structures: Sequence[tuple[StructurePrompts, Followed]],
    numbers: Sequence[int],
    spacing_mm: tuple[float, float, float] | None = None,
    max_panels: int = MAX_PANELS,
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """Draw the slices that show a structure, prompted ones always, the others evenly; in the scan's proportions.

    Args:
        frames: of the scan.
        structures: prompts, and what was found.
        numbers: what captions call each frame.
        spacing_mm: of the scan, for its proportions.
        max_panels: slices on the sheet.
    """
    shown = pick_frames(structures, max_panels) or [len(frames) // 2]
    panels = [_panel(frames[frame], frame, f"slice {numbers[frame]}", structures, spacing_mm) for frame in shown]
    height, width = max(p.shape[0] for p in panels), max(p.shape[1] for p in panels)
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    sheet = np.full((rows * (height + 4), columns * (width + 4), 3), 20, dtype=np.uint8)
    for i, panel in enumerate(panels):
        top, left = i // columns * (height + 4), i % columns * (width + 4)
        sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
    return sheet


def pick_frames(structures: Sequence[tuple[StructurePrompts, Followed]], max_panels: int = MAX_PANELS) -> list[int]:
    """Frames to show: prompted ones first, then an even choice of those with a structure."""
    prompted = sorted({frame for one, _ in structures for frame in one.slices})
    others = sorted({frame for _, found in structures for frame in found.masks} - set(prompted))
    room = max_panels - len(prompted)
    if room <= 0:
        return prompted[:max_panels]
    if len(others) > room:
        others = [others[i] for i in np.unique(np.linspace(0, len(others) - 1, room).round().astype(int))]
    return sorted({*prompted, *others})


def _panel(
    rgb: UInt8[np.ndarray, "h w 3"],
    frame: int,
    caption: str,
    structures: Sequence[tuple[StructurePrompts, Followed]],
    spacing_mm: tuple[float, float, float] | None,
) -> UInt8[np.ndarray, "panel_h panel_w 3"]:
    height, width = rgb.shape[:2]
    row_mm, column_mm = (1.0, 1.0) if spacing_mm is None else spacing_mm[1:]
    scale = PANEL_PX / max(height * row_mm, width * column_mm)
    size = max(8, round(width * column_mm * scale)), max(8, round(height * row_mm * scale))
    image = np.asarray(PIL.Image.fromarray(np.ascontiguousarray(rgb)).resize(size, PIL.Image.Resampling.BILINEAR))
    shown = image.astype(np.float32)
    for index, (_, found) in enumerate(structures):
        mask = found.masks.get(frame)
        if mask is None:
            continue
        large = np.asarray(PIL.Image.fromarray(mask).resize(size, PIL.Image.Resampling.NEAREST))
        colour = np.array(colour_of(index), dtype=np.float32)
        shown[large] = (1 - FILL_OPACITY) * shown[large] + FILL_OPACITY * colour
        shown[_outline(large)] = colour
    canvas = PIL.Image.new("RGB", (size[0], size[1] + CAPTION_PX), (20, 20, 20))
    canvas.paste(PIL.Image.fromarray((shown + 0.5).clip(0, 255).astype(np.uint8)), (0, 0))
    pen = PIL.ImageDraw.Draw(canvas)
    prompted = [one.slices[frame] for one, _ in structures if frame in one.slices]
    for prompts in prompted:
        _draw_prompts(pen, prompts, (size[0] / width, size[1] / height))
    caption += ", prompted" if prompted else ""
    pen.text((3, size[1] + 2), caption, fill=(235, 235, 235), font=PIL.ImageFont.load_default(12))
    return np.asarray(canvas)


def _draw_prompts(pen: PIL.ImageDraw.ImageDraw, prompts: SlicePrompts, scale: tuple[float, float]) -> None:
    sx, sy = scale
    if prompts.box is not None:
        x1, y1, x2, y2 = prompts.box
        left, top = x1 * sx, y1 * sy
        pen.rectangle((left, top, max(left, x2 * sx - 1), max(top, y2 * sy - 1)), outline=(255, 210, 0))
    for x, y, label in prompts.points:
        colour = (40, 200, 60) if label else (230, 40, 40)
        pen.ellipse((x * sx - 4, y * sy - 4, x * sx + 4, y * sy + 4), fill=colour, outline="white")


def _outline(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    from scipy.ndimage import binary_erosion

    return mask & np.logical_not(binary_erosion(mask))
