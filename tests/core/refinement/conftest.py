"""A scene that refiners are tried on."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """An image and a soft disk on it."""
    ys, xs = np.mgrid[:150, :210]
    image = (np.stack([np.sin(xs / 9), np.cos(ys / 7), np.sin((xs + ys) / 5)], -1) * 100 + 128).astype(np.uint8)
    alpha = np.clip((45 - np.hypot(xs - 90, ys - 70)) / 6 + 0.5, 0, 1).astype(np.float32)
    return image, alpha
