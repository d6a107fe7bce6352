"""Each degradation does what its name says, against cv2 and scikit-image; a label stays near its object."""

from dataclasses import replace

import numpy as np
import pytest

from zim_plugins.label_converter.samples.degrade import (
    Degradation,
    blur,
    coarse_label,
    convex_hulls,
    dilate,
    downscale,
    erode,
    iou,
    polygon,
)

NOTHING = Degradation(threshold=(0.5, 0.5), downscale=0, blur=0, morphology=0, convex_hull=0, polygon=0)


def disk(size: int, radius: float, soft: float = 3.0) -> np.ndarray:
    ys, xs = np.mgrid[:size, :size] + 0.5
    return np.clip((radius - np.hypot(xs - size / 2, ys - size / 2)) / soft + 0.5, 0, 1).astype(np.float32)


@pytest.fixture
def blobs() -> np.ndarray:
    """Several ragged parts with holes, some on the border."""
    noise = np.random.default_rng(3).normal(size=(80, 100))
    from scipy import ndimage

    return ndimage.gaussian_filter(noise, 3) > 0.04


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_dilation_and_erosion_are_cv2_s(blobs: np.ndarray, radius: int) -> None:
    cv2 = pytest.importorskip("cv2")
    ys, xs = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    kernel = (ys**2 + xs**2 <= radius**2).astype(np.uint8)
    np.testing.assert_array_equal(dilate(blobs, radius), cv2.dilate(blobs.astype(np.uint8), kernel) > 0)
    np.testing.assert_array_equal(erode(blobs, radius), cv2.erode(blobs.astype(np.uint8), kernel) > 0)


def test_dilation_is_a_superset_and_erosion_a_subset(blobs: np.ndarray) -> None:
    grown, shrunk = dilate(blobs, 2.5), erode(blobs, 2.5)
    assert (grown & blobs).sum() == blobs.sum() < grown.sum()
    assert (shrunk & blobs).sum() == shrunk.sum() < blobs.sum()
    np.testing.assert_array_equal(erode(blobs, 2.5), ~dilate(~blobs, 2.5))
    for same in (np.zeros((5, 5), bool), np.ones((5, 5), bool)):
        np.testing.assert_array_equal(dilate(same, 2), same)
        np.testing.assert_array_equal(erode(same, 2), same)


def test_blur_is_scikit_image_s(blobs: np.ndarray) -> None:
    from skimage.filters import gaussian

    expected = gaussian(blobs.astype(np.float32), 2, mode="nearest", truncate=4) >= 0.5
    assert (blur(blobs, 2) != expected).mean() < 1e-3
    assert blur(np.ones((9, 9), bool), 3).all()


def test_downscaling_makes_blocks() -> None:
    mask = disk(64, 25) > 0.5
    blocks = downscale(mask, 8, smooth=False)
    for tile in blocks.reshape(8, 8, 8, 8).swapaxes(1, 2).reshape(-1, 64):
        assert tile.all() or not tile.any()
    assert iou(downscale(mask, 8, smooth=True), mask) > iou(blocks, mask) > 0.8


def test_hulls_are_convex_and_part_by_part() -> None:
    from skimage.measure import label, regionprops

    mask = np.zeros((60, 90), bool)
    mask[5:40, 5:10] = mask[35:40, 5:40] = True  # an L
    mask[10:50, 60:65] = mask[10:50, 80:85] = mask[45:50, 60:85] = True  # a U
    mask[55, 3] = True
    hulls = convex_hulls(mask)
    assert (hulls & mask).sum() == mask.sum() < hulls.sum()
    assert [r.solidity for r in regionprops(label(hulls, connectivity=2))] == pytest.approx([1, 1, 1])
    assert not hulls[:, 45:58].any()
    assert hulls[20, 70]


def test_polygons_keep_holes_and_stay_near(blobs: np.ndarray) -> None:
    ring = (disk(120, 50) > 0.5) & ~(disk(120, 25) > 0.5)
    coarse = polygon(ring, 4)
    assert not coarse[60, 60]
    assert 0.8 < iou(coarse, ring) < 1
    band = dilate(ring, 5) & ~erode(ring, 5)
    assert not (coarse ^ ring)[~band].any()
    np.testing.assert_array_equal(polygon(blobs, 0), blobs)
    square = np.zeros((20, 20), bool)
    square[5:15, 5:15] = True
    assert (polygon(square, 1) ^ square).sum() <= 4


@pytest.mark.parametrize("scale", [1, 4])
def test_ranges_follow_the_object(scale: int) -> None:
    settings = replace(NOTHING, morphology=1, morphology_share=(0.05, 0.05))
    alpha = disk(100 * scale, 30 * scale, soft=scale)
    labels = [coarse_label(alpha, settings, np.random.default_rng(s)) for s in range(12)]
    radii = {round(float(np.sqrt(label.sum() / np.pi)) / scale) for label in labels}
    assert radii in ({27, 30, 33}, {28, 30, 32})  # 5 % of sqrt(pi) * 30 px = 2.66 px


def test_small_objects_survive() -> None:
    alpha = disk(64, 5, soft=1)
    for seed in range(100):
        assert iou(coarse_label(alpha, Degradation(), np.random.default_rng(seed)), alpha > 0.5) >= 0.5


def test_labels_are_seeded_varied_and_near(blobs: np.ndarray) -> None:
    alpha = disk(96, 30, soft=12)
    labels = [coarse_label(alpha, Degradation(), np.random.default_rng(s)) for s in range(40)]
    again = coarse_label(alpha, Degradation(), np.random.default_rng(7))
    np.testing.assert_array_equal(labels[7], again)
    assert len({x.tobytes() for x in labels}) > 30
    overlaps = [iou(x, alpha > 0.5) for x in labels]
    assert 0.5 <= min(overlaps) < max(overlaps) <= 1
    assert not coarse_label(np.zeros((8, 8), np.float32), Degradation(), np.random.default_rng(0)).any()


def test_hopeless_settings_give_the_matte_s_own_mask() -> None:
    alpha = disk(64, 10, soft=1)
    hopeless = replace(NOTHING, morphology=1, morphology_share=(3, 3))
    np.testing.assert_array_equal(coarse_label(alpha, hopeless, np.random.default_rng(0)), alpha > 0.5)
