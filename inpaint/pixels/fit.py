"""Fit of a matte to its image: whether its detail is that of the edge which the image shows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from zim_plugins.core import composite, foreground_colours
from zim_plugins.imaging import from_unit, window_of

from .tiles import ColourImage, to_8_bits

WORK_PX = 512
"""Longer side of the object's window at which it is looked at [px]; what is finer is hardly seen."""
WINDOW_PX = 5
"""Side of the windows [px] within which opacity is told from colour, as by a guided filter (He et al., 2010)."""
REGULARISATION = 1e-4
"""Variance of colours, in [0, 1] squared, below which they tell nothing."""
DETAIL_PX = 0.7
"""Standard deviation [px] of the blur that detail is what is lost by."""
SOFT = (0.02, 0.98)
"""Opacities, exclusive, between which an edge is soft."""
LEAST_PX = 50
"""Fewer soft pixels are no evidence."""
FLOOR = 0.03
"""Unlikeness of details that is always forgiven."""
MOST_UNLIKE, MOST_BLURRED = 1.5, 1.08
"""Largest `Fit` of a matte that is un-mixed. On the half of the composites that constants are chosen on, true mattes
reach 1.44 and 1.04, the label converter's begin at 1.54, blurred ones at 1.10."""


class Fit(NamedTuple):
    """Worth of a matte: both are about 1 for the right one.

    >>> Fit(1.0, 1.0).is_good, Fit(2.0, 1.0).is_good, Fit(1.0, 1.2).is_good
    (True, False, False)
    """

    unlike: float
    """Unlikeness of the matte's detail and the image's, relative to that in an image where the matte is right."""
    blurred: float
    """Strength of the image's detail along the matte's edge, relative to the same."""

    @property
    def is_good(self) -> bool:
        """Tell that the background may be recovered by this matte."""
        return self.unlike <= MOST_UNLIKE and self.blurred <= MOST_BLURRED


def fit_of(image: ColourImage, alpha: Float32[np.ndarray, "h w"], fill: ColourImage) -> Fit | None:
    """Compare how the matte follows the image with how it would follow one that it is right for.

    That one is made: the object's estimated colours, by this matte, over the fill. In both images opacity is told from
    colour in small windows, and the finest detail of what is told is correlated with the matte's own. A busy scene
    hides the edge in both alike, so that only the matte's faults are left in the comparison. A matte that was itself
    refined by the image agrees with it also where it is wrong: this cannot tell.

    Args:
        image: RGB, with the object.
        alpha: the object's opacity in [0, 1].
        fill: RGB, the image with the object painted over.

    Returns:
        The comparison; None where the matte has no soft edge.
    """
    from PIL import Image
    from scipy.ndimage import binary_dilation

    rows, columns = window_of(alpha > SOFT[0], margin_px=4 * WINDOW_PX)
    size = rows.stop - rows.start, columns.stop - columns.start
    scale = min(1.0, WORK_PX / max(1, *size))
    to = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
    shown, opacity, behind = (
        np.asarray(Image.fromarray(np.ascontiguousarray(values)).resize(to, Image.Resampling.BOX))
        for values in (to_8_bits(image[rows, columns]), alpha[rows, columns], to_8_bits(fill[rows, columns]))
    )
    soft = (opacity > SOFT[0]) & (opacity < SOFT[1])
    if np.count_nonzero(soft) < LEAST_PX:
        return None
    edge = binary_dilation(soft, iterations=WINDOW_PX // 2)
    right = from_unit(composite(foreground_colours(shown, opacity), opacity, behind))
    (likeness, strength), (best, usual) = (_agreement(one, opacity, edge) for one in (shown, right))
    return Fit((1 - likeness + FLOOR) / (1 - best + FLOOR), strength / usual)


def _agreement(
    image: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], where: Bool[np.ndarray, "h w"]
) -> tuple[float, float]:
    """Correlation of the matte's detail and that of the opacity told from colour, and the latter's strength."""
    from scipy.ndimage import gaussian_filter

    own = alpha.astype(np.float64)
    told = _told_from_colour(image / 255.0, own)
    first, second = ((values - gaussian_filter(values, DETAIL_PX))[where] for values in (own, told))
    power = float((second**2).sum()) + 1e-9
    return float((first * second).sum() / np.sqrt((float((first**2).sum()) + 1e-9) * power)), power**0.5


def _told_from_colour(
    image: Float64[np.ndarray, "h w 3"], alpha: Float64[np.ndarray, "h w"]
) -> Float64[np.ndarray, "h w"]:
    """Opacity as the linear function of the colours that fits the matte best, window by window, averaged."""
    from scipy.ndimage import uniform_filter

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, WINDOW_PX, mode="nearest", axes=(0, 1))

    colour, opacity = mean(image), mean(alpha)
    spread = mean(image[..., :, None] * image[..., None, :]) - colour[..., :, None] * colour[..., None, :]
    shared = mean(image * alpha[..., None]) - colour * opacity[..., None]
    slope = np.linalg.solve(spread + REGULARISATION * np.eye(3), shared[..., None])[..., 0]
    return (mean(slope) * image).sum(axis=2) + mean(opacity - (slope * colour).sum(axis=2))
