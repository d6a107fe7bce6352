"""The contact sheet: every view with its prompt and its mattes, and whether it was accepted or why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
from jaxtyping import Float32, UInt8

from zim_plugins.imaging import from_unit

TILE_PX = 220
"""Width of one image on the sheet."""
CAPTION_PX = 26
GAP_PX = 6
POSITIVE, NEGATIVE, BOX = (40, 200, 60), (230, 40, 40), (255, 210, 0)
ACCEPTED, REJECTED, PAPER = (30, 110, 40), (180, 30, 30), (245, 245, 245)


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One view on the sheet."""

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    prompt: dict[str, Any]
    """`points` ([x, y, label] each) and `box` ([x1, y1, x2, y2]) in pixels; either may be missing."""
    alpha_2d: Float32[np.ndarray, "h w"] | None
    """The 2D model's matte in [0, 1]; None where there was none."""
    alpha_3d: Float32[np.ndarray, "h w"]
    """The grid's matte in [0, 1] as the view sees it."""
    accepted: bool
    caption: str
    """Written below the images: soft IoU, or why the view was rejected."""


def contact_sheet(rows: Sequence[SheetRow], *, columns: int = 2) -> UInt8[np.ndarray, "h w 3"]:
    """The views as triples of image with prompt, 2D matte and 3D matte, with a caption each, in reading order.

    Raises:
        ValueError: there is no view.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one view")
    tiles = [_draw_row(row) for row in rows]
    height, width = max(t.shape[0] for t in tiles) + GAP_PX, tiles[0].shape[1] + GAP_PX
    lines = -(-len(tiles) // columns)
    sheet = np.full((lines * height, min(columns, len(tiles)) * width, 3), PAPER, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _draw_row(row: SheetRow) -> UInt8[np.ndarray, "h w 3"]:
    height, width = row.alpha_3d.shape
    scale = TILE_PX / width
    size = (TILE_PX, max(round(height * scale), 1))
    picture = PIL.Image.fromarray(row.image).resize(size)
    pen = PIL.ImageDraw.Draw(picture)
    if "box" in row.prompt:
        pen.rectangle([c * scale for c in row.prompt["box"]], outline=BOX, width=2)
    for x, y, label in row.prompt.get("points", ()):
        centre, radius = (x * scale, y * scale), 4
        extent = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        pen.ellipse(extent, fill=POSITIVE if label == 1 else NEGATIVE, outline="white")
    pictures = [picture]
    for alpha in (np.zeros_like(row.alpha_3d) if row.alpha_2d is None else row.alpha_2d, row.alpha_3d):
        grey = PIL.Image.fromarray(from_unit(alpha, halves_up=True)).resize(size)
        pictures.append(grey.convert("RGB"))
    tile = PIL.Image.new("RGB", (3 * TILE_PX, size[1] + CAPTION_PX), PAPER)
    for i, one in enumerate(pictures):
        tile.paste(one, (i * TILE_PX, 0))
    colour = ACCEPTED if row.accepted else REJECTED
    pen = PIL.ImageDraw.Draw(tile)
    pen.text((4, size[1] + 2), _shortened(row.name, 3 * TILE_PX, pen), fill=colour)
    pen.text((4, size[1] + 13), _shortened(row.caption, 3 * TILE_PX, pen), fill=colour)
    return np.array(tile)


def _shortened(text: str, width_px: int, pen: PIL.ImageDraw.ImageDraw) -> str:
    """As much of a text as fits."""
    if pen.textlength(text) <= width_px - 8:
        return text
    while text and pen.textlength(text + "...") > width_px - 8:
        text = text[:-1]
    return text + "..."
