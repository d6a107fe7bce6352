"""Images behind a row's numbers: prompt, matte, truth and errors side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core import Prompt, write_image
from zim_plugins.imaging.overlay import dim, draw_errors, draw_marks, grey, joined, resized, tint

TILE_PX = 240
"""Height of the tiles."""


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
    write_image(path, joined([_line(panel) for panel in panels], columns=1), quality=85)


def _line(panel: Panel) -> UInt8[np.ndarray, "h w 3"]:
    drawn = tint(panel.image, panel.alpha, backdrop=dim(panel.image))
    if panel.prompt is not None:
        drawn = draw_marks(drawn, clicks=panel.prompt.to_json().get("points", ()))
    tiles = [_of_height(tile) for tile in (panel.image, drawn, grey(panel.alpha))]
    if panel.truth is not None and panel.answer is not None:
        truth, answer = _of_height(panel.truth), _of_height(panel.answer)
        tiles += [grey(truth), draw_errors(truth, answer)]
    return joined(tiles)


def _of_height(tile: np.ndarray) -> np.ndarray:
    height, width = tile.shape[:2]
    return resized(tile, (TILE_PX, max(1, round(width * TILE_PX / height))))
