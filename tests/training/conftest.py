"""A library of invented photographs, so that training is tested without data."""

import numpy as np
import pytest

from tests.invented import invented_photo
from zim_plugins.training.samples.library import Cutout, Library


@pytest.fixture(scope="session")
def library() -> Library:
    photos = [invented_photo(i) for i in range(4)]
    rgba = np.dstack([photos[0].rgb, photos[0].masks[0]])[20:80, 30:90]
    return Library(photos, [Cutout("soft", rgba, rigid=False), Cutout("rigid", rgba, rigid=True)], [photos[3].rgb])
