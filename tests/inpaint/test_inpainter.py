"""Every filler of the register, through the same cases."""

import importlib.util
import sys

import numpy as np
import pytest

from inpaint.inpainter import Inpainter, choose_backend, inpainter_names, load_inpainter
from zim_plugins.core import MissingExtra

PACKAGES = {"patchmatch": "patchmatch", "cv2": "cv2"}


@pytest.fixture(params=inpainter_names())
def inpainter(request: pytest.FixtureRequest) -> Inpainter:
    pytest.importorskip(PACKAGES[request.param])
    return load_inpainter(request.param)


def stripes(size: tuple[int, int]) -> np.ndarray:
    """A texture that a filler can continue: vertical stripes, period 8 px."""
    wave = 128 + 90 * np.sin(2 * np.pi * np.arange(size[1]) / 8)
    return np.broadcast_to(wave[None, :, None], (*size, 3)).astype(np.uint8).copy()


def test_keeps_the_known_and_fills_the_hole(inpainter: Inpainter) -> None:
    image = stripes((96, 128))
    hole = np.zeros((96, 128), bool)
    hole[40:56, 50:70] = True
    spoiled = image.copy()
    spoiled[hole] = (255, 0, 255)
    filled = inpainter.fill(spoiled, hole)
    assert filled.dtype == np.uint8 and filled.shape == image.shape
    assert np.array_equal(filled[~hole], image[~hole])
    misfit = np.abs(filled[hole].astype(float) - image[hole]).mean()
    assert misfit < np.abs(spoiled[hole].astype(float) - image[hole]).mean() / 2


def test_same_input_same_fill(inpainter: Inpainter, rng: np.random.Generator) -> None:
    image = rng.integers(0, 255, (80, 90, 3), dtype=np.uint8)
    hole = np.zeros((80, 90), bool)
    hole[30:50, 30:50] = True
    first = inpainter.fill(image, hole)
    np.random.default_rng().random()
    inpainter.fill(image[::-1].copy(), hole)  # another fill in between must not matter
    assert np.array_equal(inpainter.fill(image, hole), first)


@pytest.mark.parametrize("size", [(1, 4), (5, 5), (3, 200)])
def test_tiny_pictures(inpainter: Inpainter, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 77, np.uint8)
    hole = np.zeros(size, bool)
    hole[0, 0] = True
    image[0, 0] = 255
    filled = inpainter.fill(image, hole)
    assert np.array_equal(filled[~hole], image[~hole])


def test_a_hole_over_everything_is_refused(inpainter: Inpainter) -> None:
    with pytest.raises(ValueError, match="whole picture"):
        inpainter.fill(np.zeros((16, 16, 3), np.uint8), np.ones((16, 16), bool))


def test_patchmatch_continues_a_texture() -> None:
    pytest.importorskip("patchmatch")
    image = stripes((96, 128))
    hole = np.zeros((96, 128), bool)
    hole[36:60, 50:78] = True
    filled = load_inpainter("patchmatch").fill(np.where(hole[..., None], np.uint8(0), image), hole)
    assert np.abs(filled[hole].astype(float) - image[hole]).mean() < 8


def test_unknown_names_are_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"'lama'.*patchmatch, cv2"):
        load_inpainter("lama")


def test_auto_takes_the_next_best_where_patchmatch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("inpaint.inpainter.find_spec", lambda name: None if name == "patchmatch" else found("json"))
    name, reason = choose_backend("auto")
    assert name == "cv2" and "zim-plugins[inpaint]" in reason


@pytest.mark.parametrize("name", inpainter_names())
def test_a_missing_package_is_named_with_its_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    with pytest.raises(MissingExtra, match=r"pip install 'zim-plugins\[inpaint\]'"):
        load_inpainter(name)
