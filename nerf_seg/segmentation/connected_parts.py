"""Connected parts of points in space: what hangs together with nothing is a speck."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

NEIGHBOURS = 8
LINK_TIMES_MEDIAN = 6.0
"""Points are connected to neighbours within so many times the median distance of neighbours."""
SPECK_SHARE = 0.01
"""Connected parts with fewer points than this share of the largest part's are specks."""


def without_specks(places: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Return which points belong to a large connected part; all of them where there are few.

    Example:
        >>> line = np.linspace([0.0, 0, 0], [1, 0, 0], 200)
        >>> without_specks(np.concatenate([line, [[9.0, 9, 9]]])).sum()
        np.int64(200)
    """
    if len(places) <= NEIGHBOURS:
        return np.ones(len(places), dtype=bool)
    distance, nearest = KDTree(places).query(places, k=NEIGHBOURS + 1)
    distance, nearest = np.asarray(distance)[:, 1:], np.asarray(nearest)[:, 1:]
    linked = (distance <= LINK_TIMES_MEDIAN * float(np.median(distance))).ravel()
    rows = np.repeat(np.arange(len(places)), NEIGHBOURS)[linked]
    links = coo_matrix((np.ones(len(rows)), (rows, nearest.ravel()[linked])), shape=(len(places), len(places)))
    parts = np.asarray(connected_components(links, directed=False)[1])
    sizes = np.bincount(parts)
    return (sizes >= SPECK_SHARE * sizes.max())[parts]
