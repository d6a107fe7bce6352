"""Fills that continue the scene: no step at the rim, detail where the filler worked small, nothing else touched."""

import numpy as np
import PIL.Image
import pytest

from inpaint.evaluation.metrics import psnr, seam
from inpaint.pixels.detail import continue_scene, sharpen_fill
from inpaint.pixels.rim import meet_rim, membrane
from inpaint.tasks.removal import repaint


@pytest.fixture
def photo() -> np.ndarray:
    """A photograph's middle, 240 x 320 px."""
    skimage = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(skimage.chelsea()[40:280, 60:380])


def disk(shape: tuple[int, int], y: int, x: int, radius: int) -> np.ndarray:
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(ys - y, xs - x) < radius


@pytest.mark.parametrize("at", [(120, 160), (0, 0), (239, 100)])
@pytest.mark.parametrize("offset", [-25, 0, 25])
def test_an_offset_is_taken_back_and_the_truth_is_left_alone(photo, at, offset) -> None:
    hole = disk((240, 320), at[0], at[1], 40)
    fill = np.clip(photo.astype(int) + offset, 0, 255).astype(np.uint8)
    result = meet_rim(photo, hole, fill)
    assert np.array_equal(result[~hole], photo[~hole])
    assert psnr(result, photo, hole) > 26
    if offset:
        assert psnr(result, photo, hole) > psnr(fill, photo, hole) + 6


def test_the_seam_of_a_foreign_fill_goes_to_that_of_the_truth(photo) -> None:
    hole = disk(photo.shape[:2], 120, 160, 50)
    fill = np.roll(photo, 90, axis=1)
    shown = (np.where(hole[..., None], fill, photo), meet_rim(photo, hole, fill), photo)
    before, after, truth = (seam(image, hole) or 0.0 for image in shown)
    assert abs(after - truth) < abs(before - truth) / 2


def test_gradients_within_the_fill_are_kept(rng) -> None:
    image, hole = np.full((80, 80, 3), 100, np.uint8), disk((80, 80), 40, 40, 25)
    fill = np.clip(140 + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    result = meet_rim(image, hole, fill).astype(float)
    inner = disk((80, 80), 40, 40, 15)
    across = inner[:, 1:] & inner[:, :-1]
    kept = np.diff(result, axis=1)[across] - np.diff(fill.astype(float), axis=1)[across]
    assert np.abs(kept).max() <= 2


def test_a_hole_without_known_neighbours_is_the_fill(photo) -> None:
    everywhere = np.ones(photo.shape[:2], bool)
    assert np.array_equal(meet_rim(photo, everywhere, photo[::-1]), photo[::-1])


def test_a_membrane_lies_between_what_it_is_fixed_to() -> None:
    known = np.zeros((33, 50), bool)
    known[:, 0] = known[:, -1] = True
    values = np.zeros((33, 50, 1), np.float32)
    values[:, -1] = 8
    result = membrane(values, known)[..., 0]
    assert (
        result.min() >= -1e-4 and result.max() <= 8 + 1e-4 and np.abs(result[known] - values[known][:, 0]).max() < 1e-4
    )
    assert 2.5 < result[:, 25].mean() < 5.5 and result[:, 8].mean() < 3 and result[:, 42].mean() > 5


@pytest.mark.parametrize("factor", [1.5, 3, 5])
def test_what_was_painted_small_gets_the_scenes_detail(factor, rng) -> None:
    """Of grain that shrinking lost, enlarging gives back nothing, this most of it; where it is not it comes from
    nowhere."""
    grain = rng.normal(0, 14, (240, 320, 1))
    grain[:120] = 0  # plain above, grainy below
    image = np.clip(120 + grain + np.zeros(3), 0, 255).astype(np.uint8)
    hole = disk((240, 320), 60, 160, 30) | disk((240, 320), 185, 160, 30)
    small = np.full((round(240 / factor), round(320 / factor), 3), 120, np.uint8)
    result = sharpen_fill(image, hole, small).astype(float)
    assert np.array_equal(result[~hole], image[~hole])
    above, below = disk((240, 320), 60, 160, 25), disk((240, 320), 185, 160, 25)
    assert result[above].std() < 2
    assert 0.5 < result[below].std() / image[180:].std() < 1.3


def test_a_fill_of_full_size_is_not_touched(photo) -> None:
    hole = disk(photo.shape[:2], 100, 100, 20)
    assert np.array_equal(sharpen_fill(photo, hole, photo[::-1]), photo[::-1])


@pytest.mark.parametrize("size", [(5, 7), (1, 40), (64, 9)])
def test_tiny_crops(size, rng) -> None:
    image = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    hole = np.zeros(size, bool)
    hole[0, : max(1, size[1] // 3)] = True
    window, painted = continue_scene(image, hole, lambda small, where: small, max_side_px=4)
    assert painted.shape[:2] == (window[0].stop - window[0].start, window[1].stop - window[1].start)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_repainting_ends_so_on_request_only(photo, dtype) -> None:
    hole = disk(photo.shape[:2], 120, 160, 30)
    image = photo.astype(dtype) * dtype(257 if dtype == np.uint16 else 1)

    def grey(small: np.ndarray, where: np.ndarray) -> np.ndarray:
        return np.where(where[..., None], np.uint8(128), small)

    plain = repaint(image, hole, grey, work_side_px=64)
    ended = repaint(image, hole, grey, work_side_px=64, finish=True)
    assert np.array_equal(plain[~hole], image[~hole]) and np.array_equal(ended[~hole], image[~hole])
    assert ended[hole].std() > 2 * plain[hole].std() and ended.dtype == dtype


def test_the_same_input_gives_the_same_fill(photo) -> None:
    hole = disk(photo.shape[:2], 120, 160, 40)
    small = np.asarray(PIL.Image.fromarray(photo).resize((80, 60)))
    assert np.array_equal(sharpen_fill(photo, hole, small), sharpen_fill(photo, hole, small))
