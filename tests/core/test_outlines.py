"""Run lengths and polygons of masks, read by pycocotools and by filling rules of others."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from zim_plugins.core.outlines import mask_box, mask_to_polygons, mask_to_rle

MASKS = {
    "one pixel": np.ones((1, 1), bool),
    "first pixel of two": np.array([[True, False]]),
    "full": np.ones((7, 5), bool),
    "frame": np.pad(np.zeros((3, 4), bool), 2, constant_values=True),
    "corner to corner": np.eye(6, dtype=bool),
    "chessboard": np.indices((9, 8)).sum(0) % 2 == 0,
    "island in a hole": np.pad(np.pad(np.pad(np.ones((2, 2), bool), 1), 2, constant_values=True), 1),
    "two holes": np.kron([[1, 1, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]], np.ones((3, 3))).astype(bool),
}


def noise(seed: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 60, 2)
    return gaussian_filter(rng.normal(size=(height, width)), rng.uniform(0, 4)) > 0.02


def filled(polygons: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie within an odd number of borders: enlarged, so that Pillow's own borders do not count."""
    scale = 4
    found = np.zeros(size, bool)
    for polygon in polygons:
        canvas = Image.new("1", (size[1] * scale, size[0] * scale))
        # Pillow paints the border's own pixels; at four times the size no centre is one of them.
        ImageDraw.Draw(canvas).polygon([(x * scale, y * scale) for x, y in np.reshape(polygon, (-1, 2))], fill=1)
        found ^= np.asarray(canvas)[scale // 2 :: scale, scale // 2 :: scale]
    return found


@pytest.mark.parametrize("name", MASKS)
def test_polygons_hold_exactly_the_pixels(name):
    mask = MASKS[name]
    polygons = mask_to_polygons(mask)
    np.testing.assert_array_equal(filled(polygons, mask.shape), mask)


def test_polygons_of_noise_hold_exactly_the_pixels():
    for seed in range(60):
        mask = noise(seed)
        polygons = mask_to_polygons(mask)
        np.testing.assert_array_equal(filled(polygons, mask.shape), mask, err_msg=f"seed {seed}")
        if polygons:
            area = sum(np.dot(*_shoelace(polygon)) / 2 for polygon in polygons)
            assert area == mask.sum(), seed


def _shoelace(polygon: list[float]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.reshape(polygon, (-1, 2)).T
    return np.concatenate([x, np.roll(x, -1)]), np.concatenate([np.roll(y, -1), -y])


def test_pycocotools_reads_run_lengths_and_polygons():
    coco_mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    for mask in [*MASKS.values(), *map(noise, range(40))]:
        compressed = mask_to_rle(mask)
        np.testing.assert_array_equal(coco_mask.decode(compressed).astype(bool), mask)
        theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert compressed == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
        runs = coco_mask.frPyObjects(mask_to_rle(mask, compressed=False), *mask.shape)
        np.testing.assert_array_equal(coco_mask.decode(runs).astype(bool), mask)
        assert list(coco_mask.toBbox(theirs)) == list(mask_box(mask))
        polygons = mask_to_polygons(mask)
        if polygons:
            merged = coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape))
            # COCO's rasteriser rounds corners to its own grid: single pixels at borders may differ.
            assert (coco_mask.decode(merged).astype(bool) != mask).mean() <= 0.02


def test_simplified_outlines_stay_within_the_tolerance():
    ys, xs = np.mgrid[:200, :300]
    mask = (np.hypot(xs - 140, ys - 90) < 80) & (np.hypot(xs - 120, ys - 80) > 30)
    exact, simple = mask_to_polygons(mask), mask_to_polygons(mask, tolerance_px=0.75)
    assert len(simple[0]) < len(exact[0]) / 2
    found = filled(simple, mask.shape)
    assert (found & mask).sum() / (found | mask).sum() > 0.99
    assert not found[80, 120]  # the hole is still one
    tiny = mask_to_polygons(np.ones((1, 1), bool), tolerance_px=5.0)
    assert tiny == [[0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]]


def test_nothing_and_senseless_input():
    assert mask_to_polygons(np.zeros((3, 4), bool)) == []
    assert mask_box(np.zeros((3, 4), bool)) == (0, 0, 0, 0)
    assert mask_to_rle(np.zeros((3, 4), bool), compressed=False)["counts"] == [12]
    with pytest.raises(ValueError, match="at least one pixel"):
        mask_to_rle(np.zeros((0, 4), bool))
    with pytest.raises(ValueError, match="tolerance_px"):
        mask_to_polygons(np.ones((3, 4), bool), tolerance_px=-1.0)
