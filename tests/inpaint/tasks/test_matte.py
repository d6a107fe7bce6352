"""Objects of a target, united; the hole in large images."""

import numpy as np
import pytest

from inpaint.pixels.hole import EmptyMatte, matte_hole
from inpaint.tasks.matte import hole_of, matte_of
from zim_plugins.core import Prompt


def test_the_union_of_two_mattes_is_what_both_let_through(rng) -> None:
    image = np.zeros((8, 9, 3), np.uint8)
    a, b = (rng.random((8, 9)).astype(np.float32) for _ in range(2))
    assert np.allclose(matte_of(image, [a, b]), 1 - (1 - a) * (1 - b), atol=1e-6)
    assert np.array_equal(matte_of(image, a), a)


def test_two_prompts_and_a_mask_are_united_and_the_image_is_set_once(fake_predictor) -> None:
    image = np.zeros((60, 200, 3), np.uint16)
    seen = []
    fake_predictor.set_image, set_image = lambda im: (seen.append(im.dtype), set_image(im)), fake_predictor.set_image
    mask = np.zeros((60, 200), np.float32)
    mask[:3, :3] = 1
    alpha = matte_of(image, [Prompt.from_point(40, 30), Prompt.from_point(150, 30), mask], fake_predictor)
    assert alpha[30, 40] == alpha[30, 150] == alpha[0, 0] == 1 and alpha[30, 95] == 0
    assert seen == [np.uint8]


def test_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="no object"):
        matte_of(np.zeros((4, 4, 3), np.uint8), [])


@pytest.mark.parametrize("corner", [(0, 0), (70, 90), (35, 10)])
def test_the_hole_of_a_window_is_the_hole_of_the_image(corner, rng) -> None:
    alpha = np.zeros((100, 120), np.float32)
    y, x = corner
    alpha[y : y + 30, x : x + 30] = rng.random((30, 30))
    assert np.array_equal(hole_of(alpha, grow_px=3), matte_hole(alpha, grow_px=3))


def test_an_empty_matte_is_refused() -> None:
    with pytest.raises(EmptyMatte):
        hole_of(np.zeros((9, 9), np.float32))
