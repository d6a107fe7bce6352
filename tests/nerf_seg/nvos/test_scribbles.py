"""Clicks from scribbles: on the skeleton, as many as asked for, the same for the same seed."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from scipy import ndimage

from nerf_seg.nvos.datasets import LabelError, Scribbles
from nerf_seg.nvos.scribbles import NEGATIVE_SHARE, POSITIVE_SHARE, scribble_prompt, thin


def stroke(size: tuple[int, int], corners: list[tuple[int, int]], width: int = 9) -> np.ndarray:
    canvas = PIL.Image.new("L", size[::-1])
    PIL.ImageDraw.Draw(canvas).line(corners, fill=255, width=width)
    return np.asarray(canvas) > 0


@pytest.fixture
def scribbles(tmp_path: Path) -> Scribbles:
    size = (300, 400)
    for name, corners in (("pos", [(40, 40), (200, 60), (260, 200)]), ("neg", [(20, 280), (380, 250)])):
        PIL.Image.fromarray(stroke(size, corners)).save(tmp_path / f"{name}_0.png")
    return Scribbles((tmp_path / "pos_0.png",), (tmp_path / "neg_0.png",))


def test_thinning_keeps_the_share_on_the_middle_line():
    drawn = stroke((2000, 2000), [(100, 150), (1900, 1700)], width=15)
    depth = ndimage.distance_transform_edt(drawn)
    counts = []
    for seed in range(20):
        points = thin(drawn, POSITIVE_SHARE, np.random.default_rng(seed))
        counts.append(len(points))
        columns, rows = (points - 0.5).astype(int).T
        assert (depth[rows, columns] > 4).all()  # a stroke of 15 px: its middle is 7 from the edge
    length = 1800  # pixels of an 8-connected line
    assert np.mean(counts) == pytest.approx(POSITIVE_SHARE * length, rel=0.15)


def test_a_dot_still_counts():
    drawn = np.zeros((9, 9), dtype=bool)
    drawn[3:6, 4:7] = True
    np.testing.assert_allclose(thin(drawn, NEGATIVE_SHARE, np.random.default_rng(0)), [[5.5, 4.5]], atol=1)
    assert thin(np.zeros((9, 9), dtype=bool), 0.5, np.random.default_rng(0)).shape == (0, 2)


def test_prompt_is_scaled_and_labelled(scribbles):
    prompt = scribble_prompt(scribbles, (75, 100), seed=0)
    assert prompt.points is not None and prompt.labels is not None
    positive, negative = prompt.points[prompt.labels == 1], prompt.points[prompt.labels == 0]
    assert len(positive) and len(negative)
    assert (positive[:, 1] < 52).all() and (positive[:, 0] < 68).all()
    assert (negative[:, 1] > 60).all()
    prompt.check_inside((75, 100))


def test_seeds(scribbles):
    first, again, other = (scribble_prompt(scribbles, (75, 100), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.points, again.points)
    assert first.points.shape != other.points.shape or not np.allclose(first.points, other.points)


def test_another_shape_is_refused(scribbles):
    with pytest.raises(LabelError, match=r"pos_0\.png is 400x300 px, its view 100x100: they are not of one shape"):
        scribble_prompt(scribbles, (100, 100), seed=0)
    scribble_prompt(scribbles, (75, 101), seed=0)  # a column of pixels is no other shape


def test_several_strokes_are_one(tmp_path, scribbles):
    both = Scribbles((*scribbles.positive, *scribbles.negative), scribbles.negative)
    points = scribble_prompt(both, (300, 400), seed=3).points
    assert points is not None and (points[:, 1] > 240).any() and (points[:, 1] < 210).any()
    PIL.Image.new("L", (10, 10)).save(tmp_path / "pos_1.png")
    with pytest.raises(LabelError, match="are of different sizes"):
        scribble_prompt(Scribbles((*scribbles.positive, tmp_path / "pos_1.png"), scribbles.negative), (75, 100), 0)


def test_nothing_drawn(tmp_path, scribbles):
    PIL.Image.new("RGB", (400, 300)).save(tmp_path / "pos_0.png")
    with pytest.raises(LabelError, match=r"pos_0\.png is empty"):
        scribble_prompt(scribbles, (75, 100), seed=0)
