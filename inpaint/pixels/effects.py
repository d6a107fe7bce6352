"""Shadow of an object: ground beside its contact line that is darker than the ground around, and of the same hue."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.imaging import window_of

WORK_PX = 384
"""Longer side at which the shadow is looked for [px]."""
DARK = 0.8
"""Brightness, relative to the lit ground, below which a pixel may lie in shadow."""
SAME_HUE = 0.05
"""Largest difference of the shares of red, green and blue at which the ground is taken for the same."""
REACH = 0.8
"""How far a shadow is looked for, in sides of a square as large as the object."""
CONTACT = 0.3
"""Lower part of the object's height that may stand on the ground."""
LEAST, MOST = 0.02, 0.5
"""Area of a shadow, relative to the object's: larger dark ground is the scene's own."""


def propose_shadow(image: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Find what looks like the object's shadow on the ground; a proposal, that may be wrong.

    Args:
        image: RGB, with the object.
        alpha: the object's opacity in [0, 1].

    Returns:
        True in the shadow, outside the object; nowhere True where none was found.
    """
    from PIL import Image
    from scipy.ndimage import binary_dilation, binary_opening, distance_transform_edt, gaussian_filter, label

    nothing = np.zeros(alpha.shape, bool)
    scale = min(1.0, WORK_PX / max(alpha.shape))
    size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    shown = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BOX)
    matte = np.asarray(Image.fromarray(np.ascontiguousarray(alpha)).resize(size, Image.Resampling.BOX))
    core, support = matte > 0.5, matte > 0.02
    side = float(np.count_nonzero(core)) ** 0.5
    if side < 6:
        return nothing
    # The lit ground near by: brightness and hue of what is neither object nor already dark.
    colours = gaussian_filter(np.asarray(shown, dtype=np.float32) + 1, (1, 1, 0))
    light = colours.mean(axis=2)
    known = np.logical_not(binary_dilation(support, iterations=1 + round(0.02 * side)))
    if np.count_nonzero(known) < side:
        return nothing
    lit = known.copy()
    ground = colours
    for _ in range(3):
        weight = gaussian_filter(lit.astype(np.float32), 0.5 * side) + np.float32(1e-6)
        ground = gaussian_filter(colours * lit[..., None], (0.5 * side, 0.5 * side, 0)) / weight[..., None]
        lit = known & (light > DARK * ground.mean(axis=2))
    hue = np.abs(colours / colours.sum(axis=2, keepdims=True) - ground / ground.sum(axis=2, keepdims=True)).max(axis=2)
    # Its contact line: the lower part of the object's outline.
    rows = window_of(core)[0]
    lowest = rows.stop - 1 - CONTACT * (rows.stop - 1 - rows.start)
    stands = support & (np.arange(len(support))[:, None] >= lowest)
    distance = np.asarray(distance_transform_edt(~stands))
    dark = known & (light < DARK * ground.mean(axis=2)) & (hue < SAME_HUE) & (distance < REACH * side)
    pieces = np.empty(dark.shape, np.int32)
    label(binary_opening(dark), output=pieces)
    touching = np.unique(pieces[(distance <= 3 + 0.06 * side) & (pieces > 0)])
    found = np.isin(pieces, touching) & (pieces > 0)
    if not LEAST * side**2 <= np.count_nonzero(found) <= MOST * side**2:
        return nothing
    # Its soft edge, and the gap between shadow and object.
    found = binary_dilation(found, iterations=2 + round(0.03 * side))
    grown = Image.fromarray(found).resize((alpha.shape[1], alpha.shape[0]), Image.Resampling.NEAREST)
    return np.asarray(grown) & (alpha <= 0.02)
