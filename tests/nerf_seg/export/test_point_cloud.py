from pathlib import Path

import numpy as np
import pytest

from nerf_seg.export.point_cloud import EmptyObject, ViewSurface, object_cloud, write_cloud
from nerf_seg.field.gaussians.formats.ply import parse_ply
from nerf_seg.segmentation.mask_grid import MaskGrid
from tests.nerf_seg.analytic import AnalyticScene, fill


def surfaces(scene: AnalyticScene, grid: MaskGrid) -> list[ViewSurface]:
    views = [scene.view(i) for i in range(scene.count)]
    return [
        ViewSurface(
            ends=grid.object_ends(view.samples).numpy(),
            origin=scene.camera(i)[0].numpy(),
            alpha=grid.render(view.samples).ravel(),
            colours=view.image.reshape(-1, 3),
        )
        for i, view in enumerate(views)
    ]


@pytest.fixture(scope="module")
def bald() -> list[ViewSurface]:
    scene = AnalyticScene(hairs=0, count=5)
    return surfaces(scene, fill(MaskGrid(64, domain=scene.domain), scene))


def test_points_lie_on_the_ball_and_look_outwards(bald: list[ViewSurface], tmp_path: Path) -> None:
    cloud = object_cloud(bald)
    radii = np.linalg.norm(cloud.points, axis=1)
    assert len(radii) > 1000 and radii.min() > 0.35 and radii.max() < 0.56
    outwards = (cloud.normals * cloud.points).sum(1) / radii
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-6)
    assert np.median(outwards) > 0.9 and (outwards > 0).mean() > 0.97
    assert np.abs(np.median(cloud.colours, axis=0) - [191, 77, 51]).max() < 12
    path = write_cloud(tmp_path / "new" / "object.ply", cloud)
    rows = parse_ply(path.read_bytes()).elements["vertex"]
    assert np.array_equal(np.stack([rows[name] for name in "xyz"], axis=1), cloud.points)
    assert np.array_equal(np.stack([rows[name] for name in ("red", "green", "blue")], axis=1), cloud.colours)
    assert [p.name for p in path.parent.iterdir()] == ["object.ply"]


def test_open3d_reads_the_file(bald: list[ViewSurface], tmp_path: Path) -> None:
    try:
        import open3d
    except (ImportError, OSError):  # OSError: its libusb is missing
        pytest.skip("open3d, somebody else's reader, is not installed or its libusb is missing")
    cloud = object_cloud(bald)
    read = open3d.io.read_point_cloud(str(write_cloud(tmp_path / "object.ply", cloud)))
    np.testing.assert_allclose(np.asarray(read.points), cloud.points, atol=1e-6)
    assert read.has_colors() and read.has_normals()


def test_stragglers_are_removed(bald: list[ViewSurface]) -> None:
    ends = bald[0].ends.copy()
    on_object = np.flatnonzero(bald[0].alpha > 0.5)
    ends[on_object[::200]] = [3, 3, 3]
    spoilt = ViewSurface(ends, bald[0].origin, bald[0].alpha, bald[0].colours)
    assert np.linalg.norm(object_cloud([spoilt, *bald[1:]]).points, axis=1).max() < 1


def test_few_points_are_kept() -> None:
    end, origin = np.ones((1, 3), np.float32), np.zeros(3, np.float32)
    cloud = object_cloud([ViewSurface(end, origin, np.ones(1, np.float32), np.full((1, 3), 7, np.uint8))])
    assert cloud.points.tolist() == [[1, 1, 1]] and cloud.colours.tolist() == [[7, 7, 7]]
    np.testing.assert_allclose(cloud.normals, -np.ones((1, 3)) / 3**0.5)


def test_an_empty_object_raises_at_once() -> None:
    scene = AnalyticScene(size=(18, 24), count=2)
    with pytest.raises(EmptyObject, match=r"no ray of 2 views has an opacity above 0\.5"):
        object_cloud(surfaces(scene, MaskGrid(8, domain=scene.domain)))
    with pytest.raises(EmptyObject, match="0 views"):
        object_cloud([])
