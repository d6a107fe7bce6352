"""The contact sheet: every view with its prompt and its mattes, and whether it was accepted or why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.imaging.overlay import (
    ACCEPTED_INK,
    LIGHT_PAPER,
    REJECTED_INK,
    captioned,
    draw_marks,
    grey,
    joined,
    resized,
)  # fmt: skip

COLUMNS = 2
TILE_PX = 220
"""Width of one image on the sheet."""


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


def contact_sheet(rows: Sequence[SheetRow]) -> UInt8[np.ndarray, "h w 3"]:
    """The views as triples of image with prompt, 2D matte and 3D matte, with a caption each, in reading order.

    Raises:
        ValueError: there is no view.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one view")
    return joined([_draw_row(row) for row in rows], columns=COLUMNS)


def _draw_row(row: SheetRow) -> UInt8[np.ndarray, "h w 3"]:
    height, width = row.alpha_3d.shape
    size = (max(round(height * TILE_PX / width), 1), TILE_PX)
    boxes = [row.prompt["box"]] if "box" in row.prompt else []
    scale = TILE_PX / row.image.shape[1], size[0] / row.image.shape[0]
    shown = draw_marks(resized(row.image, size), clicks=row.prompt.get("points", ()), boxes=boxes, scale=scale)
    alpha_2d = np.zeros_like(row.alpha_3d) if row.alpha_2d is None else row.alpha_2d
    tiles = [shown, grey(resized(alpha_2d, size)), grey(resized(row.alpha_3d, size))]
    ink = ACCEPTED_INK if row.accepted else REJECTED_INK
    return captioned(joined(tiles, gap_px=0), [row.name, row.caption], ink=ink, paper=LIGHT_PAPER)
