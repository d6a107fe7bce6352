"""SAM's loose arrays to prompts."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging.ranges import as_array, one_line


def prompts_of(
    point_coords: Any,
    point_labels: Any,
    boxes: Any,
    alphas: Float32[np.ndarray, "_ h w"] | None,
    scale: tuple[float, float],
) -> list[Prompt]:
    """Make one prompt of each row of what SAM's calls take; what has a single row goes to every prompt.

    Args:
        point_coords: XY, (n, 2) or (b, n, 2).
        point_labels: 1 foreground, 0 background, -1 none, (n,) or (b, n).
        boxes: X1 Y1 X2 Y2, (4,) or (b, 4).
        alphas: coarse mattes, (1, h, w) or (b, h, w).
        scale: by which coordinates are multiplied, XY.

    Raises:
        TypeError: no numbers.
        ValueError: shapes that do not belong together.

    >>> len(prompts_of([[5, 6]], [1], [[1, 2, 30, 40], [3, 4, 50, 60]], None, (1.0, 1.0)))
    2
    """
    if (point_coords is None) != (point_labels is None):
        raise ValueError("point_coords and point_labels must be given together")
    coords = labels = corners = None
    if point_coords is not None:
        coords, labels = _floats(point_coords, "point_coords"), _floats(point_labels, "point_labels")
        if coords.ndim == 2:
            coords, labels = coords[None], labels[None] if labels.ndim == 1 else labels
        if coords.ndim != 3 or coords.shape[2] != 2 or labels.shape != coords.shape[:2]:
            raise ValueError(f"point_coords {coords.shape} and point_labels {labels.shape} do not belong together")
        coords = coords * scale
    if boxes is not None:
        corners = _floats(boxes, "box")
        if corners.size == 0 or corners.ndim == 0 or corners.shape[-1] != 4:
            raise ValueError(f"a box is X1 Y1 X2 Y2, several are (b, 4); got shape {corners.shape}")
        corners = corners.reshape(-1, 4) * np.tile(scale, 2)
    rows = [len(given) for given in (coords, corners, alphas) if given is not None]
    count = max(rows, default=1)
    if any(length not in (1, count) for length in rows):
        raise ValueError(f"prompts of {' and '.join(map(str, rows))} rows do not belong together")

    def row(given: np.ndarray | None, i: int) -> np.ndarray | None:
        return None if given is None else given[i if len(given) > 1 else 0]

    return [_prompt(row(coords, i), row(labels, i), row(corners, i), row(alphas, i)) for i in range(count)]


def _prompt(
    coords: Float[np.ndarray, "n 2"] | None,
    labels: Float[np.ndarray, " n"] | None,
    box: Float[np.ndarray, " 4"] | None,
    alpha: Float32[np.ndarray, "h w"] | None,
) -> Prompt:
    """One prompt; clicks of label -1 are padding and are left out."""
    if coords is not None and labels is not None:
        kept = labels != -1
        coords, labels = (coords[kept], labels[kept].astype(np.int64)) if kept.any() else (None, None)
    return Prompt(points=coords, labels=labels, box=box, alpha=alpha)


def _floats(values: Any, name: str) -> Float[np.ndarray, "..."]:
    """A copy as float64 of an array, a tensor or a list.

    Raises:
        TypeError: they are no numbers.
    """
    if hasattr(values, "detach"):
        values = as_array(values, name)
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} must be numbers, got {one_line(values)}: {one_line(error)}") from None
