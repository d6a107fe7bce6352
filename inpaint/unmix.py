"""The fringe of a removed object: behind hair and soft edges the real background is recovered, not invented."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core import estimate_foreground, unmix_background

LOW_ALPHA = 0.3
"""Opacity up to which the un-mixed background is taken whole."""
HIGH_ALPHA = 0.7
"""Opacity from which the fill is taken whole."""
CONTEXT_PX = 48
"""Margin round the hole within which colours are estimated [px]."""
CLEAR_ALPHA = 0.1
"""Opacity below which a pixel shows the scene well enough for the guard to take it as a reference."""
NEAR_PX = 7
"""Side of the window in which the guard averages what is suspected [px]."""
FAR_PX = 61
"""Side of the window in which it learns what the scene looks like [px]."""
SEEN = 0.02
"""Deviation of colour, RGB in [0, 1], that is hardly seen on a plain background: it is always forgiven."""
DOUBT = (1.2, 2.0)
"""Strangenesses between which the un-mixed background gives way to the fill."""


def recover_fringe(
    image: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    hole: Bool[np.ndarray, "h w"],
    fill: UInt8[np.ndarray, "h w 3"],
    *,
    low: float = LOW_ALPHA,
    high: float = HIGH_ALPHA,
    guard: bool = True,
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay the un-mixed background over the fill wherever the matte is thin.

    With I = alpha F + (1 - alpha) B known but for F, estimating F gives B = (I - alpha F) / (1 - alpha): the scene
    that shines through the object's edge. Its error grows with alpha, so it gives way to the fill between `low`
    and `high`. Where the matte is wrong, B shows traces of the object: see `strangeness`; there the fill is kept.

    Args:
        image: RGB, with the object.
        alpha: the object's opacity in [0, 1].
        hole: True where the picture is repainted.
        fill: RGB, the picture with the hole filled.
        low: opacity up to which the un-mixed background is taken whole.
        high: opacity from which the fill is taken whole.
        guard: drop the un-mixed background where it still shows the object.

    Returns:
        RGB; outside the hole the picture itself.
    """
    window = _window(hole)
    picture = image[window].astype(np.float32) / np.float32(255.0)
    filled = fill[window].astype(np.float32) / np.float32(255.0)
    opacity = np.where(hole[window], alpha[window], np.float32(0.0)).astype(np.float32)
    layers = estimate_foreground(picture, opacity)
    unmixed = unmix_background(picture, opacity, layers.foreground)
    trust = 1.0 - smoothstep(opacity, low, high)
    if guard:
        trust = trust * (1.0 - smoothstep(strangeness(unmixed, opacity, trust), *DOUBT))
    mixed = filled + trust[..., None] * (unmixed - filled)
    result = image.copy()
    inside = hole[window]
    result[window][inside] = np.clip(np.rint(mixed * 255.0), 0, 255).astype(np.uint8)[inside]
    return result


def strangeness(
    unmixed: Float32[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], trust: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    """Measure how unlike the scene near by an un-mixed background looks.

    A matte that is too thin leaves some of the object, one that is too dense takes away too much: either way the
    recovered colours deviate from those of pixels that hardly needed recovering, outside the object and between its
    hairs, by more than these deviate among themselves. Deviations, root mean square, in a small window are compared
    with those in a large one, along each principal axis of the scene's colours, so that a wrong hue counts even where
    light and shade vary much.

    Args:
        unmixed: recovered background, RGB in [0, 1].
        alpha: the object's opacity in [0, 1].
        trust: how far each pixel of `unmixed` is to be used, in [0, 1].

    Returns:
        The largest of the three ratios, at least 0: about 1 is what the scene shows, 2 a visible trace.
    """
    clear = np.clip(1.0 - alpha / np.float32(CLEAR_ALPHA), 0.0, 1.0)
    scene = _local_mean(unmixed, clear, FAR_PX)
    deviation = unmixed - scene
    sample = deviation[clear > 0.0]
    axes = np.linalg.eigh(sample.T @ sample)[1]
    usual = np.sqrt(_local_mean((deviation @ axes) ** 2, clear, FAR_PX))
    for side_px in (FAR_PX // 2, FAR_PX // 4):  # the nearer, the better a reference, where there is enough of it
        enough = np.minimum(1.0, 4.0 * _local_mean(clear[..., None], np.ones_like(clear), side_px))
        scene += enough * (_local_mean(unmixed, clear, side_px) - scene)
    weight = trust * (1.0 - clear)
    strays = np.sqrt(_local_mean(((unmixed - scene) @ axes) ** 2, weight, NEAR_PX))
    return (strays / (usual + np.float32(SEEN))).max(axis=-1)


def _local_mean(
    values: Float32[np.ndarray, "h w c"], weight: Float32[np.ndarray, "h w"], side_px: int
) -> Float32[np.ndarray, "h w c"]:
    """Weighted mean in a square window; where no pixel of it has weight, the mean of the whole array."""
    from scipy.ndimage import uniform_filter

    overall = (values * weight[..., None]).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
    total = uniform_filter(values * weight[..., None], side_px, mode="nearest", axes=(0, 1))
    mass = uniform_filter(weight, side_px, mode="nearest")[..., None]
    return ((total + 1e-4 * overall) / (mass + 1e-4)).astype(np.float32)


def smoothstep(values: Float32[np.ndarray, "h w"], low: float, high: float) -> Float32[np.ndarray, "h w"]:
    """Rise from 0 at `low` to 1 at `high` by 3t^2 - 2t^3."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _window(hole: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Rows and columns of the hole with a margin of `CONTEXT_PX`."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(0, int(rows[0]) - CONTEXT_PX), int(rows[-1]) + 1 + CONTEXT_PX),
        slice(max(0, int(columns[0]) - CONTEXT_PX), int(columns[-1]) + 1 + CONTEXT_PX),
    )
