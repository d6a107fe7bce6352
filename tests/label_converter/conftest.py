"""A library of invented photographs and cut-outs, and a converter small enough for tests."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from zim_plugins.label_converter.backbone import TinyBackboneConfig
from zim_plugins.label_converter.network import ConverterConfig
from zim_plugins.training.library import Cutout, Library, Photo


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


@pytest.fixture(scope="session")
def library() -> Library:
    photos = [invented_photo(i) for i in range(4)]
    soft = Image.fromarray(photos[0].masks[0]).filter(ImageFilter.GaussianBlur(4))
    rgba = np.dstack([photos[0].rgb, np.asarray(soft)])[10:90, 20:100]
    return Library(photos, [Cutout("soft", rgba, rigid=False), Cutout("rigid", rgba, rigid=True)], [photos[3].rgb])


@pytest.fixture(scope="session")
def small_config() -> ConverterConfig:
    return ConverterConfig(
        TinyBackboneConfig((16, 16, 24, 32, 32)),
        context_channels=32,
        dilations=(1, 2),
        decoder_channels=(32, 24, 16, 16, 16),
        head_channels=16,
    )
