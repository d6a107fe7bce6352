"""One matrix for all fillers, and the register that finds them by name."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inpaint.inpainters.base import FillSettings, Inpainter, as_guided
from inpaint.inpainters.registry import choose_backend, load_inpainter
from tests.inpaint.tiny_models import save_lama
from zim_plugins.core import MissingExtra, UnsupportedPrompt

PACKAGES = {"patchmatch": "patchmatch", "cv2": "cv2"}
"""Import names of the fillers that need no weights."""


@pytest.fixture(autouse=True)
def _no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAMA_MODEL", "LAMA_MODEL_URL", "LAMA_MODEL_MD5"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture(params=["patchmatch", "cv2", "lama", "lama-cleaner"])
def inpainter(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inpainter:
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param])
    else:
        if request.param == "lama-cleaner" and importlib.util.find_spec("lama_cleaner") is None:
            pytest.skip("lama-cleaner is not installed (pip install --no-deps lama-cleaner==1.2.5)")
        monkeypatch.setenv("LAMA_MODEL", str(save_lama(tmp_path / "tiny.pt")))
    return load_inpainter(request.param, device="cpu")


def stripes(size: tuple[int, int]) -> np.ndarray:
    """A texture that a filler can continue: vertical stripes, period 8 px."""
    wave = 128 + 90 * np.sin(2 * np.pi * np.arange(size[1]) / 8)
    return np.broadcast_to(wave[None, :, None], (*size, 3)).astype(np.uint8).copy()


def test_keeps_the_known_and_fills_the_hole(inpainter: Inpainter) -> None:
    assert isinstance(inpainter, Inpainter)
    image = stripes((96, 128))
    hole = np.zeros((96, 128), bool)
    hole[40:56, 50:70] = True
    spoiled = image.copy()
    spoiled[hole] = (255, 0, 255)
    before = spoiled.copy()
    filled = inpainter.fill(spoiled, hole)
    assert np.array_equal(spoiled, before)
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
def test_tiny_images(inpainter: Inpainter, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 77, np.uint8)
    hole = np.zeros(size, bool)
    hole[0, 0] = True
    image[0, 0] = 255
    filled = inpainter.fill(image, hole)
    assert np.array_equal(filled[~hole], image[~hole])


def test_a_hole_over_everything_is_refused(inpainter: Inpainter) -> None:
    with pytest.raises(ValueError, match="whole image"):
        inpainter.fill(np.zeros((16, 16, 3), np.uint8), np.ones((16, 16), bool))


def test_a_text_is_refused_with_the_remedy(inpainter: Inpainter) -> None:
    with pytest.raises(UnsupportedPrompt, match=rf"{inpainter.name} takes no text.*--backend sd15"):
        as_guided(inpainter)


def test_patchmatch_continues_a_texture() -> None:
    pytest.importorskip("patchmatch")
    image = stripes((96, 128))
    hole = np.zeros((96, 128), bool)
    hole[36:60, 50:78] = True
    filled = load_inpainter("patchmatch").fill(np.where(hole[..., None], np.uint8(0), image), hole)
    assert np.abs(filled[hole].astype(float) - image[hole]).mean() < 8


@pytest.mark.parametrize("name", ["lamma", "sdxl+lama", "auto+sdxl", "patchmatch+cv2", "/no/such/folder", "ftp://host"])
def test_unknown_names_are_refused_with_the_list(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"'{name}'.*lama, lama-cleaner, patchmatch, cv2, sd15.*http://".replace("+", r"\+")
    ):
        load_inpainter(name)


@pytest.mark.parametrize("name", ["lama", "http://127.0.0.1:8080", "sdxl", "patchmatch+flux-fill", "lama+sd15"])
def test_names_are_known_before_anything_is_loaded(name: str) -> None:
    assert choose_backend(name) == (name, "as asked")


def test_auto_takes_lama_where_its_weights_are(tmp_path: Path) -> None:
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    path = save_lama(tmp_path / "hub" / "checkpoints" / "big-lama.pt")
    assert choose_backend("auto") == ("lama", f"its weights are at {path}")


def test_auto_takes_the_next_best_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    missing: set[str] = set()
    monkeypatch.setattr(
        "inpaint.inpainters.registry.find_spec", lambda name: None if name in missing else found("json")
    )
    name, reason = choose_backend("auto")
    assert name == "patchmatch" and "--download lama" in reason
    missing.add("patchmatch")
    name, reason = choose_backend("auto")
    assert name == "cv2" and "zim-plugins[inpaint]" in reason
    missing.add("cv2")
    assert choose_backend("auto")[0] == "patchmatch"  # whose absence names the remedy


@pytest.mark.parametrize(
    ("name", "package", "remedy"),
    [
        ("patchmatch", "patchmatch", r"pip install 'zim-plugins\[inpaint\]'"),
        ("cv2", "cv2", r"pip install 'zim-plugins\[evaluate\]'"),
        ("lama-cleaner", "lama_cleaner", r"pip install --no-deps lama-cleaner==1\.2\.5.*server"),
        ("sdxl", "diffusers", r"pip install 'zim-plugins\[diffusion\]'"),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(
    name: str, package: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=remedy) as raised:
        load_inpainter(name, device="cpu")
    assert name == "lama-cleaner" or isinstance(raised.value, MissingExtra)


@pytest.mark.parametrize(
    ("given", "match"),
    [({"steps": 0}, "steps"), ({"strength": 0.0}, r"\(0, 1\]"), ({"strength": 1.1}, "1.1"), ({"guidance": -1.0}, "-1")],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        FillSettings(**given)


def test_settings_that_a_filler_cannot_follow_are_refused() -> None:
    pytest.importorskip("cv2")
    load_inpainter("cv2", settings=FillSettings(seed=3))  # it knows no chance
    with pytest.raises(UnsupportedPrompt, match="cv2 takes no negative_prompt, steps"):
        load_inpainter("cv2", settings=FillSettings(negative_prompt="fog", steps=3))
