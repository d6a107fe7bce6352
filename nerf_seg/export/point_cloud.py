"""The object as a point cloud: where its rays end, one point per voxel, without stragglers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import atomic_path

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
    """Points where rays inside the matte end, thinned to one per voxel, stragglers removed, with normals.

    Raises:
        EmptyObject: no ray of any view ends on the object.
        MissingExtra: open3d is not installed.
    """
    o3d = import_open3d()
    ends, colours, towards = [], [], []
    for surface in surfaces:
        on_object = surface.alpha > OBJECT_ALPHA
        ends.append(surface.ends[on_object])
        colours.append(surface.colours[on_object])
        towards.append(surface.origin - surface.ends[on_object])
    points = np.concatenate(ends).astype(np.float64) if ends else np.zeros((0, 3))
    if len(points) == 0:
        raise EmptyObject(f"no ray of {len(ends)} views has an opacity above {OBJECT_ALPHA:g}: the object is empty")
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.colors = o3d.utility.Vector3dVector(np.concatenate(colours) / 255)
    cloud.normals = o3d.utility.Vector3dVector(np.concatenate(towards).astype(np.float64))
    low, high = np.percentile(points, [1, 99], axis=0)  # a single straggler would coarsen the voxels
    side = float((high - low).max())
    if side > 0:
        cloud = cloud.voxel_down_sample(side / VOXELS_PER_SIDE)
    if len(cloud.points) > NEIGHBOURS:
        cloud = cloud.remove_statistical_outlier(nb_neighbors=NEIGHBOURS, std_ratio=DEVIATIONS)[0]
        views = np.asarray(cloud.normals).copy()
        cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(knn=NEIGHBOURS))
        normals = np.asarray(cloud.normals)
        normals[(normals * views).sum(1) < 0] *= -1
    normals = np.array(cloud.normals)
    return ObjectCloud(
        points=np.array(cloud.points),
        colours=(np.asarray(cloud.colors) * 255).round().astype(np.uint8),
        normals=normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12),
    )


def write_cloud(path: Path, cloud: ObjectCloud) -> Path:
    """Write a point cloud as PLY with colours and normals, whole or not at all."""
    o3d = import_open3d()
    geometry = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.points))
    geometry.colors = o3d.utility.Vector3dVector(cloud.colours / 255)
    geometry.normals = o3d.utility.Vector3dVector(cloud.normals)
    return write_by_open3d(path, o3d.io.write_point_cloud, geometry)


def write_by_open3d(path: Path, write: Any, geometry: Any) -> Path:
    """Let open3d write a file under a temporary name of the same suffix, and rename it.

    Raises:
        OSError: open3d could not write it.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        if not write(str(temporary), geometry):
            raise OSError(f"open3d cannot write {path}")
    return path


def import_open3d() -> Any:
    """The module open3d.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import open3d
    except ImportError as error:
        raise MissingExtra("open3d", "nerf") from error
    return open3d
