"""zim-nvos on scenes of Gaussians: scores against exact labels, protocols, what is looked up and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from nerf_seg.field.gaussians.formats.ply import PlyFile
from nerf_seg.field.gaussians.scene import find_splat
from nerf_seg.nvos.cli import Args, main
from tests.nerf_seg.analytic_nvos import save, write_nerf
from tests.nerf_seg.field.gaussians.test_camera_files import colmap, inria, transforms
from tests.nerf_seg.splat_scene import SplatScene, inria_rows
from zim_plugins.cli.runtime import run
from zim_plugins.core import ZimError

SCENE = SplatScene(views=8, count=500)
NAMES = tuple(f"IMG_{number}.png" for number in (4026, 4028, 4030, 4029, 4038, 4027, 4025, 4031))
CAMERAS = [replace(camera, name=name) for camera, name in zip(SCENE.cameras, NAMES, strict=True)]
REFERENCE, TARGET = NAMES.index("IMG_4038.png"), NAMES.index("IMG_4027.png")


def write_splat(folder: Path, *, without: str | None = None) -> Path:
    """A scene with its photographs, one of them left out if asked for; its cameras are written by the caller."""
    (folder / "images").mkdir(parents=True)
    for index, name in enumerate(NAMES):
        if name != without:
            PIL.Image.fromarray(SCENE.image(index)).save(folder / "images" / name)
    (folder / "scene.ply").write_bytes(PlyFile({"vertex": inria_rows(SCENE.gaussians)}).encode())
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """NVOS's labels of fern with exact masks, true mattes for the oracle, and the scene."""
    labels = tmp_path / "nvos" / "labels" / "llff"
    save(labels / "masks" / "fern" / "IMG_4027_mask.png", SCENE.alpha(TARGET) > 0.5)
    ys, xs = np.nonzero(SCENE.alpha(REFERENCE) > 0.8)
    y, x = int(np.median(ys)), int(np.median(xs))
    for kind, line in (("pos", [(x - 4, y), (x + 4, y + 2)]), ("neg", [(2, 2), (90, 4)])):
        canvas = PIL.Image.new("L", (SCENE.size[1], SCENE.size[0]))
        PIL.ImageDraw.Draw(canvas).line(line, fill=255, width=2)
        save(labels / "scribbles" / "fern" / f"{kind}_0_fern.png", np.asarray(canvas) > 0)
    (tmp_path / "mattes").mkdir()
    for index, name in enumerate(NAMES):
        PIL.Image.fromarray(np.uint8(SCENE.alpha(index) * 255 + 0.5)).save(tmp_path / "mattes" / name)
    (tmp_path / "oracle.py").write_text(
        "from pathlib import Path\nfrom nerf_seg.segmentation.matting import OraclePredictor\n"
        f"def oracle():\n    return OraclePredictor.from_folder(Path({str(tmp_path / 'mattes')!r}))\n"
    )
    transforms(write_splat(tmp_path / "nerfs" / "fern"), CAMERAS)
    return tmp_path


def args_of(folder: Path, **changes) -> Args:
    given: dict[str, Any] = {"root": folder / "nvos", "scenes": "fern", "seeds": 1, "passes": 1}
    given |= {"models": f"{folder / 'oracle.py'}:oracle", "device": "cpu"}
    given |= {"nerfs": folder / "nerfs", "out": folder / "out"} | changes
    return Args(**given)


def report_of(root: Path) -> dict:
    return json.loads((root / "out" / "report.json").read_text())


def message_of(root: Path, **changes) -> str:
    assert run(main, args_of(root, **changes), package="nerf_seg") == 1
    return report_of(root)["failures"][0]["message"]


def test_true_mattes_score_near_one_and_the_report_says_splat(root: Path) -> None:
    assert run(main, args_of(root, seeds=2, passes=2), package="nerf_seg") == 0
    report = report_of(root)
    for row in report["rows"]:
        assert row["iou"] > 0.95 and row["boundary_iou"] > 0.8
        assert (row["field"], row["reference"], row["targets"]) == ("3DGS", "IMG_4038.png", ["IMG_4027.png"])
        assert row["scene"].endswith("fern/scene.ply") and row["psnr_db"] > 30
        assert row["visits"] == 2 * SCENE.views and row["rejected"] == []
        answer = np.asarray(PIL.Image.open(root / "out" / row["masks"][0])) == 255
        truth = SCENE.alpha(TARGET) > 0.5
        assert row["iou"] == pytest.approx((answer & truth).sum() / (answer | truth).sum(), abs=1e-12)
    assert (root / "out" / report["rows"][0]["picture"]).is_file()
    page = (root / "out" / "tables.md").read_text()
    assert page.index("means on NeRF") < page.index("SA3D (NeurIPS 2023)") < page.index("means on 3DGS")
    assert page.index("means on 3DGS") < page.index("oracle") < page.index("SAGD")
    assert run(main, args_of(root, seeds=2, passes=2), package="nerf_seg") == 0
    assert report_of(root)["rows"] == report["rows"]  # not done again


def test_sa3d_s_estimator_works_on_gaussians_too(root: Path) -> None:
    assert run(main, args_of(root, estimator="sa3d"), package="nerf_seg") == 0
    assert report_of(root)["rows"][0]["iou"] > 0.75  # as on the grid


@pytest.mark.parametrize("photograph", ["there", "hidden"])
def test_strict_scores_a_view_whose_camera_alone_is_known(root: Path, photograph: str) -> None:
    assert "fern_strict holds no config.yml of a NeRF" in message_of(root, protocol="strict")
    without = NAMES[TARGET] if photograph == "hidden" else None
    transforms(write_splat(root / "nerfs" / "fern_strict", without=without), CAMERAS)
    assert run(main, args_of(root, protocol="strict"), package="nerf_seg") == 0
    (row,) = report_of(root)["rows"]
    assert row["visits"] == SCENE.views - 1 and row["iou"] > 0.9


def test_a_photograph_that_is_missing_is_not_sa3d_s_protocol(root: Path) -> None:
    (root / "nerfs" / "fern" / "images" / NAMES[TARGET]).unlink()
    assert "the splat has no photograph of IMG_4027.png, which protocol sa3d shows" in message_of(root)


def test_the_capture_tells_what_the_splat_was_trained_on(root: Path) -> None:
    trained = [f"images/{name}" for name in NAMES if name != NAMES[TARGET]]
    transforms(root / "nerfs" / "fern", CAMERAS, train_filenames=trained)
    assert "the splat was not trained on IMG_4027.png" in message_of(root)
    folder = write_splat(root / "nerfs" / "fern_strict")
    transforms(folder, CAMERAS, train_filenames=[f"images/{name}" for name in NAMES])
    assert "the splat was trained on IMG_4027.png, which strict hides" in message_of(root, protocol="strict")
    transforms(folder, CAMERAS, train_filenames=trained)
    assert run(main, args_of(root, protocol="strict"), package="nerf_seg") == 0


def test_cameras_of_another_capture_are_found_by_the_photographs(root: Path) -> None:
    turned = [replace(c, name=name) for c, name in zip(CAMERAS[3:] + CAMERAS[:3], NAMES, strict=True)]
    transforms(root / "nerfs" / "fern", turned)
    assert "does not look like the photographs" in message_of(root)


def test_both_kinds_of_field_ask_for_a_choice(root: Path) -> None:
    write_nerf(root / "nerfs" / "fern")
    assert "give --field nerf or --field splat" in message_of(root)
    assert run(main, args_of(root, field="splat"), package="nerf_seg") == 0
    assert report_of(root)["rows"][0]["field"] == "3DGS"


def test_a_splat_that_was_trained_but_not_exported_is_told_how(root: Path) -> None:
    (root / "nerfs" / "fern" / "scene.ply").unlink()
    config = write_nerf(root / "nerfs" / "fern")
    config.parent.parent.rename(root / "nerfs" / "fern" / "splatfacto")
    assert "ns-export gaussian-splat --load-config" in message_of(root)
    assert "ns-export gaussian-splat --load-config" in message_of(root, field="splat")


class TestFindSplat:
    def test_behind_links_that_may_lead_in_a_circle(self, tmp_path: Path) -> None:
        transforms(write_splat(tmp_path / "elsewhere"), CAMERAS)
        (tmp_path / "nerfs" / "fern").mkdir(parents=True)
        (tmp_path / "nerfs" / "fern" / "splat").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "elsewhere")
        found = find_splat(tmp_path / "nerfs" / "fern", tmp_path / "elsewhere")
        assert found is not None and found.scene == tmp_path / "nerfs" / "fern" / "splat" / "scene.ply"

    def test_cameras_and_photographs_may_be_the_capture_s(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        write_splat(tmp_path / "capture")
        (tmp_path / "capture" / "scene.ply").rename(tmp_path / "run" / "scene.ply")
        with pytest.raises(ZimError, match=r"has no cameras: put transforms\.json"):
            find_splat(tmp_path / "run", tmp_path / "capture")
        colmap(tmp_path / "capture", binary=True, cameras=CAMERAS)
        found = find_splat(tmp_path / "run", tmp_path / "capture")
        assert found is not None and found.images == tmp_path / "capture" / "images"
        assert {path.name for path in found.files()} == {"scene.ply", "cameras.bin", "images.bin"}
        inria(tmp_path / "run", CAMERAS)  # nearer to the scene
        found = find_splat(tmp_path / "run", tmp_path / "capture")
        assert found is not None and found.cameras.name == "cameras.json" and found.transform is None
        with pytest.raises(ZimError, match="has no photographs"):
            find_splat(tmp_path / "run", None)

    def test_the_last_iteration_and_no_points_and_no_parts(self, tmp_path: Path) -> None:
        transforms(write_splat(tmp_path), CAMERAS)
        content = (tmp_path / "scene.ply").read_bytes()
        (tmp_path / "input.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n")
        for iteration in (30000, 7000):
            place = tmp_path / "point_cloud" / f"iteration_{iteration}"
            place.mkdir(parents=True)
            (place / "point_cloud.ply").write_bytes(content)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "object.ply").write_bytes(content)
        (tmp_path / "out" / "membership.npy").write_bytes(b"")
        found = find_splat(tmp_path, None)
        assert found is not None and found.scene.parent.name == "iteration_30000"
        assert find_splat(tmp_path / "images", None) is None
