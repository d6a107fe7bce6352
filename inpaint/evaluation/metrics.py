"""Scores of a removal against the clean image. Pure functions; weights are needed by none of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

PERFECT_DB = 100.0
"""PSNR where there is no error at all [dB]; no larger value is given."""
RING = (0.01, 0.5)
"""Opacities, exclusive, between which a pixel belongs to the ring: the object's fringe."""
CONTRAST_FLOOR = 1e-3
"""Least mean squared contrast, RGB in [0, 1], at which a leftover can be told."""
SSIM_WINDOW_PX = 7
SEAM_AWAY_PX = 8
"""Distance from the hole's rim at which the seam score looks for its reference [px]."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Parts of an image by the object's true opacity; pixels that are touched less than ring or core are outside."""

    support: Bool[np.ndarray, "h w"]
    """Opacity above 0: all that the object touches."""
    ring: Bool[np.ndarray, "h w"]
    """Opacity in (0.01, 0.5): the fringe, where the scene shines through."""
    core: Bool[np.ndarray, "h w"]
    """Opacity of at least 0.5: what a filler has to invent."""
    outside: Bool[np.ndarray, "h w"]
    """Opacity 0: what should stay as it is."""


def regions_of(alpha: Float32[np.ndarray, "h w"]) -> Regions:
    """Divide an image by the object's true opacity in [0, 1]."""
    low, high = RING
    return Regions(alpha > 0.0, (alpha > low) & (alpha < high), alpha >= high, alpha <= 0.0)


def squared_error(result: UInt8[np.ndarray, "h w 3"], clean: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w"]:
    """Squared difference of each pixel, mean over the channels, of values in [0, 255]."""
    return ((result.astype(np.float64) - clean) ** 2).mean(axis=2)


def psnr(
    result: UInt8[np.ndarray, "h w 3"], clean: UInt8[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"]
) -> float:
    """Peak signal-to-noise ratio over the marked pixels [dB], at most `PERFECT_DB`.

    Raises:
        ValueError: no pixel is marked.
    """
    if not where.any():
        raise ValueError("PSNR of no pixels: the region is empty")
    return _decibels(float(squared_error(result, clean)[where].mean()))


def hole_psnr(
    result: UInt8[np.ndarray, "h w 3"], clean: UInt8[np.ndarray, "h w 3"], support: Bool[np.ndarray, "h w"]
) -> float:
    """PSNR of the whole hole [dB]: all squared error of the image, divided by the number of the support's pixels.

    The support is the object's true one, so that the number does not depend on which methods are compared, nor on a
    method's own hole. Errors outside it (a hole that was too large, damage elsewhere) count in full, and so does what
    a hole that was too small left standing. Between two methods on one image the difference is the same as over
    the union of their holes and the support, since elsewhere neither changed anything.

    Raises:
        ValueError: the support is empty.
    """
    if not support.any():
        raise ValueError("PSNR of no pixels: the object touches none")
    return _decibels(float(squared_error(result, clean).sum() / support.sum()))


def ssim_map(
    result: UInt8[np.ndarray, "h w 3"], clean: UInt8[np.ndarray, "h w 3"]
) -> Float64[np.ndarray, "h w"] | None:
    """Structural similarity of each pixel (Wang et al. 2004; windows of 7 px, mean over the channels).

    A region's score is the mean over its pixels. None where the image is smaller than a window.
    """
    from skimage.metrics import structural_similarity

    if min(result.shape[:2]) < SSIM_WINDOW_PX:
        return None
    full = structural_similarity(result, clean, channel_axis=2, data_range=255, full=True, win_size=SSIM_WINDOW_PX)[1]
    return np.asarray(full, dtype=np.float64).mean(axis=2)


def exchanged(foreground: Float32[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"]) -> np.ndarray:
    """Other colours for an object: each channel moved by half its range, dark ones up and light ones down.

    Texture and outline stay; hue and lightness do not.

    Args:
        foreground: straight colours, RGB in [0, 1].
        alpha: opacity in [0, 1], the weight by which a channel is called dark or light.
    """
    mean = np.einsum("hwc,hw->c", foreground, alpha) / max(float(alpha.sum()), 1e-6)
    return np.clip(foreground + np.where(mean < 0.5, np.float32(0.5), np.float32(-0.5)), 0.0, 1.0).astype(np.float32)


def leftover(
    first: UInt8[np.ndarray, "h w 3"],
    second: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    first_colours: Float32[np.ndarray, "h w 3"],
    second_colours: Float32[np.ndarray, "h w 3"],
) -> float | None:
    """Share of the object's contrast that is left in its ring, told by exchanging the object's colours.

    Two images differ in nothing but the object's colours; it is removed from both, with one matte and one fill.
    Whatever the two results differ by is the object's. The root mean square of that, over the ring, is divided by that
    of what the images differed by, alpha (F1 - F2). 0: nothing of the object is left, whatever the fill looks like.
    1: all of it.

    Args:
        first: RGB, the object removed.
        second: RGB, the object of the other colours removed.
        alpha: the object's true opacity in [0, 1].
        first_colours: its true straight colours, RGB in [0, 1].
        second_colours: the other colours.

    Returns:
        The share, at least 0; None where the two have one colour, or there is no ring.
    """
    ring = regions_of(alpha).ring
    planted = alpha[ring].astype(np.float64)[:, None] * (first_colours[ring].astype(np.float64) - second_colours[ring])
    strength = float((planted**2).sum())
    if not ring.any() or strength < CONTRAST_FLOOR * ring.sum():
        return None
    left = (first[ring].astype(np.float64) - second[ring]) / 255.0
    return float(np.sqrt((left**2).sum() / strength))


def seam(result: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]) -> float | None:
    """Return how much more the image changes across the hole's rim than some pixels outside it; needs no clean image.

    The mean absolute difference of neighbouring pixels (4 neighbours, all channels) of which one is in the hole and one
    is not, divided by that of neighbours on either side of the line `SEAM_AWAY_PX` outside the hole. About 1 where the
    rim cannot be told, more where it shows; below 1 where the fill is smoother than the scene.

    Returns:
        The ratio; None where hole or surroundings have no such line, or the surroundings are perfectly plain.
    """
    from scipy.ndimage import distance_transform_edt

    if hole.all() or not hole.any():
        return None
    away = np.asarray(distance_transform_edt(~hole)) <= SEAM_AWAY_PX
    at_rim, further = _change_across(result, hole), _change_across(result, away)
    return None if at_rim is None or not further else at_rim / further


def sharpness(result: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]) -> float | None:
    """Mean absolute difference of neighbours inside the hole, divided by that within as many pixels around it.

    Below 1 the fill is blurred, or the scene around is busier than what was hidden. None where there is no such pixel.
    """
    from scipy.ndimage import distance_transform_edt

    if hole.all() or hole.sum() < 2:
        return None
    distance = np.asarray(distance_transform_edt(~hole))
    outside = distance[distance > 0]
    reach = np.partition(outside, min(len(outside), int(hole.sum())) - 1)[min(len(outside), int(hole.sum())) - 1]
    inside, around = _change_within(result, hole), _change_within(result, (distance > 0) & (distance <= reach))
    return None if inside is None or not around else inside / around


def _change_across(image: np.ndarray, part: Bool[np.ndarray, "h w"]) -> float | None:
    return _mean_change(image, lambda a, b: a != b, part)


def _change_within(image: np.ndarray, part: Bool[np.ndarray, "h w"]) -> float | None:
    return _mean_change(image, np.logical_and, part)


def _mean_change(image: np.ndarray, chosen, part: Bool[np.ndarray, "h w"]) -> float | None:
    """Mean absolute difference of the neighbours that `chosen` picks by whether each of the two is in `part`."""
    values = image.astype(np.float64)
    found = [
        np.abs(values[1:] - values[:-1])[chosen(part[1:], part[:-1])],
        np.abs(values[:, 1:] - values[:, :-1])[chosen(part[:, 1:], part[:, :-1])],
    ]
    joined = np.concatenate(found)
    return float(joined.mean()) if len(joined) else None


def _decibels(mse: float) -> float:
    """PSNR of a mean squared error of values in [0, 255]."""
    return PERFECT_DB if mse == 0 else min(PERFECT_DB, float(10 * np.log10(255.0**2 / mse)))
