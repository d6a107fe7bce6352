"""Outlines of masks: COCO's run lengths, and polygons along the pixels' borders."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from zim_plugins.imaging.geometry import tight_box
from zim_plugins.imaging.ranges import as_mask

RIGHT, DOWN, LEFT, UP = range(4)
"""Directions of a border that is walked with the object on its right."""


def mask_to_rle(mask: Bool[np.ndarray, "h w"], *, compressed: bool = True) -> dict[str, Any]:
    """Encode a mask as COCO's run lengths, `{"size": [h, w], "counts": ...}`; pycocotools reads them.

    Runs go down the columns, the first one is background.

    Args:
        mask: True is the object.
        compressed: write the runs as COCO's text; False writes them as a list of numbers.

    >>> mask_to_rle(np.array([[False, True], [True, True]]), compressed=False)
    {'size': [2, 2], 'counts': [1, 3]}
    >>> mask_to_rle(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': '13'}
    """
    runs = runs_of(as_mask(mask))
    return {"size": list(mask.shape), "counts": compress_runs(runs) if compressed else runs.tolist()}


def runs_of(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, " runs"]:
    """Lengths of background and object in turn, down the columns [px]; the first may be 0."""
    column_major = mask.ravel(order="F")
    if column_major.size == 0:
        raise ValueError(f"a mask has at least one pixel, got shape {mask.shape}")
    starts = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    bounds = np.r_[[0] * (2 if column_major[0] else 1), starts, column_major.size]
    return np.diff(bounds)


def compress_runs(runs: Int[np.ndarray, " runs"]) -> str:
    """Write runs as COCO's text.

    Each run is the difference to the run two before it (from the fourth on), cut into groups of 5 bits, lowest first,
    one character of code 48..111 each, whose sixth bit says that another follows.
    """
    deltas = runs.astype(np.int64)
    deltas[3:] -= runs[1:-2]
    groups = []
    unfinished = np.ones(len(deltas), dtype=bool)
    for _ in range(13):
        code = deltas & 31
        deltas = deltas >> 5
        more = np.where(code & 16, deltas != -1, deltas != 0)
        groups.append(np.where(unfinished, code + 32 * more + 48, 0))
        unfinished &= more
        if not unfinished.any():
            break
    characters = np.stack(groups, axis=1).ravel()
    return characters[characters > 0].astype(np.uint8).tobytes().decode("ascii")


def mask_box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Tight box X Y W H [px] of a mask, as pycocotools' `toBbox`; all 0 where the mask is empty.

    >>> mask_box(np.eye(4, 6, k=1, dtype=bool))
    (1, 0, 4, 4)
    """
    x1, y1, x2, y2 = tight_box(as_mask(mask)) or (0, 0, 0, 0)
    return x1, y1, x2 - x1, y2 - y1


def mask_to_polygons(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float = 0.0) -> list[list[float]]:
    """Outline a mask by COCO polygons, [x1, y1, x2, y2, ...] [px] each, one for every connected piece.

    Corners lie on the pixels' own corners, so that at tolerance 0 the polygons hold exactly the mask's pixels. A hole
    is joined to its piece's outline by a seam of no width, which every filling rule takes for what it is.

    Args:
        mask: True is the object; pieces that touch at a corner only are two.
        tolerance_px: farthest that a corner left out may lie from the line drawn instead (Douglas and Peucker) [px].

    >>> mask_to_polygons(np.array([[True, True, False]]))
    [[0.0, 0.0, 2.0, 0.0, 2.0, 1.0, 0.0, 1.0]]
    """
    mask = as_mask(mask)
    if not tolerance_px >= 0:
        raise ValueError(f"tolerance_px is 0 or more, got {tolerance_px}")
    from scipy.ndimage import label

    labelled: Any = label(mask)
    pieces = labelled[0]
    outer: dict[int, Float[np.ndarray, "_ 2"]] = {}
    holes: dict[int, list[Float[np.ndarray, "_ 2"]]] = {}
    for ring, (x, y) in _rings(mask):
        area = _signed_area(ring)
        ring = _simplified(ring, tolerance_px)
        piece = int(pieces[y, x])
        if area > 0:
            outer[piece] = ring
        else:
            holes.setdefault(piece, []).append(ring)
    return [_joined(ring, holes.get(piece, [])).ravel().tolist() for piece, ring in sorted(outer.items())]


def _rings(mask: Bool[np.ndarray, "h w"]) -> "list[tuple[Float[np.ndarray, '_ 2'], tuple[int, int]]]":
    """Closed borders, corners XY with the object on the right, and for each a pixel XY of the object beside it."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    # Borders of one pixel's length: where they start, where they lead, and the pixel on their right.
    borders = []
    for direction, neighbour, start in (
        (RIGHT, padded[:-2, 1:-1], (0, 0)),
        (DOWN, padded[1:-1, 2:], (1, 0)),
        (LEFT, padded[2:, 1:-1], (1, 1)),
        (UP, padded[1:-1, :-2], (0, 1)),
    ):
        ys, xs = np.nonzero(inside & ~neighbour)
        borders.append(np.stack([xs + start[0], ys + start[1], np.full(len(xs), direction), xs, ys], axis=1))
    edges = np.concatenate(borders)
    if len(edges) == 0:
        return []
    columns = mask.shape[1] + 1
    keys = (edges[:, 1] * columns + edges[:, 0]) * 4 + edges[:, 2]
    order = np.argsort(keys)
    edges, keys = edges[order], keys[order]
    step_x, step_y = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])
    ends = (edges[:, 1] + step_y[edges[:, 2]]) * columns + edges[:, 0] + step_x[edges[:, 2]]
    # The next border turns right where it can, so that pixels which touch at a corner only stay apart.
    following = np.full(len(edges), -1)
    for turn in (1, 0, 3):
        wanted = ends * 4 + (edges[:, 2] + turn) % 4
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        following = np.where((following < 0) & (keys[at] == wanted), at, following)
    return _walk(edges, following)


def _walk(
    edges: Int[np.ndarray, "n 5"], following: Int[np.ndarray, " n"]
) -> "list[tuple[Float[np.ndarray, '_ 2'], tuple[int, int]]]":
    """Follow the borders round each ring, keeping the corners at which they turn."""
    successors, directions = following.tolist(), edges[:, 2].tolist()
    seen = bytearray(len(successors))
    rings = []
    for first in range(len(successors)):
        if seen[first]:
            continue
        corners, at = [], first
        while not seen[at]:
            seen[at] = 1
            after = successors[at]
            if directions[after] != directions[at]:
                corners.append(after)
            at = after
        rings.append(
            (edges[corners[-1:] + corners[:-1], :2].astype(np.float64), (int(edges[first, 3]), int(edges[first, 4])))
        )
    return rings


def _signed_area(ring: Float[np.ndarray, "_ 2"]) -> float:
    """Area within a ring: positive round an object, negative round a hole."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _simplified(ring: Float[np.ndarray, "_ 2"], tolerance_px: float) -> Float[np.ndarray, "_ 2"]:
    """The ring with fewer corners; itself where nothing of it would be left."""
    if tolerance_px == 0 or len(ring) <= 4:
        return ring
    from skimage.measure import approximate_polygon

    # The ring is opened at its first corner and at the one farthest from it: both stay.
    far = int(np.hypot(*(ring - ring[0]).T).argmax())
    closed = np.concatenate([ring, ring[:1]])
    parts = [approximate_polygon(part, tolerance_px)[:-1] for part in (closed[: far + 1], closed[far:])]
    fewer = np.concatenate(parts)
    return fewer if len(fewer) >= 3 and _signed_area(fewer) * _signed_area(ring) > 0 else ring


def _joined(outline: Float[np.ndarray, "_ 2"], holes: "list[Float[np.ndarray, '_ 2']]") -> Float[np.ndarray, "_ 2"]:
    """One closed line round a piece and its holes: each hole is reached and left by the same seam."""
    from scipy.spatial import KDTree

    for hole in holes:
        distances, nearest = map(np.asarray, KDTree(outline).query(hole))
        at_hole = int(np.argmin(distances))
        at = int(nearest[at_hole])
        around = np.concatenate([hole[at_hole:], hole[: at_hole + 1]])
        outline = np.concatenate([outline[: at + 1], around, outline[at:]])
    return outline
