from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_seg.export.mesh import ObjectMesh, object_mesh, vertex_normals, write_mesh
from nerf_seg.export.point_cloud import EmptyObject, ObjectCloud
from nerf_seg.segmentation.mask_grid import MaskGrid
from tests.nerf_seg.analytic import HALF_SIDE, AnalyticScene, ball_density


@pytest.fixture
def grid() -> MaskGrid:
    """Opaque within the ball's surroundings, as if it had been seen from all sides, but for a core that none saw."""
    grid = MaskGrid(48, domain=AnalyticScene().domain)
    axis = torch.linspace(-HALF_SIDE, HALF_SIDE, 48)
    radii = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).norm(dim=-1)
    seen = radii > 0.3
    grid.sums[..., 0] = (seen & (radii < 0.9)).float()
    grid.sums[..., 1] = seen.float()
    return grid


def volume(mesh: ObjectMesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def test_the_mesh_is_the_ball_s_surface_without_an_inner_wall(grid: MaskGrid) -> None:
    mesh = object_mesh(grid, ball_density, resolution=80)
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert radii.min() > 0.4 and radii.max() - radii.min() < 0.03
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * radii.mean() ** 3, rel=0.02), "faces look outwards"
    assert mesh.colours is None


def test_small_parts_are_left_out_and_colours_come_from_the_cloud(grid: MaskGrid) -> None:
    def with_speck(places: torch.Tensor) -> torch.Tensor:
        speck = torch.tensor([0.55, 0.45, 0.3])
        return ball_density(places) + 1e4 * ((places - speck).norm(dim=-1) < 0.05)

    poles = np.array([[0, 1.0, 0], [0, -1.0, 0]])
    cloud = ObjectCloud(poles, np.array([[255, 0, 0], [0, 0, 255]], np.uint8), poles)
    mesh = object_mesh(grid, with_speck, cloud=cloud, resolution=80)
    assert np.linalg.norm(mesh.vertices, axis=1).max() < 0.6
    assert mesh.colours is not None
    up = mesh.vertices[:, 1] > 0
    assert (mesh.colours[up] == [255, 0, 0]).all() and (mesh.colours[~up] == [0, 0, 255]).all()


@pytest.mark.parametrize("suffix", ["ply", "obj"])
def test_files(grid: MaskGrid, tmp_path: Path, suffix: str) -> None:
    mesh = object_mesh(grid, ball_density, resolution=24)
    path = write_mesh(tmp_path / f"object.{suffix}", mesh)
    if suffix == "obj":
        lines = path.read_text().splitlines()
        assert sum(line.startswith("f ") for line in lines) == len(mesh.faces)
    outward = vertex_normals(mesh.vertices, mesh.faces)
    assert ((outward * mesh.vertices).sum(1) > 0).mean() > 0.99
    try:
        import open3d
    except (ImportError, OSError):  # OSError: its libusb is missing
        open3d = None
    if open3d is not None:  # somebody else's reader
        read = open3d.io.read_triangle_mesh(str(path))
        assert len(read.triangles) == len(mesh.faces)
    with pytest.raises(ValueError, match=r"as \.ply or \.obj, got"):
        write_mesh(tmp_path / "object.stl", mesh)


def test_an_empty_object_raises_at_once(grid: MaskGrid) -> None:
    with pytest.raises(EmptyObject, match="no vertex of the mask grid"):
        object_mesh(MaskGrid(8), ball_density)
    with pytest.raises(EmptyObject, match="nowhere above"):
        object_mesh(grid, lambda places: torch.zeros(len(places)), resolution=16)
