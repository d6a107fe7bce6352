"""Filling by a text: what the painter is given, and what comes back."""

import numpy as np
import pytest

from inpaint.pixels.hole import matte_hole
from inpaint.tasks.filling import fill


class Painter:
    """Paints the hole blue, and keeps what it was given."""

    name = "painter"

    def __init__(self, side_px: int | None = None) -> None:
        self.work_side_px: int | None = side_px
        self.given: list[tuple] = []

    def fill(self, image, hole):
        return self.fill_guided(image, hole)

    def fill_guided(self, image, hole, *, prompt="", change=None):
        self.given.append((image.shape[:2], hole, prompt, change))
        return np.where(hole[..., None], np.array([0, 0, 255], np.uint8), image)


def test_the_hole_is_painted_and_nothing_else(scene) -> None:
    painter = Painter()
    result = fill(scene.image, scene.alpha, "a ball", inpainter=painter)
    assert (result.image[result.hole] == (0, 0, 255)).all()
    assert np.array_equal(result.image[~result.hole], scene.image[~result.hole])
    assert [(prompt, change) for _, _, prompt, change in painter.given] == [("a ball", None)]


def test_a_small_crop_is_widened_to_what_the_model_was_trained_on(rng) -> None:
    image = rng.integers(0, 255, (300, 400, 3), dtype=np.uint8)
    alpha = np.zeros((300, 400), np.float32)
    alpha[10:20, 380:390] = 1
    painter = Painter(128)
    fill(image, alpha, "a bird", inpainter=painter)
    assert [size for size, *_ in painter.given] == [(128, 128)]


def test_a_feathered_rim_changes_less_and_less(scene) -> None:
    painter = Painter()
    result = fill(scene.image, scene.alpha, "a ball", inpainter=painter, feather_px=9)
    core = matte_hole(scene.alpha)
    ((_, hole, _, change),) = painter.given
    assert change.max() == 1 and ((change > 0) == hole).all()
    assert (result.hole >= core).all() and result.hole.sum() > core.sum()
    assert np.unique(change[hole]).size > 5


@pytest.mark.parametrize("gap_px", [0, 1, 30])
def test_holes_that_touch_or_are_near_are_painted_once(gap_px: int) -> None:
    alpha = np.zeros((120, 200), np.float32)
    alpha[40:60, 40:60] = alpha[40:60, 60 + gap_px : 80 + gap_px] = 1
    painter = Painter()
    fill(np.zeros((120, 200, 3), np.uint8), alpha, "", inpainter=painter)
    assert len(painter.given) == 1
