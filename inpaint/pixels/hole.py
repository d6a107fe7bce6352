"""The hole: which pixels of an image an object touches, told from its matte."""

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.core import ZimError

TAU = 0.02
"""Opacity above which a pixel counts as touched by the object."""
GROW_PX = 2
"""Radius [px] by which the support is dilated."""
CORE_ALPHA = 0.5
"""Opacity that only the object itself reaches; a piece of the support without such pixels is a speck."""
SMALLEST_PIECE = 0.002
"""Least core area of a piece that is kept, as a share of the largest piece's core area."""


class EmptyMatte(ZimError, ValueError):
    """The matte holds no object, so there is nothing to take away."""


def matte_hole(
    alpha: Float32[np.ndarray, "h w"], *, tau: float = TAU, grow_px: int = GROW_PX
) -> Bool[np.ndarray, "h w"]:
    """Find the pixels to repaint: the support of the matte, dilated, without specks that do not touch the object.

    The support of a soft matte, unlike its 0.5 level set, covers hair and blurred edges. Pieces are told apart after
    dilation, so a lone hair `2 grow_px` away from the object still belongs to it.

    Args:
        alpha: opacity in [0, 1].
        tau: opacity above which a pixel counts as touched by the object.
        grow_px: radius of the dilation [px].

    Returns:
        True where the image is to be repainted.

    Raises:
        ValueError: `tau` or `grow_px` is out of range.
        EmptyMatte: no pixel exceeds `tau`.
    """
    from skimage.measure import label
    from skimage.morphology import isotropic_dilation

    if not 0.0 <= tau < 1.0:
        raise ValueError(f"tau is an opacity in [0, 1), got {tau}")
    if grow_px < 0:
        raise ValueError(f"grow is a radius of at least 0 px, got {grow_px}")
    support = alpha > tau
    if not support.any():
        raise EmptyMatte(f"the matte is empty: no pixel is more opaque than {tau:g}")
    grown = isotropic_dilation(support, grow_px) if grow_px else support
    pieces = np.asarray(label(grown, connectivity=2))
    core = alpha >= min(CORE_ALPHA, float(alpha.max()))
    core_px = np.bincount(pieces[core], minlength=int(pieces.max()) + 1)
    core_px[0] = 0
    kept = core_px > SMALLEST_PIECE * core_px.max()
    return kept[pieces]


def touches_border(hole: Bool[np.ndarray, "h w"]) -> bool:
    """Return whether the hole reaches an edge of the image."""
    return bool(hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any())
