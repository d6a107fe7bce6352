import numpy as np
import pytest

from nerf_seg.segmentation.contact_sheet import TILE_PX, SheetRow, contact_sheet
from zim_plugins.imaging.overlay import BACKGROUND_CLICK, BOX_COLOUR, FOREGROUND_CLICK, GAP_PX, LINE_PX

CAPTION_PX = 2 * LINE_PX


def row(prompt: dict, alpha_2d: np.ndarray | None = None) -> SheetRow:
    image = np.full((50, 110, 3), 90, np.uint8)
    alpha_3d = np.zeros((50, 110), np.float32)
    alpha_3d[:, :55] = 1
    return SheetRow("IMG_1.JPG", image, prompt, alpha_2d, alpha_3d, True, "soft IoU 0.93")


def test_prompt_and_mattes_are_drawn_where_they_are() -> None:
    prompt = {"points": [[30, 20, 1], [90, 40, 0]], "box": [10, 5, 100, 45]}
    sheet = contact_sheet([row(prompt, np.ones((50, 110), np.float32))])
    assert sheet.shape == (100 + CAPTION_PX, 3 * TILE_PX, 3)
    assert tuple(sheet[40, 60]) == FOREGROUND_CLICK and tuple(sheet[80, 180]) == BACKGROUND_CLICK
    assert tuple(sheet[50, 20]) == BOX_COLOUR and tuple(sheet[30, 120]) == (90, 90, 90)
    assert (sheet[50, TILE_PX + 5 : 2 * TILE_PX - 5] == 255).all()
    assert (sheet[50, 2 * TILE_PX + 5 : 2 * TILE_PX + 100] == 255).all() and (sheet[50, 3 * TILE_PX - 90] == 0).all()
    assert (sheet[100 : 100 + CAPTION_PX, :100] < 128).any(), "a caption is written"


def test_rows_without_a_matte_and_many_rows() -> None:
    sheet = contact_sheet([row({})] * 5)
    assert sheet.shape == (3 * (100 + CAPTION_PX) + 2 * GAP_PX, 2 * (3 * TILE_PX) + GAP_PX, 3)
    with pytest.raises(ValueError, match="at least one view"):
        contact_sheet([])
