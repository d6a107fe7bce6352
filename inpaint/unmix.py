"""The fringe of a removed object: behind hair and soft edges the real background is recovered, not invented."""

import numpy as np
from jaxtyping import Bool, Float32, UInt

from zim_plugins.core import estimate_foreground, unmix_background

CONTEXT_PX = 48
"""Margin round the hole within which colours are estimated [px]."""
CLEAR_ALPHA = 0.1
"""Opacity below which a pixel shows the scene well enough to be a reference for it."""
SOLID_ALPHA = 0.95
"""Opacity above which a pixel shows the object's own colours."""
OPAQUE_ALPHA = 0.98
"""Opacity from which nothing of the scene can be told: there the fill is taken whole."""
NEAR_PX, MIDDLE_PX, FAR_PX = 7, 31, 61
"""Sides of the windows [px] that average what is suspected, the object's colours, and what the scene looks like."""
FILL_ERROR = 4.0
"""Squared error of a fill, in units of the scene's variance: it seldom guesses right."""
FOREGROUND_ERROR = 0.3
"""Squared error of the estimated foreground, in units of the variance of the object's colours near by."""
MATTE_ERROR = 0.1
"""Error of an opacity that is neither near 0 nor near 1."""
PIXEL_ERROR = 2 / 255
"""Noise of a pixel, RGB in [0, 1]."""
SEEN = 0.02
"""Deviation of colour, RGB in [0, 1], that is hardly seen on a plain background: it is always forgiven."""
FORGIVEN, DOUBT = 2.0, 0.25
"""Strangeness that is forgiven, and how much its excess, squared, counts against the un-mixed background."""


def recover_fringe(
    image: UInt[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    hole: Bool[np.ndarray, "h w"],
    fill: UInt[np.ndarray, "h w 3"],
    *,
    guard: bool = True,
) -> UInt[np.ndarray, "h w 3"]:
    """Lay the un-mixed background over the fill wherever it is the better guess.

    With I = alpha F + (1 - alpha) B known but for F, estimating F gives B = (I - alpha F) / (1 - alpha): the scene
    that shines through the object's edge. It and the fill are averaged by their precisions, see `trust_in_unmixing`.
    Where the matte is wrong, B shows traces of the object, see `strangeness`: that counts against it.

    Args:
        image: RGB, with the object, of 8 or 16 bits.
        alpha: the object's opacity in [0, 1].
        hole: True where the picture is repainted.
        fill: RGB, the picture with the hole filled, of 8 or 16 bits.
        guard: mind traces of the object.

    Returns:
        RGB of the picture's own depth; outside the hole the picture itself.
    """
    window = _window(hole)
    picture, filled = _unit_range(image[window]), _unit_range(fill[window])
    opacity = np.where(hole[window], alpha[window], np.float32(0.0)).astype(np.float32)
    foreground = estimate_foreground(picture, opacity).foreground
    unmixed = unmix_background(picture, opacity, foreground)
    trust = trust_in_unmixing(picture, opacity, foreground)
    if guard:
        excess = np.maximum(0.0, strangeness(unmixed, opacity, trust) ** 2 - FORGIVEN**2)
        trust = trust / (1.0 + DOUBT * excess * trust)
    mixed = filled + trust[..., None] * (unmixed - filled)
    result = image.copy()
    inside = hole[window]
    highest = np.iinfo(image.dtype).max
    result[window][inside] = np.clip(np.rint(mixed[inside] * highest), 0, highest).astype(image.dtype)
    return result


def trust_in_unmixing(
    picture: Float32[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    foreground: Float32[np.ndarray, "h w 3"],
) -> Float32[np.ndarray, "h w"]:
    """Weigh the un-mixed background against a fill by what errors of each are to be expected.

    To first order, B = (I - alpha F) / (1 - alpha) errs by alpha dF / (1 - alpha), by dalpha (F - B) / (1 - alpha) and
    by dI / (1 - alpha): much where the object is dense, motley, or unlike the scene. A fill errs by about the scene's
    own variety: little before a plain wall, much before foliage. The weight is that of least expected squared error.

    Args:
        picture: RGB in [0, 1].
        alpha: opacity in [0, 1].
        foreground: RGB in [0, 1].

    Returns:
        Weight of the un-mixed background in [0, 1]. Where alpha is 0 it is 1: a soft matte that reaches 0 says that the
        object ends there. A hard mask does not say so: there it is 0, and what its hole was grown by is filled.
    """
    clear = np.clip(1.0 - alpha / np.float32(CLEAR_ALPHA), 0.0, 1.0)
    scene, variety = _local_moments(picture, clear, FAR_PX)
    _, motley = _local_moments(picture, (alpha > SOLID_ALPHA).astype(np.float32), MIDDLE_PX)
    contrast = ((foreground - scene) ** 2).mean(axis=2)
    partly = np.minimum(1.0, 4.0 * alpha)
    error = (
        FOREGROUND_ERROR * alpha**2 * motley + (MATTE_ERROR * partly) ** 2 * contrast + np.float32(PIXEL_ERROR**2)
    ) / np.maximum(1.0 - alpha, np.float32(1e-2)) ** 2
    of_fill = FILL_ERROR * variety + np.float32(1e-5)
    trust = np.where(alpha < OPAQUE_ALPHA, of_fill / (of_fill + error), 0.0)
    return np.where(alpha <= 0.0, 0.0 if is_hard(alpha) else 1.0, trust).astype(np.float32)


def is_hard(alpha: Float32[np.ndarray, "h w"]) -> bool:
    """Tell a mask from a matte: more of its edge leaps from opaque to clear than has opacities in between."""
    from scipy.ndimage import maximum_filter

    leaps = (alpha <= 0.0) & (maximum_filter(alpha, 3) >= OPAQUE_ALPHA)
    return int(leaps.sum()) > int(((alpha > 0.0) & (alpha < OPAQUE_ALPHA)).sum())


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


def _local_moments(
    values: Float32[np.ndarray, "h w 3"], weight: Float32[np.ndarray, "h w"], side_px: int
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Weighted mean in a square window, and the variance about it, mean over the channels."""
    mean = _local_mean(values, weight, side_px)
    spread = _local_mean(values**2, weight, side_px) - mean**2
    return mean, np.maximum(0.0, spread).mean(axis=2)


def _unit_range(picture: UInt[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    return picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)


def _local_mean(
    values: Float32[np.ndarray, "h w c"], weight: Float32[np.ndarray, "h w"], side_px: int
) -> Float32[np.ndarray, "h w c"]:
    """Weighted mean in a square window; where no pixel of it has weight, the mean of the whole array."""
    from scipy.ndimage import uniform_filter

    overall = (values * weight[..., None]).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
    total = uniform_filter(values * weight[..., None], side_px, mode="nearest", axes=(0, 1))
    mass = uniform_filter(weight, side_px, mode="nearest")[..., None]
    return ((total + 1e-4 * overall) / (mass + 1e-4)).astype(np.float32)


def _window(hole: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Rows and columns of the hole with a margin of `CONTEXT_PX`."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(0, int(rows[0]) - CONTEXT_PX), int(rows[-1]) + 1 + CONTEXT_PX),
        slice(max(0, int(columns[0]) - CONTEXT_PX), int(columns[-1]) + 1 + CONTEXT_PX),
    )
