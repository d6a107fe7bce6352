"""The fringe of a removed object: behind hair and soft edges the real background is recovered, not invented."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt

from zim_plugins.core import foreground_colours, unmix_background
from zim_plugins.imaging import from_unit, inner, tiles_over, to_unit, window_of

from .tiles import TILE_PX, to_8_bits, to_depth

CONTEXT_PX = 48
"""Margin round the hole within which colours are estimated [px]."""
CLEAR_ALPHA = 0.1
"""Opacity below which a pixel shows the scene well enough to be a reference for it."""
SOLID_ALPHA = 0.95
"""Opacity above which a pixel shows the object's own colours."""
FAINTEST = 1 / 255
"""Least opacity that an 8-bit matte can hold: what is fainter is clear."""
OPAQUE_ALPHA = 0.98
"""Opacity from which nothing of the scene can be told: there the fill is taken whole."""
NEAR_PX, MIDDLE_PX, FAR_PX = 7, 31, 61
"""Sides of the windows [px] that average what is suspected, the object's colours, and what the scene looks like."""
REACH_PX = FAR_PX + 3
"""How far a pixel's weight hears of others [px]: deviations within the far window of means over the far window."""
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
    tile_px: int = TILE_PX,
) -> UInt[np.ndarray, "h w 3"]:
    """Lay the un-mixed background over the fill wherever it is the better guess.

    With I = alpha F + (1 - alpha) B known but for F, estimating F gives B = (I - alpha F) / (1 - alpha): the scene
    that shines through the object's edge. It and the fill are averaged by their precisions, see `trust_in_unmixing`.
    Where the matte is wrong, B shows traces of the object, see `strangeness`: that counts against it. The object's
    colours and all statistics belong to the whole object; tiles bound the memory and change nothing else.

    Args:
        image: RGB, with the object, of 8 or 16 bits.
        alpha: the object's opacity in [0, 1].
        hole: True where the image is repainted.
        fill: RGB, the image with the hole filled, of 8 or 16 bits.
        guard: mind traces of the object.
        tile_px: longest side of what is worked on at once [px].

    Returns:
        RGB of the image's own depth; outside the hole the image itself.
    """
    result = np.where(hole[..., None], to_depth(fill, image.dtype) if fill.dtype != image.dtype else fill, image)
    window = window_of(hole, margin_px=CONTEXT_PX)
    if window[0].stop == 0:
        return result
    opacity = np.where(hole[window], alpha[window], np.float32(0.0)).astype(np.float32)
    colours = foreground_colours(to_8_bits(image[window]), opacity)
    whole = _Whole.gather(image[window], opacity, colours, tile_px=tile_px)
    painted, inside = result[window], hole[window]
    for part, wide in tiles_over(inside & (opacity < OPAQUE_ALPHA), tile_px=tile_px, overlap_px=REACH_PX):
        seen, foreground, clearness = to_unit(image[window][wide]), to_unit(colours[wide]), opacity[wide]
        unmixed = unmix_background(seen, clearness, foreground)
        trust = trust_in_unmixing(seen, clearness, foreground, whole=whole)
        if guard:
            excess = np.maximum(0.0, strangeness(unmixed, clearness, trust, whole=whole) ** 2 - FORGIVEN**2)
            trust = trust / (1.0 + DOUBT * excess * trust)
        own = inner(part, wide)
        filled = to_unit(painted[part])
        mixed = filled + trust[own][..., None] * (unmixed[own] - filled)
        painted[part][inside[part]] = from_unit(mixed, image.dtype)[inside[part]]
    return result


@dataclass(frozen=True, eq=False)
class _Whole:
    """Statistics of the whole object and its surroundings, shared by all tiles."""

    scene: Float32[np.ndarray, " 6"]
    """Mean of clear pixels: R, G, B and their squares."""
    solid: Float32[np.ndarray, " 6"]
    """Mean of the object's own pixels, likewise."""
    recovered: Float32[np.ndarray, " 3"]
    """Mean of clear un-mixed pixels."""
    axes: Float32[np.ndarray, "3 3"]
    """Principal axes of the clear pixels' deviations from their surroundings, in columns."""
    spread: Float32[np.ndarray, " 3"]
    """Mean squared deviation along each."""

    @staticmethod
    def gather(
        image: UInt[np.ndarray, "h w 3"],
        alpha: Float32[np.ndarray, "h w"],
        colours: UInt[np.ndarray, "h w 3"],
        *,
        tile_px: int = TILE_PX,
    ) -> "_Whole":
        """Sum over all tiles; two passes, since deviations need the means first."""
        everywhere = np.broadcast_to(np.True_, alpha.shape)
        tiles = list(tiles_over(everywhere, tile_px=tile_px, overlap_px=REACH_PX))
        sums, weights = np.zeros((3, 6)), np.zeros(2)
        for part, _ in tiles:
            seen, opacity = to_unit(image[part]), alpha[part]
            clear, solid = _clear(opacity), (opacity > SOLID_ALPHA).astype(np.float32)
            both = np.concatenate([seen, seen**2], axis=2)
            sums[0] += np.einsum("hwc,hw->c", both, clear, dtype=np.float64)
            sums[1] += np.einsum("hwc,hw->c", both, solid, dtype=np.float64)
            unmixed = unmix_background(seen, opacity, to_unit(colours[part]))
            sums[2, :3] += np.einsum("hwc,hw->c", unmixed, clear, dtype=np.float64)
            weights += clear.sum(dtype=np.float64), solid.sum(dtype=np.float64)
        scene, solid_mean, recovered = (sums / np.maximum(weights[[0, 1, 0]], 1e-6)[:, None]).astype(np.float32)
        covariance = np.zeros((3, 3))
        for part, wide in tiles:
            own = inner(part, wide)
            unmixed = unmix_background(to_unit(image[wide]), alpha[wide], to_unit(colours[wide]))
            clear = _clear(alpha[wide])
            deviation = (unmixed - _local_mean(unmixed, clear, FAR_PX, recovered[:3]))[own].astype(np.float64)
            covariance += np.einsum("hwi,hwj,hw->ij", deviation, deviation, clear[own])
        covariance /= max(weights[0], 1e-6)
        spread, axes = np.linalg.eigh(covariance)
        return _Whole(
            scene, solid_mean, recovered[:3], axes.astype(np.float32), np.maximum(0.0, spread).astype(np.float32)
        )


def trust_in_unmixing(
    image: Float32[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    foreground: Float32[np.ndarray, "h w 3"],
    *,
    whole: _Whole | None = None,
) -> Float32[np.ndarray, "h w"]:
    """Weigh the un-mixed background against a fill by what errors of each are to be expected.

    To first order, B = (I - alpha F) / (1 - alpha) errs by alpha dF / (1 - alpha), by dalpha (F - B) / (1 - alpha) and
    by dI / (1 - alpha): much where the object is dense, motley, or unlike the scene. A fill errs by about the scene's
    own variety: little before a plain wall, much before foliage. The weight is that of least expected squared error.

    Args:
        image: RGB in [0, 1].
        alpha: opacity in [0, 1].
        foreground: RGB in [0, 1].
        whole: statistics of the whole object, where this is a tile of it.

    Returns:
        Weight of the un-mixed background in [0, 1]. Where alpha is 0 it is 0: the hole reaches there only because it
        was grown, and what it was grown by is filled.
    """
    whole = whole or _of_unit(image, alpha, foreground)
    scene, variety = _local_moments(image, _clear(alpha), FAR_PX, whole.scene)
    _, motley = _local_moments(image, (alpha > SOLID_ALPHA).astype(np.float32), MIDDLE_PX, whole.solid)
    contrast = ((foreground - scene) ** 2).mean(axis=2)
    partly = np.minimum(1.0, 4.0 * alpha)
    error = (
        FOREGROUND_ERROR * alpha**2 * motley + (MATTE_ERROR * partly) ** 2 * contrast + np.float32(PIXEL_ERROR**2)
    ) / np.maximum(1.0 - alpha, np.float32(1e-2)) ** 2
    of_fill = FILL_ERROR * variety + np.float32(1e-5)
    trust = np.where(alpha < OPAQUE_ALPHA, of_fill / (of_fill + error), 0.0)
    return np.where(alpha < FAINTEST, 0.0, trust).astype(np.float32)


def strangeness(
    unmixed: Float32[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    trust: Float32[np.ndarray, "h w"],
    *,
    whole: _Whole,
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
        whole: statistics of the whole object.

    Returns:
        The largest of the three ratios, at least 0: about 1 is what the scene shows, 2 a visible trace.
    """
    clear, axes = _clear(alpha), whole.axes
    scene = _local_mean(unmixed, clear, FAR_PX, whole.recovered)
    usual = np.sqrt(np.maximum(0.0, _local_mean(((unmixed - scene) @ axes) ** 2, clear, FAR_PX, whole.spread)))
    for side_px in (FAR_PX // 2, FAR_PX // 4):  # the nearer, the better a reference, where there is enough of it
        enough = np.minimum(1.0, 4.0 * _local_mean(clear[..., None], np.ones_like(clear), side_px, np.zeros(1)))
        scene += enough * (_local_mean(unmixed, clear, side_px, whole.recovered) - scene)
    weight = trust * (1.0 - clear)
    strays = np.sqrt(np.maximum(0.0, _local_mean(((unmixed - scene) @ axes) ** 2, weight, NEAR_PX, np.zeros(3))))
    return (strays / (usual + np.float32(SEEN))).max(axis=-1)


def _clear(alpha: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return how good a reference for the scene a pixel is: 1 where alpha is 0, 0 from `CLEAR_ALPHA` on."""
    return np.clip(1.0 - alpha / np.float32(CLEAR_ALPHA), 0.0, 1.0)


def _local_moments(
    values: Float32[np.ndarray, "h w 3"], weight: Float32[np.ndarray, "h w"], side_px: int, overall: np.ndarray
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Weighted mean in a square window, and the variance about it, mean over the channels."""
    mean = _local_mean(values, weight, side_px, overall[:3])
    spread = _local_mean(values**2, weight, side_px, overall[3:]) - mean**2
    return mean, np.maximum(0.0, spread).mean(axis=2)


def _local_mean(
    values: Float32[np.ndarray, "h w c"], weight: Float32[np.ndarray, "h w"], side_px: int, overall: np.ndarray
) -> Float32[np.ndarray, "h w c"]:
    """Weighted mean in a square window; where no pixel of it has weight, `overall`."""
    from scipy.ndimage import uniform_filter

    total = uniform_filter(values * weight[..., None], side_px, mode="nearest", axes=(0, 1))
    mass = uniform_filter(weight, side_px, mode="nearest")[..., None]
    return ((total + 1e-4 * overall) / (mass + 1e-4)).astype(np.float32)


def _of_unit(image: np.ndarray, alpha: np.ndarray, foreground: np.ndarray) -> _Whole:
    """The statistics of an image in one piece, of colours in [0, 1]."""
    depth = np.dtype(np.uint16)
    return _Whole.gather(from_unit(image, depth), alpha, from_unit(foreground, depth))
