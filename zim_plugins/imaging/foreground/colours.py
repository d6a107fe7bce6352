"""Colours of foreground and background, from the coarsest level to the finest, and what is made of them.

They are display-referred RGB, as in the matting benchmarks: uint8, uint16 or floating-point in [0, 1] come in,
floating-point in [0, 1] goes out (`ranges`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt16

from zim_plugins.imaging.foreground.relaxation import relax
from zim_plugins.imaging.ranges import AlphaArray, ImageArray, to_alpha, to_uint8, unit_values
from zim_plugins.imaging.ranges import to_unit as unit_image

if TYPE_CHECKING:
    import torch

SMALL_SIDE_PX = 32
"""Levels whose sides are all at most this long [px] get `SMALL_SWEEPS`, larger ones `LARGE_SWEEPS`."""
SMALL_SWEEPS = 10
LARGE_SWEEPS = 2

TILE_PX = 64
"""Width of the tiles that `foreground_colours` solves or, where no edge of the matte crosses them, leaves out."""
BAND_PIXELS = 1 << 18
"""Pixels that are solved at once: what bounds the memory, and what a core's cache holds (a fifth faster than twice as
many)."""

ColourImage = Float32[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
"""RGB in [0, 1], in [0, 255], or in [0, 65535]."""
Integers = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]


class Layers(NamedTuple):
    """The two colour layers of an image, each defined at every pixel."""

    foreground: Float32[np.ndarray, "h w 3"]
    """F, RGB in [0, 1]; equal to the image where alpha is 1."""
    background: Float32[np.ndarray, "h w 3"]
    """B, RGB in [0, 1]; equal to the image where alpha is 0."""


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


def foreground_colours(image: ImageArray, alpha: AlphaArray) -> Integers:
    """The foreground of `estimate_foreground` in 8 or 16 bits: no array of floats as large as the image is made.

    Where alpha is 0, colours that nobody sees are coarser than those of `estimate_foreground`.

    Args:
        image: RGB, as `estimate_foreground` takes it; other types than uint8 and uint16 are rounded to uint8 first.
        alpha: opacity, as `estimate_foreground` takes it.

    Returns:
        RGB, uint16 where the image is, else uint8.

    Raises:
        TypeError: as `estimate_foreground`.
        ValueError: as `estimate_foreground`.

    >>> foreground_colours(np.full((2, 2, 3), 51, np.uint8), np.ones((2, 2), bool))[0, 0].tolist()
    [51, 51, 51]
    """
    image = np.ascontiguousarray(image if image.dtype == np.uint16 else to_uint8(image))
    alpha = _matte_of(image, alpha)
    colours = np.empty_like(image)
    top = np.float32(np.iinfo(image.dtype).max)
    if image.size == 0:
        return colours
    clear = float(0.5 / top)  # opacities that round to 0 and 1
    size = alpha.shape[0], alpha.shape[1]
    layers = _coarse_layers(image, alpha, clear)
    spread = np.ascontiguousarray(_rounded(layers[0].permute(1, 2, 0).numpy(), image.dtype))
    columns = _nearest(slice(0, size[1]), size[1], spread.shape[1])
    for rows in _bands(size):
        band, opacity = colours[rows], alpha[rows]
        _whole(band)[:] = _whole(spread)[_nearest(rows, size[0], spread.shape[0])][:, columns]
        _copy_where(opacity >= 1 - clear, image[rows], band)
        for span, solved in _solved_spans(layers, image, alpha, size, rows, _edge_spans(opacity, clear)):
            band[:, span] = _rounded(solved[0].permute(1, 2, 0).numpy(), image.dtype)
            _copy_where(opacity[:, span] >= 1, image[rows][:, span], band[:, span])
    return colours


def _copy_where(where: np.ndarray, source: Integers, target: Integers) -> None:
    np.copyto(_whole(target), _whole(source), where=where)


def _whole(colours: Integers) -> np.ndarray:
    """Return pixels that are copied as one value each, (h, w): twenty times as fast."""
    return colours.view(f"V{colours.itemsize * 3}")[..., 0]


def _rounded(colours: Float32[np.ndarray, "h w 3"], dtype: np.dtype) -> Integers:
    return (colours * np.float32(np.iinfo(dtype).max) + np.float32(0.5)).astype(dtype)


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
    image: ColourImage, alpha: Float32[np.ndarray, "h w"]
) -> "Iterator[tuple[slice, Float32[np.ndarray, '2 r w 3']]]":
    """Solve all levels; F and B of the finest come as bands of rows, from the top."""
    if image.size == 0:
        return
    size = alpha.shape[0], alpha.shape[1]
    layers = _coarse_layers(image, alpha)
    for rows in _bands(size):
        for _, solved in _solved_spans(layers, image, alpha, size, rows, [slice(0, size[1])]):
            yield rows, solved.permute(0, 2, 3, 1).contiguous().numpy()


def _coarse_layers(image: ColourImage, alpha: Float32[np.ndarray, "h w"], clear: float | None = None) -> "torch.Tensor":
    """Solve all levels but the finest and return F and B of the last one, (2, 3, h', w').

    With `clear`, the last one is solved only near pixels whose opacity is more than that away from 0 and from 1.
    """
    import torch

    layers = torch.from_numpy(_mean_colours(image, alpha))[:, :, None, None]
    coarse = _pyramid_sizes((alpha.shape[0], alpha.shape[1]))[:-1]
    for size in coarse:
        everywhere = slice(0, size[1])
        only_edges = clear is not None and size == coarse[-1]
        level = torch.empty(2, 3, *size)
        for rows in _bands(size):
            spans = [everywhere]
            if only_edges:
                spans = _edge_spans(_sampled(alpha, rows, everywhere, size), clear or 0.0)
                level[:, :, rows] = _spread(layers, rows, everywhere, size)
            for span, solved in _solved_spans(layers, image, alpha, size, rows, spans):
                level[:, :, rows, span] = solved
        layers = level
    return layers


def _solved_spans(
    layers: "torch.Tensor",
    image: ColourImage,
    alpha: Float32[np.ndarray, "h w"],
    size: tuple[int, int],
    rows: slice,
    spans: list[slice],
) -> "Iterator[tuple[slice, torch.Tensor]]":
    """Solve columns of a band of rows of one level.

    A pixel hears of another one row away with every half sweep. A window is therefore solved with so many pixels around
    it that what it answers is what the whole level solved at once would give.

    Args:
        layers: F and B of the level before, (2, 3, h', w').
        image: I, at full size.
        alpha: at full size.
        size: of the level (H, W) [px].
        spans: columns to solve.
    """
    import torch

    sweeps = SMALL_SWEEPS if max(size) <= SMALL_SIDE_PX else LARGE_SWEEPS
    around = 2 * sweeps
    wide = slice(max(0, rows.start - around), min(size[0], rows.stop + around))
    for span in spans:
        broad = slice(max(0, span.start - around), min(size[1], span.stop + around))
        colours = _to_unit(_sampled(image, wide, broad, size))
        target = torch.from_numpy(np.ascontiguousarray(colours.transpose(2, 0, 1)))
        opacity = torch.from_numpy(_sampled(alpha, wide, broad, size).clip(0.0, 1.0))
        solved = relax(_spread(layers, wide, broad, size), target, opacity, sweeps, wide.start + broad.start)
        inner = slice(rows.start - wide.start, rows.stop - wide.start)
        yield span, solved[:, :, inner, span.start - broad.start : span.stop - broad.start]


def _edge_spans(alpha: Float32[np.ndarray, "r w"], clear: float) -> list[slice]:
    """Columns of the tiles with opacities more than `clear` away from 0 and from 1; neighbours as one."""
    width = alpha.shape[1]
    edgy = np.asarray(((alpha > clear) & (alpha < 1 - clear)).any(axis=0))
    spans: list[slice] = []
    for start in range(0, width, TILE_PX):
        stop = min(width, start + TILE_PX)
        if not edgy[max(0, start - 1) : stop + 1].any():
            continue
        if spans and spans[-1].stop == start:
            start = spans.pop().start
        spans.append(slice(start, stop))
    return spans


def _sampled(values: np.ndarray, rows: slice, columns: slice, size: tuple[int, int]) -> np.ndarray:
    """Return a window of the level of `size`, made of the nearest values of the full size."""
    if values.shape[:2] == size:
        return values[rows, columns]
    ys = _nearest(rows, size[0], values.shape[0])[:, None]
    return values[ys, _nearest(columns, size[1], values.shape[1])]


def _spread(layers: "torch.Tensor", rows: slice, columns: slice, size: tuple[int, int]) -> "torch.Tensor":
    """Return a window of the level of `size`, made of the nearest values of the level before."""
    import torch

    ys, xs = _nearest(rows, size[0], layers.shape[2]), _nearest(columns, size[1], layers.shape[3])
    if not (len(ys) and len(xs)):
        return layers.new_empty(*layers.shape[:2], len(ys), len(xs))
    # Columns first, of the fewer rows before these are repeated: gathering columns is what costs.
    few = np.take(layers[:, :, ys[0] : ys[-1] + 1].numpy(), xs, axis=3)
    return torch.from_numpy(np.take(few, ys - ys[0], axis=2))


def _bands(size: tuple[int, int]) -> list[slice]:
    """Rows of an image of `size` (H, W), divided so that a band holds about `BAND_PIXELS`."""
    step = max(1, BAND_PIXELS // max(1, size[1]))
    return [slice(top, min(size[0], top + step)) for top in range(0, size[0], step)]


def _nearest(wanted: slice, side: int, source_side: int) -> Int64[np.ndarray, " n"]:
    """Return where a side of `side` pixels reads from one of `source_side`: the pixel that holds its first corner."""
    return np.arange(wanted.start, wanted.stop, dtype=np.int64) * source_side // side


def _to_unit(colours: ColourImage) -> Float32[np.ndarray, "h w 3"]:
    return unit_values(colours) if colours.dtype.kind == "u" else colours


def _mean_colours(image: ColourImage, alpha: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "2 3"]:
    """Mean RGB in [0, 1] of the pixels whose weight exceeds 0.9; if there are none, of all, so weighted.

    The weight is alpha for the first row, of the foreground, and 1 - alpha for the second, of the background.
    """
    sums, weights = np.zeros((4, 3)), np.zeros(4)
    for rows in _bands((alpha.shape[0], alpha.shape[1])):
        weight = alpha[rows].clip(0.0, 1.0).reshape(-1)
        each = np.stack([weight > 0.9, weight, weight < 0.1, 1 - weight]).astype(np.float32)
        colours = _to_unit(image[rows]).reshape(-1, 3)
        sums += each @ colours
        weights += each.sum(axis=1, dtype=np.float64)
    clear = [0 if weights[0] else 1, 2 if weights[2] else 3]
    return (sums[clear] / np.maximum(weights[clear], 1e-6)[:, None]).astype(np.float32)
