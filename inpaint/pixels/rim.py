"""Rim of a fill: its colours are shifted, smoothly over the hole, until they meet what lies outside."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

SMOOTH_PX = 1.0
"""Standard deviation [px] of the averaging of the mismatch along the rim: grain is no mismatch."""
LARGEST_SHIFT = 40.0
"""Mismatch, in levels of 255, up to which it is taken for one in full; a larger one may be an edge of the scene."""


def meet_rim(
    image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"], fill: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Shift the colours of a fill so that no step is left at the hole's rim.

    The fill keeps its gradients as far as it can: what it differs by from its known neighbours, averaged along the rim,
    is spread over the hole as a membrane that is fixed there (Perez et al., "Poisson image editing", 2003, solved by
    pulling averages up a pyramid and pushing them down).

    Args:
        image: RGB, known where `hole` is False.
        hole: True where `fill` counts.
        fill: RGB.

    Returns:
        The image with the shifted fill in the hole.

    >>> image, hole = np.full((9, 9, 3), 100, np.uint8), np.zeros((9, 9), bool)
    >>> hole[3:6, 3:6] = True
    >>> int(meet_rim(image, hole, np.full((9, 9, 3), 90, np.uint8))[4, 4, 0])
    100
    """
    result = np.where(hole[..., None], fill, image)
    step, is_rim = _steps(result, hole)
    if not is_rim.any():
        return result
    limited = LARGEST_SHIFT * np.tanh(step / LARGEST_SHIFT)
    shift = membrane(_averaged(limited, is_rim), is_rim)
    shifted = np.clip(np.rint(result[hole] + shift[hole]), 0, 255)
    result[hole] = shifted.astype(np.uint8)
    return result


def _steps(
    image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Differences of known neighbours (of four) and the hole's pixels beside them, and where there are such."""
    total = np.zeros(image.shape, np.float32)
    count = np.zeros(hole.shape, np.float32)
    values = image.astype(np.float32)
    whole = slice(None)
    for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        for at, beside in (((here, whole), (there, whole)), ((whole, here), (whole, there))):
            meets = hole[at] & ~hole[beside]
            total[at] += np.where(meets[..., None], values[beside] - values[at], np.float32(0))
            count[at] += meets
    is_rim = count > 0
    return total / np.maximum(count, 1)[..., None], is_rim


def _averaged(values: Float32[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    from scipy.ndimage import gaussian_filter

    weight = gaussian_filter(where.astype(np.float32), SMOOTH_PX)
    total = gaussian_filter(values * where[..., None], (SMOOTH_PX, SMOOTH_PX, 0))
    return np.asarray(total / np.maximum(weight, 1e-6)[..., None], dtype=np.float32)


def membrane(values: Float32[np.ndarray, "h w c"], known: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w c"]:
    """Continue known values smoothly to all pixels.

    Args:
        values: of any range.
        known: True where they count; somewhere.
    """
    weight = known.astype(np.float32)
    return _pushed(values * weight[..., None], weight)


def _pushed(total: Float32[np.ndarray, "h w c"], weight: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w c"]:
    """Weighted means, and where there is no weight those of the next coarser level, smoothly enlarged."""
    height, width = weight.shape
    mean = total / np.maximum(weight, 1e-6)[..., None]
    if (weight >= 1).all() or max(height, width) == 1:
        return mean
    pad = ((0, height % 2), (0, width % 2))
    summed = np.pad(total, (*pad, (0, 0)))
    masses = np.pad(weight, pad)
    coarse_total = summed[::2, ::2] + summed[1::2, ::2] + summed[::2, 1::2] + summed[1::2, 1::2]
    coarse_weight = masses[::2, ::2] + masses[1::2, ::2] + masses[::2, 1::2] + masses[1::2, 1::2]
    full = np.maximum(coarse_weight, 1)
    coarse = _pushed(coarse_total / full[..., None], coarse_weight / full)
    share = np.minimum(weight, 1)[..., None]
    return (share * mean + (1 - share) * _doubled(coarse)[:height, :width]).astype(np.float32)


def _doubled(values: Float32[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h2 w2 c"]:
    """Enlarge twofold by bilinear interpolation."""
    for axis in (0, 1):
        values = np.moveaxis(values, axis, 0)
        before = np.concatenate([values[:1], values[:-1]])
        after = np.concatenate([values[1:], values[-1:]])
        doubled = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis=1)
        values = np.moveaxis(doubled.reshape(-1, *values.shape[1:]), 0, axis)
    return values
