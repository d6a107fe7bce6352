"""Exact blending weights of all pairs of pixel and Gaussian, on a CPU.

The formula is that of 3D Gaussian Splatting (Kerbl et al. 2023): a Gaussian's image is a 2D Gaussian, widened by a
low-pass filter; its opacity at a pixel is o exp(-q / 2), counted from 1/255 on; Gaussians are blended in the order of
their depth. What its tiles cut off is not cut off here: a pixel takes part wherever that opacity is reached.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.sparse import csr_matrix
from torch import Tensor

from .camera import Camera
from .model import Gaussians, rotation_matrices

NEAR = 0.01
"""Gaussians nearer to the camera than this share of the median distance are left out: they are in the lens."""
LOW_PASS_PX2 = 0.3
"""Added to the variance of each image along both axes [px^2]."""
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.99
MIN_WEIGHT = 1e-5
"""Pairs of smaller weight are dropped."""
MAX_PAIRS = 4_000_000
"""Pairs of a band of rows that are sorted at once, about 40 bytes each; more where one row has more."""
_MAX_BAND_PX = 1 << 16


@dataclass(frozen=True, eq=False)
class Footprints:
    """Gaussians as a camera sees them, nearest first."""

    index: Int64[np.ndarray, " m"]
    """Which Gaussian each is."""
    depth: Float32[np.ndarray, " m"]
    centre: Float32[np.ndarray, "m 2"]
    """x, y [px]."""
    conic: Float32[np.ndarray, "m 3"]
    """a, b, c of q = a dx^2 + 2 b dx dy + c dy^2 [1/px^2]."""
    opacity: Float32[np.ndarray, " m"]
    reach: Float32[np.ndarray, " m"]
    """q at which the opacity falls to `MIN_ALPHA`."""
    half_height: Float32[np.ndarray, " m"]
    """Largest |dy| within reach [px]."""


@dataclass(frozen=True, eq=False)
class SplatSamples:
    """A view as weights of all pairs of pixel and Gaussian; what a segmenter accumulates along."""

    weights: csr_matrix
    """(H W, n), float32: row p holds the blending weights of pixel p, row-major."""
    depth: Float[Tensor, " r"]
    """Mean distance along the optical axis by weight, in the scene's unit; 0 where nothing is seen."""
    accumulation: Float[Tensor, " r"]
    """Sum of the weights, in [0, 1]."""
    size: tuple[int, int]
    """(H, W) [px]."""

    @property
    def memory(self) -> int:
        """Bytes of the weights."""
        return self.weights.data.nbytes + self.weights.indices.nbytes + self.weights.indptr.nbytes

    def blend(self, values: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, "h w c"]:
        """Return the image of values of the Gaussians, over black."""
        return np.asarray(self.weights @ values).reshape(*self.size, values.shape[1]).astype(np.float32)

    def gather(self, values: Float32[np.ndarray, "r c"]) -> Float32[np.ndarray, "n c"]:
        """Return what each Gaussian gathers of values of the pixels: their sum by weight."""
        return np.asarray(self.weights.T @ values, dtype=np.float32)


def footprints(gaussians: Gaussians, camera: Camera) -> Footprints:
    """Return the images of all Gaussians that reach into the image, nearest first."""
    matrix = torch.from_numpy(camera.world_to_camera).to(torch.float32)
    rotation, translation = matrix[:3, :3], matrix[:3, 3]
    at = gaussians.means @ rotation.T + translation
    before = at[:, 2] > 0
    near = NEAR * float(at[before, 2].median()) if bool(before.any()) else 0.0
    index = (before & (at[:, 2] > near) & (gaussians.opacities > MIN_ALPHA)).nonzero()[:, 0]
    at = at[index]
    centre, jacobian = camera.project(at)
    axes = rotation_matrices(gaussians.rotations[index]) * gaussians.scales[index][:, None, :]
    to_image = jacobian @ rotation @ axes
    variance = to_image @ to_image.transpose(1, 2)
    xx, xy, yy = variance[:, 0, 0] + LOW_PASS_PX2, variance[:, 0, 1], variance[:, 1, 1] + LOW_PASS_PX2
    determinant = xx * yy - xy * xy
    reach = 2 * torch.log(gaussians.opacities[index] / MIN_ALPHA)
    half_width, half_height = (reach * xx).sqrt(), (reach * yy).sqrt()
    height, width = camera.size
    seen = (determinant > 0) & centre.isfinite().all(1)
    seen &= (centre[:, 0] + half_width > 0) & (centre[:, 0] - half_width < width)
    seen &= (centre[:, 1] + half_height > 0) & (centre[:, 1] - half_height < height)
    chosen = seen.nonzero()[:, 0]
    chosen = chosen[torch.argsort(at[chosen, 2], stable=True)]
    conic = torch.stack([yy, -xy, xx], dim=1)[chosen] / determinant[chosen, None]
    parts = (
        at[chosen, 2],
        centre[chosen],
        conic,
        gaussians.opacities[index][chosen],
        reach[chosen],
        half_height[chosen],
    )
    return Footprints(index[chosen].numpy(), *(part.numpy() for part in parts))


def view_weights(gaussians: Gaussians, camera: Camera) -> SplatSamples:
    """Return the blending weights of all pairs of pixel and Gaussian in one view.

    Memory grows with the pairs of a band of rows while it is made, and with all pairs above `MIN_WEIGHT` afterwards.
    """
    prints = footprints(gaussians, camera)
    height, width = camera.size
    spans = _spans(prints, camera.size)
    per_row = np.bincount(spans.row, weights=spans.count, minlength=height)
    indptr, columns, weights, depth = [np.zeros(1, dtype=np.int64)], [], [], []
    for top, bottom in _bands(per_row, width):
        band = _band(prints, spans, top, bottom, width)
        indptr.append(indptr[-1][-1] + np.cumsum(np.bincount(band.pixel, minlength=(bottom - top) * width)))
        columns.append(prints.index[band.footprint].astype(np.int32))
        weights.append(band.weight)
        by_depth = np.bincount(band.pixel, band.weight * prints.depth[band.footprint], (bottom - top) * width)
        depth.append(by_depth)
    matrix = csr_matrix(
        (np.concatenate(weights), np.concatenate(columns), np.concatenate(indptr)),
        shape=(height * width, len(gaussians)),
        copy=False,
    )
    accumulation = np.asarray(matrix.sum(axis=1)).ravel()
    mean_depth = np.concatenate(depth) / np.maximum(accumulation, 1e-6)
    return SplatSamples(
        weights=matrix,
        depth=torch.from_numpy(mean_depth.astype(np.float32)),
        accumulation=torch.from_numpy(accumulation.astype(np.float32).clip(0, 1)),
        size=camera.size,
    )


@dataclass(frozen=True, eq=False)
class _Spans:
    """Runs of pixels in one row that one footprint reaches; in the order of the footprints."""

    footprint: Int64[np.ndarray, " s"]
    row: Int64[np.ndarray, " s"]
    first: Int64[np.ndarray, " s"]
    count: Int64[np.ndarray, " s"]


def _spans(prints: Footprints, size: tuple[int, int]) -> _Spans:
    height, width = size
    y, half = prints.centre[:, 1], prints.half_height
    # Pixel r is the place r + 0.5.
    top = np.clip(np.ceil(y - half - 0.5), 0, height).astype(np.int64)
    bottom = np.clip(np.floor(y + half - 0.5) + 1, 0, height).astype(np.int64)
    rows = np.maximum(bottom - top, 0)
    footprint = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows) + np.repeat(top, rows)
    # Along a row, q <= reach between the roots of a quadratic in dx.
    a, b, c = prints.conic[footprint].astype(np.float64).T
    dy = row + 0.5 - y[footprint]
    root = np.sqrt(np.maximum(b * b * dy * dy - a * (c * dy * dy - prints.reach[footprint]), 0))
    middle = prints.centre[footprint, 0] - b * dy / a
    first = np.clip(np.ceil(middle - root / a - 0.5), 0, width).astype(np.int64)
    last = np.clip(np.floor(middle + root / a - 0.5) + 1, 0, width).astype(np.int64)
    count = last - first
    kept = count > 0
    return _Spans(footprint[kept], row[kept], first[kept], count[kept])


def _bands(per_row: np.ndarray, width: int) -> list[tuple[int, int]]:
    """Runs of rows with at most `MAX_PAIRS` pairs and 2^16 pixels, at least one row each."""
    bands, top, pairs = [], 0, 0.0
    for row, count in enumerate(per_row):
        if row > top and (pairs + count > MAX_PAIRS or (row + 1 - top) * width > _MAX_BAND_PX):
            bands.append((top, row))
            top, pairs = row, 0.0
        pairs += count
    return [*bands, (top, len(per_row))]


@dataclass(frozen=True, eq=False)
class _Band:
    """Pairs of a band of rows, by pixel and then by depth."""

    pixel: Int64[np.ndarray, " p"]
    footprint: Int64[np.ndarray, " p"]
    weight: Float32[np.ndarray, " p"]


def _band(prints: Footprints, spans: _Spans, top: int, bottom: int, width: int) -> _Band:
    chosen = np.flatnonzero((spans.row >= top) & (spans.row < bottom))
    count = spans.count[chosen]
    starts = np.cumsum(count) - count
    # One entry for each pair, in the order of depth.
    span = np.repeat(chosen, count)
    x = np.arange(len(span)) - np.repeat(starts - spans.first[chosen], count)
    footprint, row = spans.footprint[span], spans.row[span]
    dx = (x + 0.5 - prints.centre[footprint, 0]).astype(np.float32)
    dy = (row + 0.5 - prints.centre[footprint, 1]).astype(np.float32)
    a, b, c = prints.conic[footprint].T
    alpha = prints.opacity[footprint] * np.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
    alpha = np.minimum(alpha, MAX_ALPHA)
    # Stable: within a pixel the order of depth stays. 16-bit keys are sorted by radix.
    pixel = (row - top) * width + x
    order = np.argsort(pixel.astype(np.uint16) if (bottom - top) * width <= _MAX_BAND_PX else pixel, kind="stable")
    pixel, footprint, alpha = pixel[order], footprint[order], alpha[order]
    # Transmittance before each pair: a cumulative sum of logarithms, from the start of its pixel.
    logarithm = np.log1p(-alpha.astype(np.float64))
    before = np.cumsum(logarithm) - logarithm
    counts = np.bincount(pixel, minlength=(bottom - top) * width)
    first = (np.cumsum(counts) - counts)[pixel]
    weight = (alpha * np.exp(before - before[first])).astype(np.float32) if len(pixel) else alpha.astype(np.float32)
    kept = np.flatnonzero(weight > MIN_WEIGHT)
    return _Band(pixel[kept], footprint[kept], weight[kept])
