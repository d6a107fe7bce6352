"""Crops round holes: what is known stays as it is, and nothing of the object leaks into it."""

import numpy as np
import pytest

from inpaint.pixels.crops import hole_boxes, shrink
from inpaint.tasks.removal import repaint


def paint_red(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A filler that also spoils what is known."""
    return np.broadcast_to(np.array([255, 0, 0], np.uint8), image.shape).copy()


def two_holes(size: tuple[int, int], gap_px: int) -> np.ndarray:
    hole = np.zeros(size, bool)
    hole[50:60, 50:60] = True
    hole[50:60, 60 + gap_px : 70 + gap_px] = True
    return hole


def test_boxes_hold_the_hole_with_its_margin_and_do_not_overlap(rng: np.random.Generator) -> None:
    hole = np.zeros((400, 500), bool)
    for y, x in rng.integers(0, 390, (12, 2)):
        hole[y : y + 6, x : x + 4] = True
    boxes = hole_boxes(hole, min_margin_px=20)
    covered = np.zeros(hole.shape, int)
    for x1, y1, x2, y2 in boxes:
        covered[y1:y2, x1:x2] += 1
    assert (covered[hole] == 1).all() and covered.max() == 1


def test_near_holes_share_a_crop_and_far_ones_do_not() -> None:
    assert len(hole_boxes(two_holes((200, 400), gap_px=40))) == 1
    assert len(hole_boxes(two_holes((200, 400), gap_px=200))) == 2


@pytest.mark.parametrize("max_side_px", [32, 512])
def test_only_hole_pixels_change(max_side_px: int, rng: np.random.Generator) -> None:
    image = rng.integers(0, 255, (200, 400, 3), dtype=np.uint8)
    hole = two_holes((200, 400), gap_px=200)
    before = image.copy()
    filled = repaint(image, hole, paint_red, work_side_px=max_side_px)
    assert np.array_equal(image, before)
    assert np.array_equal(filled[~hole], image[~hole])
    assert (filled[hole] == (255, 0, 0)).all()


def test_the_filler_never_sees_more_than_the_longest_side() -> None:
    seen: list[tuple[int, int]] = []

    def note(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        seen.append(hole.shape)
        return image

    hole = np.zeros((300, 700), bool)
    hole[100:200, 100:600] = True
    repaint(np.zeros((300, 700, 3), np.uint8), hole, note, work_side_px=128)
    assert seen and max(max(s) for s in seen) == 128


def test_shrinking_keeps_a_hair_thin_hole_and_hides_all_of_it(rng: np.random.Generator) -> None:
    """A hole one pixel wide survives, and no known pixel of the small image carries its colour."""
    image = np.full((301, 407, 3), 90, np.uint8)
    hole = np.zeros((301, 407), bool)
    hole[np.arange(301), np.arange(301) + 50] = True
    image[hole] = 255
    small, small_hole = shrink(image, hole, 64)
    assert small_hole.any(axis=1).all()
    assert (small[~small_hole] == 90).all()


def test_an_empty_hole_returns_the_image(rng: np.random.Generator) -> None:
    image = rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(repaint(image, np.zeros((9, 9), bool), paint_red, work_side_px=512), image)
