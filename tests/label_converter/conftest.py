"""A library of invented photographs and cut-outs, and a converter small enough for tests."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.invented import invented_photo
from zim_plugins.label_converter.backbone import TinyBackboneConfig
from zim_plugins.label_converter.network import ConverterConfig
from zim_plugins.training.samples.library import Cutout, Library


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
