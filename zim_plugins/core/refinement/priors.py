"""Priors of shape: a box was drawn tightly, and an object owns the parts that it encloses.

Both move log-odds by as much as they are unsure: what a model is sure of stays. A network that learnt from objects cut
into parts leaves parts out, half sure of them; of such a part these priors make a question for the colours to decide.
The box as a prior is Lempitsky et al.'s (2009), as the least shift that satisfies it in place of their optimisation.
"""

import numpy as np
from jaxtyping import Float, Float32

TOLERANCE = 0.05
"""Gap between object and box below which the box is tight, as a share of its width or height."""


def reach_box(
    log_odds: Float32[np.ndarray, "h w"],
    box: Float[np.ndarray, " 4"],
    *,
    limit: float,
    tolerance: float = TOLERANCE,
) -> Float32[np.ndarray, "h w"]:
    """Raise log-odds by the least that makes the object reach all four sides of its box.

    Args:
        log_odds: of the object.
        box: X1 Y1 X2 Y2 [px of the array]; what lies outside the array is not looked at.
        limit: largest rise, in log-odds; an object that would need more gets so much.
        tolerance: gap below which the box is tight, as a share of its width or height.

    Returns:
        Log-odds raised alike everywhere, or the ones given where nothing is missing or the box holds no pixel.

    >>> odds = np.full((1, 8), -3, np.float32)
    >>> odds[0, :5], odds[0, 5:7] = 2, -1
    >>> reach_box(odds, np.array([0.0, 0, 7, 1]), limit=4)[0].tolist()
    [3.0, 3.0, 3.0, 3.0, 3.0, 0.0, 0.0, -2.0]
    >>> float(reach_box(odds, np.array([0.0, 0, 8, 1]), limit=2)[0, 7])
    -1.0
    """
    height, width = log_odds.shape
    low = np.clip(np.floor(box[:2]), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(box[2:]), 0, (width, height)).astype(int)
    if (high <= low).any():
        return log_odds
    inner = log_odds[low[1] : high[1], low[0] : high[0]]
    short = 0.0
    for line, extent in zip((inner.max(0), inner.max(1)), box[2:] - box[:2], strict=True):
        strip = max(1, int(np.ceil(tolerance * extent)))
        short = max(short, -float(line[:strip].max()), -float(line[-strip:].max()))
    return log_odds + np.float32(min(short, limit)) if short > 0 else log_odds


def fill_enclosed(log_odds: Float32[np.ndarray, "h w"], share: float) -> Float32[np.ndarray, "h w"]:
    """Raise what the object encloses towards the log-odds of the rim that encloses it.

    Args:
        log_odds: of the object; what touches the array's border is enclosed by nothing.
        share: how far, from 0 (not at all) to 1 (holes are closed).

    >>> odds = np.full((5, 5), 4, np.float32)
    >>> odds[2, 2], odds[0, 4] = -1, -4
    >>> fill_enclosed(odds, 0.5)[[2, 0], [2, 4]].tolist()
    [1.5, -4.0]
    """
    if share == 0 or min(log_odds.shape) < 3:
        return log_odds
    from skimage.morphology import reconstruction

    flood = log_odds.copy()
    flood[1:-1, 1:-1] = log_odds.max()
    closed = np.asarray(reconstruction(flood, log_odds, method="erosion"), dtype=np.float32)
    return log_odds + np.float32(share) * (closed - log_odds)
