"""One convention of ranges at every door: what is taken, as what it goes on, what is refused and in which words."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import soft_disk
from zim_plugins.imaging.foreground import composite, estimate_foreground, foreground_colours, unmix_background
from zim_plugins.imaging.ranges import OVERSHOOT, as_array, check_image, to_alpha, to_uint8, to_unit

SIZE = (24, 30)


@pytest.fixture
def bytes_image(rng) -> np.ndarray:
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def alpha() -> np.ndarray:
    return soft_disk(SIZE, (15, 12), 8, 6.0)


def test_foreground_of_bytes_is_that_of_floats(bytes_image, alpha):
    floats = bytes_image / np.float32(255)
    expected = estimate_foreground(floats, alpha)
    for image in (bytes_image, bytes_image.astype(np.uint16) * 257, floats.astype(np.float64)):
        found = estimate_foreground(image, alpha)
        for layer, wanted in zip(found, expected, strict=True):
            assert layer.dtype == np.float32
            np.testing.assert_allclose(layer, wanted, atol=1e-6)
    assert abs(255 * expected.foreground.mean() - bytes_image.mean()) < 20
    np.testing.assert_array_equal(estimate_foreground(bytes_image, alpha).foreground, expected.foreground)


def test_mattes_of_every_type_mean_the_same(bytes_image, alpha):
    eighths = np.round(alpha * 255).astype(np.uint8)
    floats = eighths / np.float32(255)
    others = (eighths, eighths.astype(np.uint16) * 257, floats.astype(np.float64))
    for call in (
        lambda a: estimate_foreground(bytes_image, a).foreground,
        lambda a: foreground_colours(bytes_image, a),
        lambda a: composite(bytes_image, a, bytes_image[::-1].copy()),
        lambda a: unmix_background(bytes_image, a, bytes_image[::-1].copy()),
    ):
        for other in others:
            np.testing.assert_allclose(call(other), call(floats), atol=1e-6)
    hard = alpha > 0.5
    np.testing.assert_array_equal(to_alpha(hard), hard.astype(np.float32))


def test_valid_floats_pass_untouched(rng):
    image, alpha = rng.random((*SIZE, 3), dtype=np.float32), rng.random(SIZE, dtype=np.float32)
    assert to_unit(image) is image
    assert to_alpha(alpha) is alpha
    assert not np.shares_memory(to_alpha(alpha, copy=True), alpha)


def test_images_become_bytes_by_rounding(bytes_image):
    assert to_uint8(bytes_image) is bytes_image
    assert not np.shares_memory(to_uint8(bytes_image, copy=True), bytes_image)
    np.testing.assert_array_equal(to_uint8(bytes_image / 255.0), bytes_image)
    np.testing.assert_array_equal(to_uint8(bytes_image.astype(np.uint16) * 257), bytes_image)
    sixteen = np.arange(65536, dtype=np.uint16).reshape(128, 512)[..., None].repeat(3, 2)
    np.testing.assert_array_equal(to_uint8(sixteen), np.round(sixteen / 257).astype(np.uint8))
    every_other = bytes_image[:, ::-2]
    assert to_uint8(every_other, copy=True).flags.c_contiguous


def test_the_limit_of_overshoot():
    inside, outside = np.full((*SIZE, 3), 1 + 0.9 * OVERSHOOT), np.full((*SIZE, 3), 1 + 1.1 * OVERSHOOT)
    assert to_unit(inside).max() == 1
    assert to_unit(-0.9 * OVERSHOOT * np.ones((*SIZE, 3))).min() == 0
    with pytest.raises(ValueError, match="0, 1"):
        to_unit(outside)
    with pytest.raises(ValueError, match="0, 1"):
        to_alpha(-1.1 * OVERSHOOT * np.ones(SIZE))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 5)), r"np.repeat\(grey"),
        (np.zeros((4, 5, 4), np.uint8), r"drop the opacity"),
        (np.zeros((3, 4, 5), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((0, 5, 3), np.uint8), r"got \(0, 5, 3\)"),
        (np.zeros((4, 5, 3), np.int64), r"int64.*astype\(np.uint8\)"),
        (np.zeros((4, 5, 3), bool), "bool"),
        (np.zeros((4, 5, 3), complex), "complex128"),
        (np.full((4, 5, 3), 200.0), "divide by 255"),
        (np.full((4, 5, 3), -2.0), "bring them there"),
        (np.full((4, 5, 3), np.nan), "NaN"),
        (np.full((4, 5, 3), np.inf), "infinite"),
        (np.full((4, 5, 3), "x"), "str"),
        (np.full((4, 5, 3), None), "object"),
    ],
)
def test_images_are_refused_in_one_line(image, words):
    with pytest.raises(ValueError, match=words) as caught:
        check_image(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (None, "NoneType"),
        ("x.jpg", r"read_image\(path\)"),
        (b"abc", r"read_image\(path\)"),
        (Path("x.jpg"), r"read_image\(path\)"),
        ([[1, 2]], "np.asarray"),
        (3.5, "float"),
    ],
)
def test_what_is_no_array_is_told_the_remedy(thing, words):
    with pytest.raises(TypeError, match=words):
        as_array(thing, "image")


def test_pillow_images_and_tensors():
    import torch
    from PIL import Image

    with pytest.raises(TypeError, match="convert"):
        as_array(Image.new("RGB", (4, 5)), "image")
    weights = torch.ones(4, 5, requires_grad=True)
    np.testing.assert_array_equal(to_alpha(weights), np.ones((4, 5), np.float32))


def test_sizes_must_agree(bytes_image, alpha):
    for call in (
        lambda: estimate_foreground(bytes_image, alpha[1:]),
        lambda: foreground_colours(bytes_image, alpha[1:]),
        lambda: composite(bytes_image, alpha[1:], bytes_image),
        lambda: composite(bytes_image, alpha, bytes_image[1:]),
        lambda: unmix_background(bytes_image, alpha, bytes_image[:, 1:]),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()
