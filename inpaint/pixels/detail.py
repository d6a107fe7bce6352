"""Detail of large fills: what was painted small is made sharp, octave by octave, with detail of the known image."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.imaging import unit_values, window_of

from .crops import Fill, Window, shrink
from .rim import meet_rim

CELL_PX = 4
"""Side of a cell [px of the coarser level]; blocks of two by two cells are copied whole, and overlap by half."""
MAX_SOURCES = 40_000
"""Blocks of the known image that are searched; more are thinned out evenly."""
CHOICES = 3
"""Nearest blocks of which one is drawn, so that no block is repeated over a plain area."""
DETAIL_GAIN = 0.8
"""Share of the detail that is added: texture wants all of it, the squared error of a guess none."""
POSITION_WEIGHT = 0.6
"""Weight of a block's height in the image beside colours and texture: detail of a cliff does not go into the water."""


def continue_scene(
    image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"], fill: Fill, *, max_side_px: int
) -> tuple[Window, UInt8[np.ndarray, "h2 w2 3"]]:
    """Fill a crop as `fill_crop` does, then sharpen what was painted small, and let its colours meet at the rim.

    Args:
        image: RGB.
        hole: True means repaint; some of it.
        fill: the filler's method.
        max_side_px: longer side of what the filler sees [px].

    Returns:
        Rows and columns of the hole, and the fill there.
    """
    small, small_hole = shrink(image, hole, max_side_px)
    if small_hole.all() and not hole.all():
        small, small_hole = np.ascontiguousarray(image), hole
    painted = sharpen_fill(image, hole, fill(small, small_hole))
    window, wider = window_of(hole), window_of(hole, margin_px=1)
    met = meet_rim(image[wider], hole[wider], painted[wider])
    inside = (
        slice(window[0].start - wider[0].start, window[0].stop - wider[0].start),
        slice(window[1].start - wider[1].start, window[1].stop - wider[1].start),
    )
    return window, met[inside]


def sharpen_fill(
    image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"], small: UInt8[np.ndarray, "h2 w2 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Enlarge a fill that was painted small, and give it the detail that the known image has.

    Each octave: blocks of the hole look for the known blocks that are most like them in colour, texture and height, and
    take what these lose by being shrunk. Blended blocks are weighed so that their detail keeps its variance.

    Args:
        image: RGB, known where `hole` is False.
        hole: True means the fill's.
        small: the whole image, shrunk, with the hole filled.

    Returns:
        RGB of the image's size; outside the hole the image itself.
    """
    height, width = hole.shape
    current = small
    while current.shape[:2] != (height, width):
        scale = max(height / current.shape[0], width / current.shape[1])
        if scale <= 2:
            size, known, where = (height, width), image, hole
        else:
            known, where = shrink(image, hole, 2 * max(current.shape[:2]))
            size = where.shape[0], where.shape[1]
        current = _add_detail(_resized(current, size), current, known, where)
    return current


def _add_detail(
    enlarged: UInt8[np.ndarray, "h w 3"],
    coarse: UInt8[np.ndarray, "h2 w2 3"],
    fine: UInt8[np.ndarray, "h w 3"],
    hole: Bool[np.ndarray, "h w"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the fine level with the hole filled: with the enlarged coarse one, and detail of known blocks."""
    # Cells of the coarse level; a block is two by two of them.
    shape = coarse.shape[0] // CELL_PX, coarse.shape[1] // CELL_PX
    scales = hole.shape[0] / coarse.shape[0], hole.shape[1] / coarse.shape[1]
    result = fine.copy()
    targets, chosen = _pair_blocks(coarse, _holed_cells(hole, scales, shape), shape)
    window = window_of(hole)
    total = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start, 3), np.float32)
    power = np.full((*total.shape[:2], 1), 1e-6, np.float32)
    if len(targets):
        shrunken = _resized(_resized(fine, (coarse.shape[0], coarse.shape[1])), (hole.shape[0], hole.shape[1]))
        block = round(2 * CELL_PX * scales[0]), round(2 * CELL_PX * scales[1])
        weights = np.outer(_hann(block[0]), _hann(block[1]))[..., None].astype(np.float32)
        limits = np.array([hole.shape[0] - block[0], hole.shape[1] - block[1]])
        corners = np.clip(np.rint(targets * CELL_PX * scales).astype(int), 0, limits)
        origins = np.clip(np.rint(chosen * CELL_PX * scales).astype(int), 0, limits)
        for (y, x), (v, u) in zip(corners.tolist(), origins.tolist(), strict=True):
            # The part of the block that lies in the hole's window.
            top, left = max(y, window[0].start), max(x, window[1].start)
            bottom, right = min(y + block[0], window[0].stop), min(x + block[1], window[1].stop)
            if top >= bottom or left >= right:
                continue
            part = slice(top - y, bottom - y), slice(left - x, right - x)
            of = slice(v + top - y, v + bottom - y), slice(u + left - x, u + right - x)
            at = (
                slice(top - window[0].start, bottom - window[0].start),
                slice(left - window[1].start, right - window[1].start),
            )
            total[at] += weights[part] * (fine[of].astype(np.float32) - shrunken[of])
            power[at] += weights[part] ** 2
    # Divided by the root of the squared weights, unlike parts keep their variance where they are blended.
    filled = enlarged[window] + np.float32(DETAIL_GAIN) * total / np.sqrt(power)
    inside = hole[window]
    result[window][inside] = np.clip(np.rint(filled[inside]), 0, 255).astype(np.uint8)
    return result


def _pair_blocks(
    coarse: UInt8[np.ndarray, "h w 3"], holed: Bool[np.ndarray, "k m"], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Corners, in cells, of the blocks that touch the hole, and of the known blocks whose detail they take."""
    from scipy.spatial import KDTree

    nothing = np.zeros((0, 2), int)
    if min(shape) < 2:
        return nothing, nothing
    touched = holed[:-1, :-1] | holed[1:, :-1] | holed[:-1, 1:] | holed[1:, 1:]
    targets, sources = np.argwhere(touched), np.argwhere(~touched)
    if not len(targets) or len(sources) < 4 * CHOICES:
        return nothing, nothing
    sources = sources[:: -(-len(sources) // MAX_SOURCES)]
    features = _features(coarse, shape)
    tree = KDTree(features[sources[:, 0], sources[:, 1]])
    found = np.asarray(tree.query(features[targets[:, 0], targets[:, 1]], k=CHOICES, eps=0.5)[1])
    drawn = np.random.default_rng(0).integers(0, CHOICES, len(found))
    return targets, sources[found[np.arange(len(found)), drawn]]


def _features(coarse: UInt8[np.ndarray, "h w 3"], shape: tuple[int, int]) -> Float32[np.ndarray, "k m 7"]:
    """Describe each block by its corner: mean colours, texture across and down, unevenness, height in the image."""
    light = coarse.mean(axis=2, dtype=np.float32) / np.float32(255)
    across, down = np.zeros_like(light), np.zeros_like(light)
    across[:, 1:] = np.abs(light[:, 1:] - light[:, :-1])
    down[1:] = np.abs(light[1:] - light[:-1])
    colours = [_block_means(unit_values(coarse[..., c]), shape) for c in range(3)]
    mean = _block_means(light, shape)
    spread = np.sqrt(np.maximum(0, _block_means(light**2, shape) - mean**2))
    rows = np.arange(len(mean), dtype=np.float32)[:, None] / np.float32(max(mean.shape))
    height = np.broadcast_to(rows * np.float32(POSITION_WEIGHT), mean.shape)
    textures = [4 * _block_means(across, shape), 4 * _block_means(down, shape), 2 * spread]
    return np.dstack([*colours, *textures, height]).astype(np.float32)


def _block_means(values: Float32[np.ndarray, "h w"], shape: tuple[int, int]) -> Float32[np.ndarray, "k m"]:
    """Means over all blocks of two by two cells."""
    rows, columns = shape
    whole = values[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX)
    cells = whole.mean(axis=(1, 3))
    return (cells[:-1, :-1] + cells[1:, :-1] + cells[:-1, 1:] + cells[1:, 1:]) / np.float32(4)


def _holed_cells(
    hole: Bool[np.ndarray, "h w"], scales: tuple[float, float], shape: tuple[int, int]
) -> Bool[np.ndarray, "k m"]:
    """Cells of the coarse level that hold some of the hole."""
    for axis in (0, 1):
        edges = np.minimum(np.floor(np.arange(shape[axis]) * CELL_PX * scales[axis]).astype(int), hole.shape[axis] - 1)
        hole = np.logical_or.reduceat(hole, edges, axis=axis)
    return hole


def _hann(length: int) -> np.ndarray:
    return np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2


def _resized(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    from PIL import Image

    down = size[0] < image.shape[0]
    method = Image.Resampling.BOX if down else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((size[1], size[0]), method))
