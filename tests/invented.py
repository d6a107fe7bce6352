"""Invented photographs, so that training is tested without data."""

import numpy as np
from PIL import Image, ImageDraw

from zim_plugins.training.samples.library import Photo


def invented_photo(seed: int, size: tuple[int, int] = (96, 128)) -> Photo:
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    mask = Image.new("L", size[::-1])
    ImageDraw.Draw(mask).ellipse([30, 20, 90, 80], fill=255)
    rgb = np.where(np.asarray(mask)[..., None] > 0, rng.integers(0, 255, 3), np.asarray(noise)).astype(np.uint8)
    labels = 1 + (np.asarray(mask) > 0).astype(np.uint8)
    return Photo(f"photo{seed}", rgb, masks=(np.asarray(mask),), segments=(labels,))
