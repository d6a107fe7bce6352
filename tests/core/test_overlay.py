import types

import numpy as np
import pytest

from zim_plugins.core.overlay import draw_objects, draw_overlay
from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging import overlay
from zim_plugins.imaging.overlay import BOX_COLOUR


@pytest.fixture
def grey() -> np.ndarray:
    return np.full((60, 100, 3), 120, np.uint8)


def test_tint_follows_the_matte(grey):
    alpha = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (60, 1))
    drawn = draw_overlay(grey, alpha)
    assert (drawn[0, 0] == 90).all()  # 120 dimmed by a quarter
    assert drawn[0, 99].tolist() == [70, 115, 188]  # half 120, half the tint
    assert (np.diff(drawn[0, :, 2].astype(int)) >= 0).all()


def test_bands_are_not_seen(rng, monkeypatch):
    rgb, alpha = rng.integers(0, 256, (50, 30, 3), dtype=np.uint8), rng.random((50, 30), dtype=np.float32)
    whole = draw_overlay(rgb, alpha)
    monkeypatch.setattr(overlay, "BAND_ROWS", 7)
    np.testing.assert_array_equal(draw_overlay(rgb, alpha), whole)


def test_box_covers_its_outermost_pixels(grey):
    drawn = draw_overlay(grey, np.zeros((60, 100), np.float32), Prompt.from_box(10, 20, 50, 40))
    ys, xs = np.nonzero((drawn == BOX_COLOUR).all(axis=2))
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (10, 49, 20, 39)


@pytest.mark.parametrize("size", [(1, 1), (2000, 3)])
def test_odd_sizes(size):
    prompt = Prompt.from_point(0.5, 0.5).merged(Prompt.from_box(0, 0, size[1], size[0]))
    assert draw_overlay(np.zeros((*size, 3), np.uint8), np.ones(size, np.float32), prompt).shape == (*size, 3)


def test_objects_differ_in_colour(grey):
    boxes = [(0, 0, 20, 30), (40, 10, 80, 60)]
    objects = [
        types.SimpleNamespace(box=(x1, y1, x2, y2), alpha=np.ones((y2 - y1, x2 - x1), np.float32))
        for x1, y1, x2, y2 in boxes
    ]
    drawn = draw_objects(grey, objects)
    assert len({tuple(drawn[y, x]) for y, x in ((5, 5), (30, 60), (50, 10))}) == 3
    assert (drawn[50, 10] == 90).all()


def test_better_object_lies_on_top(grey):
    objects = [types.SimpleNamespace(box=(0, 0, 20, 30), alpha=np.ones((30, 20), np.float32)) for _ in range(2)]
    np.testing.assert_array_equal(draw_objects(grey, objects)[5, 5], draw_objects(grey, objects[:1])[5, 5])
