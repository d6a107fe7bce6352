"""Windows of masks against a plain reading, and crops that come back in place."""

import numpy as np

from zim_plugins.imaging import from_unit, paste, tight_box, unit_values, window_of
from zim_plugins.imaging.geometry import grown


def test_boxes_are_exclusive_and_hold_all_that_is_true(rng: np.random.Generator) -> None:
    for _ in range(200):
        mask = rng.random((int(rng.integers(1, 9)), int(rng.integers(1, 9)))) > 0.85
        pixels = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
        box = tight_box(mask)
        if not pixels:
            assert box is None and window_of(mask, 3) == (slice(0, 0), slice(0, 0))
            continue
        xs, ys = zip(*pixels, strict=True)
        assert box == (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        assert mask[window_of(mask)].sum() == mask.sum()
        assert np.array_equal(paste(mask[window_of(mask)], box, mask.shape), mask)
        x1, y1, x2, y2 = grown(box, 2, mask.shape)
        assert window_of(mask, 2) == (slice(y1, y2), slice(x1, x2))
        assert x1 == max(0, min(xs) - 2) and x2 == min(mask.shape[1], max(xs) + 3)


def test_ranges_go_to_and_fro(rng: np.random.Generator) -> None:
    for dtype in (np.uint8, np.uint16):
        values = rng.integers(0, np.iinfo(dtype).max + 1, 999).astype(dtype)
        for up in (False, True):
            assert np.array_equal(from_unit(unit_values(values), dtype, halves_up=up), values)
    assert from_unit(np.array([-0.5, 1.5]), halves_up=True).tolist() == [0, 255]
    halves = (np.arange(4) + 0.5).astype(np.float32) / np.float32(255)
    exact = halves * np.float32(255) == np.arange(4) + 0.5
    assert exact.any() and (from_unit(halves, halves_up=True)[exact] == np.arange(1, 5)[exact]).all()
