"""Matting and segmentation errors as pure functions, in two profiles whose values never share a column.

`zim`: as the ZIM release scores (its evaluation code): whole image, float32, 3x3 Sobel gradients.
`dim`: the classic benchmark (Rhemann et al. 2009; the MATLAB code of Deep Image Matting): Gaussian-derivative
gradients, the whole image or the unknown region of a trimap.
"""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from zim_plugins.imaging.geometry import window_of

SIZE_LIMITS = (0.01, 0.1)
"""Shares of the image below which an object is small, and medium."""
SIZE_OPACITY = 0.3
"""Opacity above which a pixel counts for the object's size."""
BOUNDARY_WIDTH = 0.02
"""Width of the boundary in boundary IoU, as a share of the image's diagonal."""
DIM_SIGMA, DIM_CUTOFF = 1.4, 1e-2
"""Of the Gaussian derivative [px], and where its support ends."""
CONNECTIVITY_STEP_COUNT, CONNECTIVITY_TOLERANCE = 10, 0.15

SizeClass = Literal["S", "M", "L"]


@dataclass(frozen=True)
class MattingErrors:
    """The five errors of a matte; lower is better. Scales are those of the profile that made them."""

    sad: float
    mse: float
    mae: float
    grad: float
    conn: float


def zim_errors(alpha: Float32[np.ndarray, "h w"], target: Float32[np.ndarray, "h w"]) -> MattingErrors:
    """Errors as the ZIM release defines them, over the whole image.

    SAD and Conn are sums / 1000; MSE, MAE and Grad are means x 1000.

    Args:
        alpha: the answer, in [0, 1].
        target: the true matte, in [0, 1].

    Raises:
        ValueError: their shapes differ.
    """
    _check_shapes(alpha, target)
    error = np.abs(alpha - target)
    total = float(error.sum(dtype=np.float64))
    squares = float(np.square(error).sum(dtype=np.float64))
    return MattingErrors(
        sad=total / 1e3,
        mse=squares / error.size * 1e3,
        mae=total / error.size * 1e3,
        grad=sobel_grad(alpha, target) * 1e3,
        conn=float(connectivity_map(alpha, target).sum(dtype=np.float64)) / 1e3,
    )


def dim_errors(
    alpha: Float32[np.ndarray, "h w"], target: Float32[np.ndarray, "h w"], region: Bool[np.ndarray, "h w"] | None = None
) -> MattingErrors:
    """Errors of the classic matting benchmark, as Deep Image Matting's MATLAB code computes them.

    SAD, Grad and Conn are sums / 1000; MSE and MAE are means, unscaled.

    Args:
        alpha: the answer, in [0, 1].
        target: the true matte, in [0, 1].
        region: pixels to score, such as the unknown ones of a trimap; None scores all.

    Raises:
        ValueError: shapes differ, or the region is empty.
    """
    _check_shapes(alpha, target)
    if region is not None:
        _check_shapes(alpha, region)
        if not region.any():
            raise ValueError("the region to score has no pixel")
    where = np.ones(alpha.shape, dtype=bool) if region is None else region
    error = np.abs(alpha - target)[where].astype(np.float64)
    return MattingErrors(
        sad=float(error.sum()) / 1e3,
        mse=float(np.square(error).mean()),
        mae=float(error.mean()),
        grad=float(gaussian_grad_map(alpha, target)[where].sum()) / 1e3,
        conn=float(connectivity_map(alpha, target)[where].sum(dtype=np.float64)) / 1e3,
    )


def sobel_grad(alpha: Float32[np.ndarray, "h w"], target: Float32[np.ndarray, "h w"]) -> float:
    """Mean absolute difference of the mattes' gradient magnitudes: 3x3 Sobel, zero-padded, as in the ZIM release.

    Not comparable with the Gaussian-derivative Grad of Rhemann et al. (2009).
    """
    _check_shapes(alpha, target)
    return float(np.abs(_sobel_magnitude(alpha) - _sobel_magnitude(target)).mean(dtype=np.float64))


def gaussian_grad_map(
    alpha: Float32[np.ndarray, "h w"], target: Float32[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Squared difference of gradient magnitudes, each matte stretched to [0, 1] first (MATLAB's mat2gray).

    Filters are Gaussian derivatives (sigma 1.4 px, 9x9, unit L2 norm), the image's edge is replicated: Grad of
    Rhemann et al. (2009) is its sum.
    """
    return np.square(_gaussian_magnitude(_stretch(alpha)) - _gaussian_magnitude(_stretch(target)))


def connectivity_map(
    alpha: Float32[np.ndarray, "h w"], target: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w"]:
    """Connectivity error of each pixel (Rhemann et al. 2009, eq. 5 and 6): thresholds every 0.1, tolerance 0.15.

    The source region at a threshold is the largest 4-connected part of what both mattes hold at or above it. Opacities
    and thresholds are float32: 153/255 reaches 0.6.
    """
    _check_shapes(alpha, target)
    level = _last_connected_level(np.minimum(alpha, target))
    return np.abs(_disconnection(alpha, level) - _disconnection(target, level))


def iou(
    mask: Bool[np.ndarray, "h w"], target: Bool[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"] | None = None
) -> float:
    """Intersection over union, over the valid pixels; 1 where both are empty."""
    _check_shapes(mask, target)
    both, either = mask & target, mask | target
    if valid is not None:
        both, either = both & valid, either & valid
    union = np.count_nonzero(either)
    return float(np.count_nonzero(both) / union) if union else 1.0


def boundary_iou(
    mask: Bool[np.ndarray, "h w"], target: Bool[np.ndarray, "h w"], width: float = BOUNDARY_WIDTH
) -> float:
    """IoU of the masks' inner boundaries (Cheng et al. 2021).

    Args:
        width: of the boundary, as a share of the image's diagonal; at least one pixel.
    """
    _check_shapes(mask, target)
    width_px = max(1, round(width * float(np.hypot(mask.shape[0], mask.shape[1]))))
    return iou(_inner_boundary(mask, width_px), _inner_boundary(target, width_px))


def size_class(target: Float32[np.ndarray, "h w"]) -> SizeClass:
    """Small, medium or large, by the share of pixels above 0.3: the ZIM release's division at 1 % and 10 %."""
    share = np.count_nonzero(target > SIZE_OPACITY) / target.size
    small, medium = SIZE_LIMITS
    return "S" if share < small else "M" if share < medium else "L"


def _check_shapes(alpha: np.ndarray, target: np.ndarray) -> None:
    if alpha.shape != target.shape:
        raise ValueError(f"the answer is {alpha.shape}, the truth {target.shape} (height, width): score at one size")


def _sobel_magnitude(alpha: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    padded = np.pad(alpha, 1)
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    vertical, horizontal = across[2:] - across[:-2], down[:, 2:] - down[:, :-2]
    return np.sqrt(vertical * vertical + horizontal * horizontal + np.float32(1e-8))


def _stretch(alpha: Float32[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    low, high = float(alpha.min()), float(alpha.max())
    values = alpha.astype(np.float64)
    return (values - low) / (high - low) if high > low else values


def _gaussian_magnitude(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    half = int(np.ceil(DIM_SIGMA * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * DIM_SIGMA * DIM_CUTOFF))))
    at = np.arange(-half, half + 1)
    bell = np.exp(-(at**2) / (2 * DIM_SIGMA**2))
    slope = -at * bell
    bell, slope = bell / np.linalg.norm(bell), slope / np.linalg.norm(slope)  # their outer product has norm 1
    sides = []
    for axis in (0, 1):
        smoothed = ndimage.correlate1d(values, bell, axis=axis, mode="nearest")
        sides.append(ndimage.correlate1d(smoothed, slope, axis=1 - axis, mode="nearest"))
    return np.hypot(*sides)


def _last_connected_level(both: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """The highest threshold up to which each pixel belonged to the largest connected part at every threshold."""
    levels = (np.arange(CONNECTIVITY_STEP_COUNT + 1) / CONNECTIVITY_STEP_COUNT).astype(np.float32)
    level = np.zeros_like(both)
    window = window_of(both >= levels[1])
    if window[0].stop == 0:
        return level
    both, inner = both[window], level[window]
    connected = np.ones(both.shape, dtype=bool)
    for threshold in levels[1:]:
        connected &= _largest_part(both >= threshold)
        if not connected.any():
            break
        inner[connected] = threshold
    return level


def _largest_part(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest 4-connected part; the first in reading order of several equal ones; empty where the mask is."""
    parts, count = cast(tuple[np.ndarray, int], ndimage.label(mask))
    if count < 2:
        return mask
    areas = np.bincount(parts.ravel())
    return parts == areas[1:].argmax() + 1


def _disconnection(alpha: Float32[np.ndarray, "h w"], level: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """phi: 1 where a pixel is connected at its own opacity, less by how far it is not, beyond the tolerance."""
    distance = alpha - level
    return 1 - distance * (distance >= np.float32(CONNECTIVITY_TOLERANCE))


def _inner_boundary(mask: Bool[np.ndarray, "h w"], width_px: int) -> Bool[np.ndarray, "h w"]:
    """Pixels of the mask within `width_px` (chessboard distance) of its outside or of the image's edge."""
    window = window_of(mask)
    boundary = np.zeros_like(mask)
    if window[0].stop == 0:
        return boundary
    inner = mask[window].astype(np.uint8)
    for axis in (0, 1):
        inner = ndimage.minimum_filter1d(inner, 2 * width_px + 1, axis=axis, mode="constant", cval=0)
    boundary[window] = mask[window] & (inner == 0)
    return boundary
