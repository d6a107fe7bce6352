"""Foreground and background colours of a matte: estimating them, compositing, un-mixing.

A picture obeys I = alpha F + (1 - alpha) B. A matte gives alpha; F and B remain to be told apart wherever alpha is
neither 0 nor 1. Colours are display-referred RGB, as in the matting benchmarks: uint8, uint16 or floating-point in
[0, 1] come in, floating-point in [0, 1] goes out (`ranges`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from zim_plugins.imaging.ranges import AlphaArray, ImageArray, to_alpha, to_uint8
from zim_plugins.imaging.ranges import to_unit as unit_image

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

BAND_PIXELS = 1 << 19
"""Pixels that are solved at once: what bounds the memory."""

Picture = Float32[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"]
"""RGB in [0, 1], or in [0, 255]."""


class Layers(NamedTuple):
    """The two colour layers of a picture, each defined at every pixel."""

    foreground: Float32[np.ndarray, "h w 3"]
    """F, RGB in [0, 1]; equal to the picture where alpha is 1."""
    background: Float32[np.ndarray, "h w 3"]
    """B, RGB in [0, 1]; equal to the picture where alpha is 0."""


def estimate_foreground(image: ImageArray, alpha: AlphaArray) -> Layers:
    """Estimate the colours of foreground and background by the multi-level method.

    Germer, Uelwer, Conrad, Harmeling, "Fast Multi-Level Foreground Estimation" (2020), arXiv 2006.14970: from the
    coarsest level of a pyramid to the finest, each pixel's F and B minimise, with the neighbours j held fixed,
    (alpha F + (1 - alpha) B - I)^2 + sum_j (eps + omega abs(alpha - alpha_j)) ((F - F_j)^2 + (B - B_j)^2).
    Where the paper visits pixels in reading order, here all black squares of a chessboard are solved at once, then
    all white ones: the same Gauss-Seidel iteration in an order that vectorises.

    Args:
        image: RGB, uint8, uint16 or floating-point in [0, 1].
        alpha: opacity, floating-point in [0, 1], uint8, uint16 or bool, at the image's size.

    Returns:
        Both layers in [0, 1], float32, whatever came in.

    Raises:
        TypeError: one of them is no array.
        ValueError: image and matte differ in size, or hold values out of range.

    >>> grey = np.full((4, 4, 3), 51, np.uint8)
    >>> estimate_foreground(grey, np.ones((4, 4), np.float32)).foreground[0, 0].tolist()
    [0.20000000298023224, 0.20000000298023224, 0.20000000298023224]
    """
    image, alpha = unit_image(image), _matte_of(image, alpha)
    layers = Layers(np.empty_like(image), np.empty_like(image))
    for rows, (foreground, background) in _solved_bands(image, alpha):
        opacity = alpha[rows][..., None]
        layers.foreground[rows] = np.where(opacity >= 1.0, image[rows], foreground)
        layers.background[rows] = np.where(opacity <= 0.0, image[rows], background)
    return layers


def foreground_colours(image: ImageArray, alpha: AlphaArray) -> UInt8[np.ndarray, "h w 3"]:
    """The foreground of `estimate_foreground` in 8 bits: no array of floats as large as the picture is made.

    Args:
        image: RGB, as `estimate_foreground` takes it; other types than uint8 are rounded to it first.
        alpha: opacity, as `estimate_foreground` takes it.

    Raises:
        TypeError: as `estimate_foreground`.
        ValueError: as `estimate_foreground`.

    >>> foreground_colours(np.full((2, 2, 3), 51, np.uint8), np.ones((2, 2), bool))[0, 0].tolist()
    [51, 51, 51]
    """
    image, alpha = to_uint8(image), _matte_of(image, alpha)
    colours = np.empty_like(image)
    for rows, (foreground, _) in _solved_bands(image, alpha):
        rounded = (foreground * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        colours[rows] = np.where(alpha[rows][..., None] >= 1.0, image[rows], rounded)
    return colours


def composite(foreground: ImageArray, alpha: AlphaArray, background: ImageArray) -> Float32[np.ndarray, "h w 3"]:
    """Lay a foreground over a background: alpha F + (1 - alpha) B, exactly F at alpha 1 and exactly B at alpha 0.

    Args:
        foreground: RGB, uint8, uint16 or floating-point in [0, 1].
        alpha: opacity, floating-point in [0, 1], uint8, uint16 or bool.
        background: as the foreground; the two may differ in type.

    Returns:
        RGB in [0, 1].

    Raises:
        TypeError: one of them is no array.
        ValueError: sizes differ, or values are out of range.

    >>> white, black = np.ones((1, 1, 3), np.float32), np.zeros((1, 1, 3), np.uint8)
    >>> composite(white, np.full((1, 1), 0.25, np.float32), black).tolist()
    [[[0.25, 0.25, 0.25]]]
    """
    over, under = unit_image(foreground, "foreground"), unit_image(background, "background")
    if over.shape != under.shape:
        raise ValueError(f"the foreground is {over.shape[:2]}, the background {under.shape[:2]} (height, width)")
    opacity = _matte_of(over, alpha)[..., None]
    return opacity * over + (1.0 - opacity) * under


def unmix_background(
    image: ImageArray, alpha: AlphaArray, foreground: ImageArray, *, min_transparency: float = 1e-3
) -> Float32[np.ndarray, "h w 3"]:
    """Recover the real background behind a half-transparent foreground: (I - alpha F) / (1 - alpha), clipped to [0, 1].

    Exact where alpha is 0, noisy where it nears 1: noise and errors of F grow by alpha / (1 - alpha).

    Args:
        image: RGB, uint8, uint16 or floating-point in [0, 1].
        alpha: opacity, floating-point in [0, 1], uint8, uint16 or bool.
        foreground: F as `estimate_foreground` gives it; types as for the image.
        min_transparency: smallest 1 - alpha that is divided by.

    Raises:
        TypeError: one of them is no array.
        ValueError: sizes differ, or values are out of range.

    >>> grey, white = np.full((1, 1, 3), 0.5, np.float32), np.ones((1, 1, 3), np.float32)
    >>> unmix_background(grey, np.full((1, 1), 0.25, np.float32), white).round(3).tolist()
    [[[0.3330000042915344, 0.3330000042915344, 0.3330000042915344]]]
    """
    mixed, over = unit_image(image), unit_image(foreground, "foreground")
    if mixed.shape != over.shape:
        raise ValueError(f"the foreground is {over.shape[:2]}, the image {mixed.shape[:2]} (height, width)")
    opacity = _matte_of(mixed, alpha)[..., None]
    return np.clip((mixed - opacity * over) / np.maximum(1.0 - opacity, np.float32(min_transparency)), 0.0, 1.0)


def _matte_of(image: np.ndarray, alpha: AlphaArray) -> Float32[np.ndarray, "h w"]:
    """The matte in [0, 1], of the image's size."""
    return to_alpha(alpha, size=(image.shape[0], image.shape[1]))


def _pyramid_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes (H, W) [px] of the levels, from 1 x 1 to `size`: each side grows geometrically, at most twofold."""
    height, width = size
    n = max(1, int(np.ceil(np.log2(max(height, width)))))
    return [(round(height ** (level / n)), round(width ** (level / n))) for level in range(n + 1)]


def _solved_bands(
    image: Picture, alpha: Float32[np.ndarray, "h w"]
) -> "Iterator[tuple[slice, Float32[np.ndarray, '2 r w 3']]]":
    """Solve all levels; F and B of the finest come as bands of rows, from the top."""
    import torch

    if image.size == 0:
        return
    means = [_mean_colour(image, alpha), _mean_colour(image, alpha, of_background=True)]
    layers = torch.from_numpy(np.stack(means))[:, :, None, None]
    *coarse, finest = _pyramid_sizes((alpha.shape[0], alpha.shape[1]))
    for size in coarse:
        level = torch.empty(2, 3, *size)
        for rows, solved in _level_bands(layers, image, alpha, size):
            level[:, :, rows] = solved
        layers = level
    for rows, solved in _level_bands(layers, image, alpha, finest):
        yield rows, solved.permute(0, 2, 3, 1).contiguous().numpy()


def _level_bands(
    layers: "torch.Tensor", image: Picture, alpha: Float32[np.ndarray, "h w"], size: tuple[int, int]
) -> "Iterator[tuple[slice, torch.Tensor]]":
    """Solve one level, a band of rows at a time.

    A pixel hears of another one row away with every half sweep. A band is therefore solved with so many rows around it
    that what it answers is what the whole level solved at once would give.

    Args:
        layers: F and B of the level before, (2, 3, h', w').
        image: I, at full size.
        alpha: at full size.
        size: of the level (H, W) [px].
    """
    import torch

    sweeps = SMALL_SWEEPS if max(size) <= SMALL_SIDE_PX else LARGE_SWEEPS
    around = 2 * sweeps
    columns = _nearest(slice(0, size[1]), size[1], alpha.shape[1])
    coarse_columns = _nearest(slice(0, size[1]), size[1], layers.shape[3])
    for rows in _bands(size):
        wide = slice(max(0, rows.start - around), min(size[0], rows.stop + around))
        own, coarse = (_nearest(wide, size[0], n)[:, None] for n in (alpha.shape[0], layers.shape[2]))
        picture = torch.from_numpy(np.ascontiguousarray(_to_unit(image[own, columns]).transpose(2, 0, 1)))
        opacity = torch.from_numpy(alpha[own, columns].clip(0.0, 1.0))
        solved = _relax(layers[..., coarse, coarse_columns], picture, opacity, sweeps, wide.start)
        yield rows, solved[:, :, rows.start - wide.start : rows.stop - wide.start]


def _bands(size: tuple[int, int]) -> list[slice]:
    """Rows of a picture of `size` (H, W), divided so that a band holds about `BAND_PIXELS`."""
    step = max(1, BAND_PIXELS // max(1, size[1]))
    return [slice(top, min(size[0], top + step)) for top in range(0, size[0], step)]


def _nearest(wanted: slice, side: int, source_side: int) -> Int64[np.ndarray, " n"]:
    """Return where a side of `side` pixels reads from one of `source_side`: the pixel that holds its first corner."""
    return np.arange(wanted.start, wanted.stop, dtype=np.int64) * source_side // side


def _to_unit(colours: Picture) -> Float32[np.ndarray, "h w 3"]:
    return colours / np.float32(255) if colours.dtype == np.uint8 else colours


def _mean_colour(
    image: Picture, alpha: Float32[np.ndarray, "h w"], *, of_background: bool = False
) -> Float32[np.ndarray, " 3"]:
    """Mean RGB in [0, 1] of the pixels whose weight exceeds 0.9; if there are none, of all, so weighted.

    The weight is alpha, or 1 - alpha for the background.
    """
    clear_sum, weighted_sum, clear_weight, weight_sum = np.zeros(3), np.zeros(3), 0, 0.0
    for rows in _bands((alpha.shape[0], alpha.shape[1])):
        weight = alpha[rows].clip(0.0, 1.0)
        weight = 1.0 - weight if of_background else weight
        colours = _to_unit(image[rows])
        clear = weight > 0.9
        clear_sum += colours[clear].sum(axis=0, dtype=np.float64)
        clear_weight += int(clear.sum())
        weighted_sum += np.einsum("hwc,hw->c", colours, weight, dtype=np.float64)
        weight_sum += float(weight.sum(dtype=np.float64))
    mean = clear_sum / clear_weight if clear_weight else weighted_sum / max(weight_sum, 1e-6)
    return mean.astype(np.float32)


def _relax(
    layers: "torch.Tensor", picture: "torch.Tensor", opacity: "torch.Tensor", sweeps: int, first_row: int
) -> "torch.Tensor":
    """Run red-black Gauss-Seidel on rows of one level.

    Args:
        layers: F and B, (2, 3, h, w).
        picture: I, (3, h, w).
        opacity: alpha, (h, w).
        sweeps: how often each pixel is solved.
        first_row: which row of the level the first one is.
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

    chessboard = (torch.arange(first_row, first_row + height)[:, None] + torch.arange(width)) % 2 == 0
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
