"""The guided filter (He et al. 2010): what a matte says, along the edges that the image has."""

import numpy as np
from jaxtyping import Float, Float32, UInt8

from zim_plugins.imaging.ranges import unit_values


class GuidedFilter:
    """A local linear model of opacity in colour; what depends on the image alone is computed once.

    Args:
        guide: colours in [0, 1].
        radius_px: of the square windows.
        epsilon: variance of colour below which a window counts as flat.
    """

    def __init__(self, guide: Float32[np.ndarray, "h w 3"], radius_px: int, epsilon: float) -> None:
        self.guide = guide
        self.side_px = 2 * radius_px + 1
        self.mean = self._blur(guide)
        products = (guide[..., :, None] * guide[..., None, :]).reshape(*guide.shape[:2], 9)
        covariance = self._blur(products).reshape(*guide.shape, 3) - self.mean[..., :, None] * self.mean[..., None, :]
        self.inverse = _inverse(covariance + epsilon * np.eye(3)).astype(np.float32)

    def coefficients(
        self, values: Float32[np.ndarray, "h w"]
    ) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
        """Slope and offset with values ~ slope . colour + offset, averaged over the windows of each pixel."""
        mean = self._blur(values[..., None])
        joint = self._blur(self.guide * values[..., None]) - self.mean * mean
        slope = np.einsum("hwij,hwj->hwi", self.inverse, joint)
        offset = mean[..., 0] - np.einsum("hwc,hwc->hw", slope, self.mean)
        return self._blur(slope), self._blur(offset[..., None])[..., 0]

    def __call__(self, values: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """The filtered values, not clipped."""
        slope, offset = self.coefficients(values)
        return np.einsum("hwc,hwc->hw", slope, self.guide) + offset

    def enlarged(
        self, values: Float32[np.ndarray, "h w"], guide: Float32[np.ndarray, "s t 3"] | UInt8[np.ndarray, "s t 3"]
    ) -> Float32[np.ndarray, "s t"]:
        """The filtered values at the size of a larger guide, whose edges they take (He and Sun, arXiv 1505.00996).

        Args:
            values: opacity at this filter's size.
            guide: the same image larger, colours in [0, 1], or in [0, 255] where they are uint8.
        """
        slope, offset = self.coefficients(values.astype(np.float32))
        size = guide.shape[0], guide.shape[1]
        full = np.zeros(size, np.float32)
        for channel in range(3):  # one after the other: the guide may be large
            full += resized(slope[..., channel], size) * unit_channel(guide, channel)
        full += resized(offset, size)
        return full

    def _blur(self, values: Float32[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h w c"]:
        from scipy.ndimage import uniform_filter

        return uniform_filter(values, self.side_px, mode="nearest", axes=(0, 1))


def _inverse(matrices: Float[np.ndarray, "h w 3 3"]) -> Float[np.ndarray, "h w 3 3"]:
    """Invert symmetric matrices by their cofactors: many times as fast as a general solver for each pixel."""
    (a, b, c), (_, d, e), (*_, f) = np.moveaxis(matrices, (-2, -1), (0, 1))
    upper = d * f - e * e, c * e - b * f, b * e - c * d
    determinant = a * upper[0] + b * upper[1] + c * upper[2]
    rows = [upper, (upper[1], a * f - c * c, b * c - a * e), (upper[2], b * c - a * e, a * d - b * b)]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2) / determinant[..., None, None]


def unit_channel(
    image: Float32[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"], channel: int
) -> Float32[np.ndarray, "h w"]:
    """One channel of an image, in [0, 1]."""
    values = image[..., channel]
    return unit_values(values) if values.dtype == np.uint8 else values


def resized(values: Float32[np.ndarray, "h w *c"], size: tuple[int, ...]) -> Float32[np.ndarray, "s t *c"]:
    """Bilinear, antialiased when made smaller; `size` is (H, W)."""
    import PIL.Image

    if values.ndim == 2:
        image = PIL.Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
        return np.asarray(image.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR))
    return np.stack([resized(values[..., i], size) for i in range(values.shape[2])], axis=-1)
