"""Images behind a row's numbers: prompt, matte, truth and errors side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core import Prompt, write_image
from zim_plugins.imaging import from_unit

TILE_PX, GAP_PX = 240, 4
"""Height of the tiles, and what lies between them."""
HIT, MISSED, WRONG = (235, 235, 235), (40, 90, 255), (240, 50, 40)
"""Colours of pixels that both have, that only the truth has, that only the answer has."""
TINT = (20, 110, 255)
CLICKS = {1: (40, 200, 60), 0: (230, 40, 40)}
"""Colours of clicks by label."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One view of a task: the reference has a prompt, a scored view truth and answer."""

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]
    """The 3D matte as the view sees it."""
    prompt: Prompt | None = None
    truth: Bool[np.ndarray, "h2 w2"] | None = None
    answer: Bool[np.ndarray, "h2 w2"] | None = None


def draw_row(path: Path, panels: Sequence[Panel]) -> None:
    """Write a line of tiles for each view: image, overlay with the prompt, matte; of scored views truth and errors.

    Errors are white where truth and answer agree on the object, blue where the object was missed, red where the answer
    is wrong.
    """
    lines = [_line(panel) for panel in panels]
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, GAP_PX), (0, width - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    write_image(path, np.concatenate(padded)[:-GAP_PX], quality=85)


def _line(panel: Panel) -> UInt8[np.ndarray, "h w 3"]:
    grey = np.repeat(from_unit(panel.alpha, halves_up=True)[..., None], 3, axis=2)
    tiles = [panel.image, _overlay(panel), grey]
    if panel.truth is not None and panel.answer is not None:
        tiles.append(np.repeat(panel.truth[..., None] * np.uint8(255), 3, axis=2))
        errors = np.zeros((*panel.truth.shape, 3), dtype=np.uint8)
        errors[panel.truth & panel.answer] = HIT
        errors[panel.truth & ~panel.answer] = MISSED
        errors[~panel.truth & panel.answer] = WRONG
        tiles.append(errors)
    gap = np.full((TILE_PX, GAP_PX, 3), 255, dtype=np.uint8)
    parts = [part for tile in tiles for part in (_scaled(tile), gap)]
    return np.concatenate(parts[:-1], axis=1)


def _overlay(panel: Panel) -> UInt8[np.ndarray, "h w 3"]:
    """The image with the object tinted, the rest dimmed, and the clicks."""
    opacity = panel.alpha[..., None]
    mixed = opacity * (0.5 * panel.image + 0.5 * np.array(TINT)) + (1 - opacity) * 0.75 * panel.image
    drawn = PIL.Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
    if panel.prompt is not None and panel.prompt.points is not None and panel.prompt.labels is not None:
        radius_px = max(1.0, drawn.height / 80)
        pen = PIL.ImageDraw.Draw(drawn)
        for (x, y), label in zip(panel.prompt.points, panel.prompt.labels, strict=True):
            extent = (x - radius_px, y - radius_px, x + radius_px, y + radius_px)
            pen.ellipse(extent, fill=CLICKS[int(label)], outline="white")
    return np.asarray(drawn)


def _scaled(tile: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width = tile.shape[:2]
    size = (max(1, round(width * TILE_PX / height)), TILE_PX)
    smaller = TILE_PX < height
    filtered = PIL.Image.Resampling.BOX if smaller else PIL.Image.Resampling.NEAREST
    return np.asarray(PIL.Image.fromarray(tile).resize(size, filtered))
