"""The shape checks that conftest switches on really check."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from zim_plugins.core.overlay import draw_overlay
from zim_plugins.core.prediction import Prediction


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((4, 5), np.uint8),  # no channels
        np.zeros((4, 5, 3), np.float32),  # no 8 bits
        np.zeros((5, 4, 3), np.uint8),  # another size than the matte
    ],
)
def test_wrong_shape_fails(rgb):
    with pytest.raises(TypeCheckError):
        draw_overlay(rgb, np.zeros((4, 5), np.float32))


def test_wrong_field_fails():
    with pytest.raises(TypeCheckError):
        Prediction(alphas=np.zeros((1, 4, 5), np.float64), scores=np.zeros(1, np.float32))


def test_right_shape_passes():
    assert draw_overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.float32)).shape == (4, 5, 3)
