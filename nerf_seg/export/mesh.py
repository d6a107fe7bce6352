"""The object as a triangle mesh: the level set of the field's density times the grid's opacity, by marching cubes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..segmentation.mask_grid import MaskGrid
from .ply import write_geometry
from .point_cloud import EmptyObject, ObjectCloud

HALF_OPAQUE_WITHIN = 0.02
"""The surface lies at the density that absorbs half of the light within this share of the object's longest side."""
SMALLEST_PART = 0.01
"""Parts with a smaller share of the largest part's volume are left out."""
_CHUNK = 1 << 17


@dataclass(frozen=True, eq=False)
class ObjectMesh:
    """Triangles of the object's surface."""

    vertices: Float[np.ndarray, "v 3"]
    """In the world."""
    faces: Int[np.ndarray, "f 3"]
    """Indices of vertices, counter-clockwise from outside."""
    colours: UInt8[np.ndarray, "v 3"] | None
    """sRGB in [0, 255]."""


@torch.no_grad()
def object_mesh(
    grid: MaskGrid,
    density: Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]],
    *,
    cloud: ObjectCloud | None = None,
    resolution: int = 192,
) -> ObjectMesh:
    """The surface of what the grid says is the object.

    Args:
        grid: filled.
        density: of the field at places of the world, per unit of length.
        cloud: gives each vertex the colour of its nearest point; no colours without one.
        resolution: lattice points along the object's longest side.

    Raises:
        EmptyObject: no vertex of the grid is above one half, or the field holds no matter there.
    """
    from scipy.ndimage import binary_fill_holes, label
    from skimage.measure import marching_cubes

    extent = grid.object_extent()
    if extent is None:
        raise EmptyObject("no vertex of the mask grid is above one half: the object is empty")
    lower, upper = extent
    step = float((upper - lower).max()) / (resolution - 1)
    counts = [int(n) for n in ((upper - lower) / step).ceil() + 1]
    axes = [lower[i] + step * torch.arange(counts[i], device=lower.device) for i in range(3)]
    lattice = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    values = [density(grid.domain.to_world(part)) * grid.query(part)[0] for part in lattice.split(_CHUNK)]
    volume = torch.cat(values).reshape(counts).cpu().numpy()
    corners = grid.domain.to_world(torch.stack([lower, upper]))
    side = float((corners[1] - corners[0]).abs().max())
    level = np.log(2) / (HALF_OPAQUE_WITHIN * side)
    labels, parts = label(volume > level)  # pyright: ignore[reportGeneralTypeIssues]
    if parts == 0:
        raise EmptyObject(f"the field's density within the object is nowhere above {level:.3g}: the object is empty")
    sizes = np.bincount(labels.ravel())[1:]
    small = 1 + np.flatnonzero(sizes < SMALLEST_PART * sizes.max())
    volume[np.isin(labels, small)] = 0
    # No view observes the inside of an opaque object: without this it would be hollow, with a wall towards it.
    solid = volume > level
    volume[binary_fill_holes(solid) & ~solid] = volume.max()
    # A border of zeros closes surfaces that reach the lattice's faces.
    vertices, faces, _, _ = marching_cubes(np.pad(volume, 1), level)
    places = lower + step * torch.from_numpy(vertices.copy() - 1).to(lower)
    world = grid.domain.to_world(places.clamp(0, 1)).cpu().numpy().astype(np.float64)
    # marching_cubes winds faces clockwise where values rise inwards.
    return ObjectMesh(world, faces[:, ::-1].astype(np.int64), None if cloud is None else _nearest(world, cloud))


def write_mesh(path: Path, mesh: ObjectMesh) -> Path:
    """Write a mesh as PLY or OBJ, by the path's suffix, whole or not at all.

    Raises:
        ValueError: the suffix is neither.
    """
    normals = vertex_normals(mesh.vertices, mesh.faces)
    return write_geometry(path, mesh.vertices, normals=normals, colours=mesh.colours, faces=mesh.faces)


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Return the mean normal of the triangles at each vertex, by area."""
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _nearest(vertices: Float[np.ndarray, "v 3"], cloud: ObjectCloud) -> UInt8[np.ndarray, "v 3"]:
    from scipy.spatial import KDTree

    return cloud.colours[KDTree(cloud.points).query(vertices)[1]]
