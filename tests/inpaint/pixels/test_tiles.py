"""Tiles: every pixel once, and the same colours as in one piece."""

import numpy as np
import pytest

from inpaint.pixels.tiles import clean_colours, lay_over, to_8_bits, to_depth
from zim_plugins.imaging import from_unit, tiles_over, to_unit


def test_tiles_cover_what_is_true_once(rng) -> None:
    where = np.zeros((300, 500), bool)
    where[40:260, 30:470] = rng.random((220, 440)) < 0.001
    where[100, 100] = True
    times = np.zeros(where.shape, int)
    for (rows, columns), (wide_rows, wide_columns) in tiles_over(where, tile_px=64, overlap_px=10):
        assert rows.stop - rows.start <= 64 and columns.stop - columns.start <= 64
        assert wide_rows.start <= rows.start and wide_columns.stop >= columns.stop
        times[rows, columns] += 1
    assert (times[where] == 1).all() and times.max() == 1


def test_nothing_true_needs_no_tile() -> None:
    assert list(tiles_over(np.zeros((5, 5), bool), tile_px=9, overlap_px=1)) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_are_the_objects_not_the_backgrounds(scene, dtype) -> None:
    image = to_depth(scene.image, np.dtype(dtype))
    clean = to_unit(clean_colours(image, scene.alpha))
    fringe = (scene.alpha > 0.3) & (scene.alpha < 0.9)
    error = np.abs(clean - np.array([0.75, 0.1, 0.15], np.float32)).mean(axis=2)[fringe].mean()
    spoiled = np.abs(to_unit(image) - np.array([0.75, 0.1, 0.15], np.float32)).mean(axis=2)[fringe].mean()
    assert error < spoiled / 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_laying_over_is_exact_where_nothing_is_mixed(dtype, rng) -> None:
    front, back = (rng.integers(0, np.iinfo(dtype).max + 1, (700, 9, 3)).astype(dtype) for _ in range(2))
    alpha = np.repeat(np.array([0, 1, 0.5] * 3, np.float32)[None], 700, axis=0)
    result = lay_over(front, alpha, back)
    assert np.array_equal(result[alpha == 0], back[alpha == 0])
    assert np.array_equal(result[alpha == 1], front[alpha == 1])
    middle = (front[alpha == 0.5].astype(float) + back[alpha == 0.5]) / 2
    assert np.abs(result[alpha == 0.5] - middle).max() <= 0.51


def test_depths_go_to_and_fro() -> None:
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(to_8_bits(to_depth(values, np.dtype(np.uint16))), values)
    assert to_8_bits(values) is values
    assert np.array_equal(from_unit(to_unit(values), np.dtype(np.uint8)), values)
