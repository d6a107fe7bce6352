"""The object as a point cloud: where its rays end, one point per voxel, without stragglers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.spatial import KDTree

from ..segmentation.connected_parts import without_specks
from .ply import write_geometry

OBJECT_ALPHA = 0.5
"""Rays whose opacity exceeds this end on the object."""
NEIGHBOURS, DEVIATIONS = 20, 2.0
"""A point is a straggler where its mean distance to that many neighbours is that many deviations above the mean."""
VOXELS_PER_SIDE = 256
"""Points are thinned to one per voxel of the object's longest side divided by this."""


class EmptyObject(ValueError):
    """There is nothing to export: the matte is empty in all views."""


@dataclass(frozen=True, eq=False)
class ViewSurface:
    """Surface points that one view sees: r rays in one order."""

    ends: Float32[np.ndarray, "r 3"]
    """Where each ray ends on the object, in the world: see `MaskGrid.object_ends`."""
    origin: Float32[np.ndarray, " 3"]
    """The camera's place in the world."""
    alpha: Float32[np.ndarray, " r"]
    """The object's matte in [0, 1]."""
    colours: UInt8[np.ndarray, "r 3"]
    """sRGB in [0, 255]."""


@dataclass(frozen=True, eq=False)
class ObjectCloud:
    """Points on the object's surface."""

    points: Float[np.ndarray, "n 3"]
    colours: UInt8[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    """Unit vectors, on the cameras' side of the surface."""


def object_cloud(surfaces: Iterable[ViewSurface]) -> ObjectCloud:
    """Return points where rays inside the matte end: one per voxel, without stragglers and specks, with normals.

    Raises:
        EmptyObject: no ray of any view ends on the object.
    """
    ends, colours, towards = [], [], []
    for surface in surfaces:
        on_object = surface.alpha > OBJECT_ALPHA
        ends.append(surface.ends[on_object])
        colours.append(surface.colours[on_object])
        towards.append(surface.origin - surface.ends[on_object])
    points = np.concatenate(ends).astype(np.float64) if ends else np.zeros((0, 3))
    if len(points) == 0:
        raise EmptyObject(f"no ray of {len(ends)} views has an opacity above {OBJECT_ALPHA:g}: the object is empty")
    low, high = np.percentile(points, [1, 99], axis=0)  # a single straggler would coarsen the voxels
    side = float((high - low).max())
    shades, views = np.concatenate(colours).astype(np.float64), np.concatenate(towards).astype(np.float64)
    if side > 0:
        points, shades, views = _one_per_voxel(side / VOXELS_PER_SIDE, points, shades, views)
    views = views / np.maximum(np.linalg.norm(views, axis=1, keepdims=True), 1e-12)
    normals = views
    if len(points) > NEIGHBOURS:
        distance = np.asarray(KDTree(points).query(points, k=NEIGHBOURS)[0]).mean(1)
        kept = distance <= distance.mean() + DEVIATIONS * distance.std()
        kept[kept] = without_specks(points[kept])
        points, shades, views = points[kept], shades[kept], views[kept]
        normals = _normals(points, views) if len(points) > NEIGHBOURS else views
    return ObjectCloud(points=points, colours=shades.round().astype(np.uint8), normals=normals)


def write_cloud(path: Path, cloud: ObjectCloud) -> Path:
    """Write a point cloud as PLY with colours and normals, whole or not at all."""
    return write_geometry(path, cloud.points, normals=cloud.normals, colours=cloud.colours)


def _one_per_voxel(side: float, points: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Return the mean of the points of each voxel, and of what comes with them."""
    cells = np.floor((points - points.min(0)) / side).astype(np.int64)
    _, group = np.unique(cells, axis=0, return_inverse=True)
    group = group.reshape(-1)  # numpy 2.0 gives it another shape
    count = np.bincount(group)
    return [
        np.stack([np.bincount(group, weights=column) / count for column in values.T], axis=1)
        for values in (points, *others)
    ]


def _normals(points: Float[np.ndarray, "n 3"], views: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the direction in which a point's neighbours spread least, on the cameras' side."""
    nearest = np.asarray(KDTree(points).query(points, k=NEIGHBOURS)[1])
    offsets = points[nearest] - points[nearest].mean(1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))
    normals = axes[:, :, 0]
    return np.where((normals * views).sum(1, keepdims=True) < 0, -normals, normals)
