"""Fixtures of all tests: real data where it is at hand, a fake predictor where it is not."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import install_import_hook

# Shape strings are law here: what the packages declare of their arrays is checked at every call.
install_import_hook(
    ["zim_plugins", "nerf_seg", "inpaint", "medical"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

from zim_plugins.core.prediction import Prediction  # noqa: E402
from zim_plugins.core.prompt import Prompt  # noqa: E402


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real images with real mattes; tests that use it are skipped where it is absent."""
    root = Path(os.environ.get("ZIM_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"real test data not found at {root} (set ZIM_TEST_DATA)")
    return root


def soft_disk(size: tuple[int, int], centre: tuple[float, float], radius_px: float, soft_px: float = 2.0) -> np.ndarray:
    """An antialiased disk whose alpha is known in closed form, float32 (h, w) in [0, 1]."""
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    distance = np.hypot(xs - centre[0], ys - centre[1])
    return np.clip((radius_px - distance) / soft_px + 0.5, 0.0, 1.0).astype(np.float32)


class FakePredictor:
    """Answers with a soft disk round the first click, or in the box: a Predictor without weights."""

    name = "fake"

    def __init__(self, radius_px: float = 20.0) -> None:
        self.radius_px = radius_px
        self.size: tuple[int, int] | None = None

    def set_image(self, image: np.ndarray) -> None:
        self.size = image.shape[:2]

    def predict(self, prompt: Prompt) -> Prediction:
        assert self.size is not None
        prompt.check_inside(self.size)
        radius = self.radius_px
        if prompt.box is not None:
            x1, y1, x2, y2 = prompt.box
            centre, radius = ((x1 + x2) / 2, (y1 + y2) / 2), min(x2 - x1, y2 - y1) / 2
        else:
            assert prompt.points is not None and prompt.labels is not None
            centre = tuple(prompt.points[prompt.labels == 1][0])
        alpha = soft_disk(self.size, centre, radius)
        return Prediction(alphas=alpha[None], scores=np.array([0.9], dtype=np.float32))

    def predict_many(self, prompts: list[Prompt]) -> list[Prediction]:
        return [self.predict(p) for p in prompts]


@pytest.fixture
def fake_predictor() -> FakePredictor:
    return FakePredictor()


@pytest.fixture(autouse=True)
def _leave_logging_alone() -> Iterator[None]:
    """The commands set up logging; what they did ends with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
