"""The guided filter against a slow reading of He et al. 2010, window by window."""

import numpy as np
import pytest

from zim_plugins.imaging.guided_filter import GuidedFilter


def slow(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Equations 14 to 16 with windows that repeat the border's pixels."""
    pad = ((radius, radius), (radius, radius))
    wide_guide, wide_values = np.pad(guide, (*pad, (0, 0)), mode="edge"), np.pad(values, pad, mode="edge")
    h, w, side = *values.shape, 2 * radius + 1
    slope, offset = np.zeros((h, w, 3)), np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            colours = wide_guide[y : y + side, x : x + side].reshape(-1, 3)
            opacity = wide_values[y : y + side, x : x + side].reshape(-1)
            covariance = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
            joint = (colours * opacity[:, None]).mean(0) - colours.mean(0) * opacity.mean()
            slope[y, x] = np.linalg.solve(covariance, joint)
            offset[y, x] = opacity.mean() - slope[y, x] @ colours.mean(0)
    wide_slope, wide_offset = np.pad(slope, (*pad, (0, 0)), mode="edge"), np.pad(offset, pad, mode="edge")
    out = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            window = np.s_[y : y + side, x : x + side]
            out[y, x] = wide_slope[window].mean((0, 1)) @ guide[y, x] + wide_offset[window].mean()
    return out


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 1e-2), (3, 1e-3)])
def test_equals_the_slow_reading(radius: int, epsilon: float) -> None:
    rng = np.random.default_rng(0)
    guide, values = rng.random((13, 17, 3), dtype=np.float32), rng.random((13, 17), dtype=np.float32)
    found = GuidedFilter(guide, radius, epsilon)(values)
    np.testing.assert_allclose(found, slow(guide, values, radius, epsilon), atol=2e-4)


def test_what_is_linear_in_colour_comes_back_at_any_size() -> None:
    rng = np.random.default_rng(1)
    coarse = rng.random((6, 8, 3))
    large = np.kron(coarse, np.ones((8, 8, 1))).astype(np.float32)
    small = large[4::8, 4::8].copy()
    slope = np.array([0.3, -0.2, 0.5], dtype=np.float32)
    found = GuidedFilter(small, 2, 1e-7).enlarged(small @ slope + 0.1, large)
    np.testing.assert_allclose(found, large @ slope + 0.1, atol=2e-3)
