"""Foreground and background colours of a matte: estimating them, compositing, un-mixing.

A picture obeys I = alpha F + (1 - alpha) B. A matte gives alpha; F and B remain to be told apart wherever alpha is
neither 0 nor 1. All arrays are display-referred RGB in [0, 1], as in the matting benchmarks.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    import torch

SMALL_SIDE_PX = 32
"""Levels whose sides are all at most this long [px] get `SMALL_SWEEPS`, larger ones `LARGE_SWEEPS`."""
SMALL_SWEEPS = 10
LARGE_SWEEPS = 2
REGULARIZATION = 1e-5
"""Weight of the smoothness of F and B where alpha is constant (epsilon_r of the paper)."""
GRADIENT_WEIGHT = 1.0
"""Weight of their smoothness per unit of alpha's difference between neighbours (omega of the paper)."""


class Layers(NamedTuple):
    """The two colour layers of a picture, each defined at every pixel."""

    foreground: Float32[np.ndarray, "h w 3"]
    """F, RGB in [0, 1]; equal to the picture where alpha is 1."""
    background: Float32[np.ndarray, "h w 3"]
    """B, RGB in [0, 1]; equal to the picture where alpha is 0."""


def estimate_foreground(image: Float32[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"]) -> Layers:
    """Estimate the colours of foreground and background by the multi-level method.

    Germer, Uelwer, Conrad, Harmeling, "Fast Multi-Level Foreground Estimation" (2020), arXiv 2006.14970: from the
    coarsest level of a pyramid to the finest, each pixel's F and B minimise, with the neighbours j held fixed,
    (alpha F + (1 - alpha) B - I)^2 + sum_j (eps + omega |alpha - alpha_j|) ((F - F_j)^2 + (B - B_j)^2).
    Where the paper visits pixels in reading order, here all black squares of a chessboard are solved at once, then
    all white ones: the same Gauss-Seidel iteration in an order that vectorises.

    Args:
        image: RGB in [0, 1].
        alpha: opacity in [0, 1], at the picture's size.

    Raises:
        ValueError: picture and matte differ in size, or one of them is not finite.
    """
    import torch

    _check(image, alpha)
    if image.size == 0:
        return Layers(image.copy(), image.copy())
    picture = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    opacity = torch.from_numpy(np.ascontiguousarray(np.clip(alpha, 0.0, 1.0)))
    layers = torch.stack([_mean_colour(picture, opacity), _mean_colour(picture, 1.0 - opacity)])
    layers = layers[:, :, None, None]
    with torch.inference_mode():
        for size in _pyramid_sizes((opacity.shape[0], opacity.shape[1])):
            layers = _resize_nearest(layers, size)
            sweeps = SMALL_SWEEPS if max(size) <= SMALL_SIDE_PX else LARGE_SWEEPS
            layers = _relax(layers, _resize_nearest(picture, size), _resize_nearest(opacity, size), sweeps)
        foreground, background = layers.permute(0, 2, 3, 1).contiguous().numpy()
    return Layers(
        np.where((alpha >= 1.0)[..., None], image, foreground), np.where((alpha <= 0.0)[..., None], image, background)
    )


def composite(
    foreground: Float32[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    background: Float32[np.ndarray, "h w 3"],
) -> Float32[np.ndarray, "h w 3"]:
    """Lay a foreground over a background: alpha F + (1 - alpha) B, exactly F at alpha 1 and exactly B at alpha 0."""
    opacity = alpha[..., None]
    return opacity * foreground + (1.0 - opacity) * background


def unmix_background(
    image: Float32[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    foreground: Float32[np.ndarray, "h w 3"],
    *,
    min_transparency: float = 1e-3,
) -> Float32[np.ndarray, "h w 3"]:
    """Recover the real background behind a half-transparent foreground: (I - alpha F) / (1 - alpha), clipped to [0, 1].

    Exact where alpha is 0, noisy where it nears 1: noise and errors of F grow by alpha / (1 - alpha).

    Args:
        image: RGB in [0, 1].
        alpha: opacity in [0, 1].
        foreground: F as `estimate_foreground` gives it.
        min_transparency: smallest 1 - alpha that is divided by.
    """
    opacity = alpha[..., None]
    return np.clip((image - opacity * foreground) / np.maximum(1.0 - opacity, np.float32(min_transparency)), 0.0, 1.0)


def _check(image: np.ndarray, alpha: np.ndarray) -> None:
    if image.shape[:2] != alpha.shape:
        raise ValueError(f"the matte is {alpha.shape}, the picture {image.shape[:2]} (height, width)")
    if not (np.isfinite(image).all() and np.isfinite(alpha).all()):
        raise ValueError("picture and matte must be finite: there are NaN or infinite values")


def _pyramid_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes (H, W) [px] of the levels, from 1 x 1 to `size`: each side grows geometrically, at most twofold."""
    height, width = size
    n = max(1, int(np.ceil(np.log2(max(height, width)))))
    return [(round(height ** (level / n)), round(width ** (level / n))) for level in range(n + 1)]


def _mean_colour(picture: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
    """Mean RGB (3,) of the pixels whose weight (h, w) exceeds 0.9; if there are none, of all, so weighted."""
    clear = weight > 0.9
    if clear.any():
        return picture[:, clear].mean(dim=1)
    return (picture * weight).sum(dim=(1, 2)) / weight.sum().clamp_min(1e-6)


def _resize_nearest(values: "torch.Tensor", size: tuple[int, int]) -> "torch.Tensor":
    """Resample the last two axes to `size`, each pixel from the one that holds its top-left corner."""
    import torch

    if tuple(values.shape[-2:]) == size:
        return values
    rows = torch.arange(size[0]) * values.shape[-2] // size[0]
    columns = torch.arange(size[1]) * values.shape[-1] // size[1]
    return values[..., rows[:, None], columns]


def _relax(layers: "torch.Tensor", picture: "torch.Tensor", opacity: "torch.Tensor", sweeps: int) -> "torch.Tensor":
    """Run red-black Gauss-Seidel on one level.

    Args:
        layers: F and B, (2, 3, h, w).
        picture: I, (3, h, w).
        opacity: alpha, (h, w).
        sweeps: how often each pixel is solved.
    """
    import torch
    from torch.nn.functional import pad

    height, width = opacity.shape
    # Neighbours are read from a frame of one replicated pixel, so that every pixel has four of them.
    around = pad(opacity[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    offsets = ((0, 1), (2, 1), (1, 0), (1, 2))
    windows = [(slice(dy, dy + height), slice(dx, dx + width)) for dy, dx in offsets]
    weights = [REGULARIZATION + GRADIENT_WEIGHT * (around[w] - opacity).abs() for w in windows]
    smoothness = weights[0] + weights[1] + weights[2] + weights[3]

    # Inverse of [[a^2 + s, a(1-a)], [a(1-a), (1-a)^2 + s]].
    clear = 1.0 - opacity
    ff, fb, bb = opacity * opacity + smoothness, opacity * clear, clear * clear + smoothness
    determinant = ff * bb - fb * fb
    inv_ff, inv_fb, inv_bb = bb / determinant, fb / determinant, ff / determinant
    evidence = torch.stack([opacity * picture, clear * picture])

    chessboard = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
    framed = pad(layers, (1, 1, 1, 1), mode="replicate")
    inner = framed[..., 1:-1, 1:-1]
    right = torch.empty_like(evidence)
    for _ in range(sweeps):
        for colour in (chessboard, ~chessboard):
            right.copy_(evidence)
            for weight, (ys, xs) in zip(weights, windows, strict=True):
                right.addcmul_(framed[..., ys, xs], weight)
            solved_f = (inv_ff * right[0]).addcmul_(inv_fb, right[1], value=-1.0)
            solved_b = right[1].mul_(inv_bb).addcmul_(inv_fb, right[0], value=-1.0)
            torch.where(colour, solved_f.clamp_(0.0, 1.0), inner[0], out=solved_f)
            torch.where(colour, solved_b.clamp_(0.0, 1.0), inner[1], out=solved_b)
            inner[0].copy_(solved_f)
            inner[1].copy_(solved_b)
            _replicate_frame(framed)
    return inner


def _replicate_frame(framed: "torch.Tensor") -> None:
    """Copy the outermost pixels into the one-pixel frame, in place."""
    framed[..., 0, :] = framed[..., 1, :]
    framed[..., -1, :] = framed[..., -2, :]
    framed[..., :, 0] = framed[..., :, 1]
    framed[..., :, -1] = framed[..., :, -2]
