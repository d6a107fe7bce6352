"""Small scans of known content."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medical.cli import main
from tests.conftest import FakePredictor
from zim_plugins.cli.runtime import run as command


@pytest.fixture
def medical_data(test_data: Path) -> Path:
    """Folder of real medical images with masks."""
    root = test_data / "medical"
    if not root.is_dir():
        pytest.skip(f"no medical data at {root}")
    return root


def blob(size: tuple[int, int], rng: np.random.Generator, threshold: float = 0.62) -> np.ndarray:
    """A random mask (h, w) of a few smooth components, never empty."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.random(size), rng.uniform(1.0, 4.0))
    noise = (noise - noise.min()) / (np.ptp(noise) + 1e-9)
    mask = noise > threshold
    if not mask.any():
        mask[tuple(int(rng.integers(side)) for side in size)] = True
    return mask


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    """Write an image for a test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def folder_set(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A plain folder of 7 images (40 x 56) with one bright, off-centre disk each, and its mask."""
    root = tmp_path / "hospital" / "plain"
    ys, xs = np.mgrid[:40, :56]
    for i in range(7):
        mask = np.hypot(xs - 14 - 4 * i, ys - 18) < 8 + (i % 3)
        grey = np.clip(60 + 120 * mask + rng.normal(0, 6, mask.shape), 0, 255).astype(np.uint8)
        save(root / "images" / f"Doe_Jane_{i}.png", grey)
        save(root / "masks" / f"Doe_Jane_{i}.png", mask.astype(np.uint8) * 255)
    return root


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """`zim-medseg` with a fake predictor in place of every checkpoint."""
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: FakePredictor(9.0))
    return lambda args: command(main, args, package="medical")


@pytest.fixture
def medical_cases(test_data: Path) -> Path:
    """Folder of faulty inputs beside the test data; tests that need it have a twin that makes its own."""
    root = test_data.parent / "cases" / "medical"
    if not root.is_dir():
        pytest.skip(f"no faulty inputs at {root}")
    return root
