"""From the coordinates of training back to the capture's."""

import numpy as np

from nerf_seg.export.placement import Placement


def test_the_capture_is_where_it_was() -> None:
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    placement = Placement(rotation, np.array([1.0, -2.0, 0.5]), 0.3)
    places = np.random.default_rng(0).normal(size=(20, 3))
    trained = 0.3 * (places @ rotation.T + [1.0, -2.0, 0.5])
    np.testing.assert_allclose(placement.to_capture(trained), places, atol=1e-12)
    np.testing.assert_allclose(placement.turned_to_capture(places @ rotation.T), places, atol=1e-12)
    assert np.array_equal(Placement.none().to_capture(places), places)
