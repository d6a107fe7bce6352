"""Spatial generalisation augmentation (SGA): labels cut off anywhere teach the converter to follow its mask."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32


@dataclass(frozen=True)
class CutOut:
    """Rule for taking a rectangle out of label and matte; the paper gives the probability alone."""

    probability: float = 0.5
    size_share: tuple[float, float] = (0.1, 0.6)
    """Sides of the rectangle as shares of the label's box, low and high."""
    min_left: float = 0.1
    """Share of the label that stays; otherwise nothing is taken."""


def draw_rectangle(
    label: Bool[np.ndarray, "h w"], settings: CutOut, rng: np.random.Generator
) -> tuple[slice, slice] | None:
    """Rows and columns of a rectangle round a random pixel of the label; None in the cases that are left alone."""
    if rng.random() >= settings.probability or not label.any():
        return None
    ys, xs = np.nonzero(label)
    at = rng.integers(len(ys))
    shares = rng.uniform(*settings.size_share, size=2)
    height = max(1, round(shares[0] * (int(ys[-1]) - int(ys[0]) + 1)))
    width = max(1, round(shares[1] * (int(xs.max()) - int(xs.min()) + 1)))
    top, left = max(0, int(ys[at]) - height // 2), max(0, int(xs[at]) - width // 2)
    window = slice(top, top + height), slice(left, left + width)
    left_over = len(ys) - int(label[window].sum())
    return window if left_over >= settings.min_left * len(ys) else None


def cut_out(
    label: Bool[np.ndarray, "h w"], alpha: Float32[np.ndarray, "h w"], settings: CutOut, rng: np.random.Generator
) -> tuple[Bool[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Take the same rectangle out of label and matte; the image stays as it is (arXiv 2411.00626)."""
    window = draw_rectangle(label, settings, rng)
    if window is None:
        return label, alpha
    label, alpha = label.copy(), alpha.copy()
    label[window], alpha[window] = False, 0
    return label, alpha
