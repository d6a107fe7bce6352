"""Scenes of known truth: an object with a hairy edge over a clean background."""

from dataclasses import dataclass

import numpy as np
import PIL.Image
import pytest

from zim_plugins.core import composite


@dataclass(frozen=True, eq=False)
class Scene:
    """A composite and what it was made of; uint8 RGB images, alpha float32 in [0, 1]."""

    image: np.ndarray
    alpha: np.ndarray
    background: np.ndarray


@pytest.fixture
def scene(rng: np.random.Generator) -> Scene:
    """A reddish disk with hair standing off its edge, over a smooth, slightly grainy background, 128 x 160 px."""
    height, width = 128, 160
    coarse = (rng.random((4, 5, 3)) * 120 + 80).astype(np.uint8)
    background = np.asarray(PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC))
    background = np.clip(background + rng.normal(0, 3, background.shape), 0, 255).round().astype(np.uint8)
    ys, xs = np.mgrid[:height, :width] + 0.5
    distance, angle = np.hypot(xs - 80, ys - 64), np.arctan2(ys - 64, xs - 80)
    body = np.clip((22 - distance) / 3 + 0.5, 0, 1)
    hair = 0.8 * (0.5 + 0.5 * np.sin(60 * angle)) * np.clip((42 - distance) / 20, 0, 1)
    alpha = np.maximum(body, hair).astype(np.float32)
    foreground = np.broadcast_to(np.array([0.75, 0.1, 0.15], np.float32), (height, width, 3))
    mixed = composite(foreground, alpha, background.astype(np.float32) / 255)
    return Scene(np.rint(mixed * 255).astype(np.uint8), alpha, background)
