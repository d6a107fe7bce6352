"""zim-nvos on splats in SPIn-NeRF's and LERF-Mask's layouts: small copies as handed out, with exact labels."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from nerf_seg.field.gaussians.formats.ply import PlyFile
from nerf_seg.nvos.cli import Args, main
from nerf_seg.nvos.datasets import LabelError, read_mask, read_tasks
from tests.nerf_seg.field.gaussians.test_camera_files import colmap, inria
from tests.nerf_seg.splat_scene import SplatScene, inria_rows
from zim_plugins.cli.runtime import run

SCENE = SplatScene(views=8, count=500)
ANGLES = (0, 2, 4, 6, 1, 3, 5, 7)
"""Places round the scene in the order of the file names: the order of a capture is its own."""


def cameras_of(names: list[str]) -> list[Any]:
    return [replace(SCENE.cameras[angle], name=name) for angle, name in zip(ANGLES, names, strict=True)]


def write_images(folder: Path, names: list[str], shrink: int = 1) -> None:
    folder.mkdir(parents=True)
    for angle, name in zip(ANGLES, names, strict=True):
        image = PIL.Image.fromarray(SCENE.image(angle))
        image.reduce(shrink).save(folder / name, **({"quality": 97} if name.endswith("JPG") else {}))


def write_label(path: Path, place: int, value: int = 255, other: bool = False) -> None:
    """The exact mask of the image at that place, of twice the size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = PIL.Image.fromarray(SCENE.alpha(ANGLES[place])).resize((192, 144), PIL.Image.Resampling.BILINEAR)
    shown = np.asarray(mask) > 0.5
    PIL.Image.fromarray((~shown if other else shown) * np.uint8(value)).save(path)


def write_splat(folder: Path, iteration: int = 7000, **extra: np.ndarray) -> None:
    """As gaussian-splatting leaves it: an input of points, and one scene for each saved iteration."""
    place = folder / "point_cloud" / f"iteration_{iteration}"
    place.mkdir(parents=True)
    rows = inria_rows(SCENE.gaussians)
    wide = np.zeros(len(rows), dtype=[*rows.dtype.descr, *((name, "<f4") for name in extra)])
    for name in rows.dtype.names or ():
        wide[name] = rows[name]
    for name, values in extra.items():
        wide[name] = values
    (place / "point_cloud.ply").write_bytes(PlyFile({"vertex": wide}).encode())
    (folder / "input.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n")
    (folder / "cfg_args").write_text("Namespace()")


def args_of(folder: Path, dataset: Any, root: str, **changes: Any) -> Args:
    (folder / "mattes").mkdir(exist_ok=True)
    return Args(
        root=folder / root, dataset=dataset, passes=1, models=f"{folder / 'oracle.py'}:oracle", device="cpu",
        nerfs=folder / "nerfs", out=folder / "out", **changes,
    )  # fmt: skip


def write_oracle(folder: Path, names: list[str]) -> None:
    (folder / "mattes").mkdir()
    for angle, name in zip(ANGLES, names, strict=True):
        PIL.Image.fromarray(np.uint8(SCENE.alpha(angle) * 255 + 0.5)).save(folder / "mattes" / f"{Path(name).stem}.png")
    (folder / "oracle.py").write_text(
        "from pathlib import Path\nfrom nerf_seg.segmentation.matting import OraclePredictor\n"
        f"def oracle():\n    return OraclePredictor.from_folder(Path({str(folder / 'mattes')!r}))\n"
    )


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "report.json").read_text())


class TestSpin:
    NAMES = tuple(f"IMG_{4026 + i}.JPG" for i in range(8))

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """MVSeg's folder of masks, LLFF's capture with its numbered small images, gaussian-splatting's output."""
        capture = tmp_path / "data" / "nerf_llff_data" / "fern"
        write_images(capture / "images", [*self.NAMES])
        write_images(capture / "images_4", [f"image{i:03d}.png" for i in range(8)], shrink=4)
        colmap(capture, binary=True, cameras=cameras_of([*self.NAMES]))
        write_splat(tmp_path / "nerfs" / "fern")
        inria(tmp_path / "nerfs" / "fern", cameras_of([*self.NAMES]))
        write_oracle(tmp_path, [*self.NAMES])
        (tmp_path / "data" / "README_MVSeg.txt").write_text("The name of each folder contains the name of the scene")
        return tmp_path

    @pytest.mark.parametrize("named", ["image{:03d}", "IMG_{}", "IMG_{}_mask"])
    def test_masks_named_as_the_small_images_or_the_originals(self, folder: Path, named: str) -> None:
        masks = folder / "data" / "fern_llff"
        for place in (1, 4, 6):
            name = named.format(place if "image" in named else 4026 + place)
            write_label(masks / f"{name}.png", place)
            for more in ("cutout", "pseudo"):  # of their loader's, and not scored there either
                write_label(masks / f"{name}_{more}.png", place, other=True)
        assert run(main, args_of(folder, "spin", "data"), package="nerf_seg") == 0
        (row,) = report_of(folder)["rows"]
        assert (row["task"], row["field"], row["clicks"]) == ("fern_llff", "3DGS", 0)
        assert row["reference"] == self.NAMES[1]
        assert row["targets"] == [self.NAMES[place] for place in (1, 4, 6)]  # the first is scored, too, as in SA3D
        assert row["truth_size"] == [144, 192] and row["size"] == [72, 96]
        assert row["iou"] > 0.95
        assert row["scene"].endswith("iteration_7000/point_cloud.ply")

    def test_masks_of_zeros_and_ones(self, folder: Path) -> None:
        for place in (0, 5):
            write_label(folder / "data" / "fern_llff" / f"image{place:03d}.png", place, value=1)
        assert read_mask(folder / "data" / "fern_llff" / "image000.png").any()
        assert run(main, args_of(folder, "spin", "data"), package="nerf_seg") == 0
        assert report_of(folder)["rows"][0]["iou"] > 0.95

    def test_a_scene_without_splat_costs_the_others_nothing(self, folder: Path) -> None:
        for scene in ("fern_llff", "fork_nerf_supervision"):
            for place in (1, 4):
                write_label(folder / "data" / scene / f"image{place:03d}.png", place)
        assert run(main, args_of(folder, "spin", "data"), package="nerf_seg") == 1
        report = report_of(folder)
        assert [row["failure"] is None for row in report["rows"]] == [True, False]
        (failure,) = report["failures"]
        assert failure["task"] == "fork_nerf_supervision"
        assert "holds no config.yml of a NeRF with a checkpoint, and no splat" in failure["message"]


class TestLerfMask:
    NAMES = tuple(f"frame_{i:05d}.jpg" for i in (1, 41, 105, 152, 195, 210, 250, 299))
    HELD_OUT = (1, 3, 6)
    """Places of the test views 0, 1 and 2."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        scene = tmp_path / "lerf_mask" / "figurines"
        write_images(scene / "images", [*self.NAMES])
        (scene / "images_train").mkdir()
        (scene / "object_mask").mkdir()
        for place, name in enumerate(self.NAMES):
            if place not in self.HELD_OUT:
                (scene / "images_train" / name).write_bytes((scene / "images" / name).read_bytes())
            PIL.Image.new("L", (96, 72)).save(scene / "object_mask" / f"{Path(name).stem}.png")
        (scene / "images" / "frame_00000.jpg").write_bytes((scene / "images" / self.NAMES[0]).read_bytes())
        colmap(scene, binary=True, cameras=cameras_of([*self.NAMES]))  # one image was not registered
        for number, place in enumerate(self.HELD_OUT):
            write_label(scene / "test_mask" / str(number) / "rubber duck with red hat.png", place)
        write_label(scene / "test_mask" / "2" / "green apple.png", 6)
        identities = {f"obj_dc_{i}": np.full(len(SCENE.gaussians), float(i)) for i in range(16)}
        write_splat(tmp_path / "nerfs" / "figurines", 30000, **identities)
        write_oracle(tmp_path, [*self.NAMES])
        return tmp_path

    def test_views_are_numbers_of_those_that_were_held_out(self, folder: Path) -> None:
        assert run(main, args_of(folder, "lerf-mask", "lerf_mask"), package="nerf_seg") == 1
        report = report_of(folder)
        (row,) = report["rows"]
        assert row["task"] == "figurines/rubber duck with red hat" and row["field"] == "3DGS"
        assert (row["reference"], row["targets"]) == (self.NAMES[1], [self.NAMES[3], self.NAMES[6]])
        assert row["iou"] > 0.95
        (failure,) = report["failures"]
        assert failure["task"] == "figurines/green apple" and "only mask of its object" in failure["message"]

    def test_a_test_view_without_masks_keeps_its_number(self, folder: Path) -> None:
        """In the scene teatime there is no folder 1."""
        place = folder / "lerf_mask" / "figurines" / "test_mask" / "1"
        (place / "rubber duck with red hat.png").unlink()
        place.rmdir()
        tasks, _ = read_tasks("lerf-mask", folder / "lerf_mask")
        assert [(task.reference, [target.view for target in task.targets]) for task in tasks] == [
            ("frame_00041", ["frame_00250"])
        ]

    def test_views_by_name_need_nothing_else(self, folder: Path) -> None:
        masks = folder / "lerf_mask" / "figurines" / "test_mask"
        for number, place in enumerate(self.HELD_OUT):
            (masks / str(number)).rename(masks / Path(self.NAMES[place]).stem)
        (folder / "lerf_mask" / "figurines" / "images_train").rename(folder / "elsewhere")
        tasks, _ = read_tasks("lerf-mask", folder / "lerf_mask")
        assert tasks[0].reference == "frame_00041"

    def test_numbers_that_nothing_explains_are_said(self, folder: Path) -> None:
        scene = folder / "lerf_mask" / "figurines"
        (scene / "images_train").rename(folder / "elsewhere")
        _, faults = read_tasks("lerf-mask", folder / "lerf_mask")
        assert "is the number of a test view, and" in faults["figurines"] and "images_train" in faults["figurines"]
        (folder / "elsewhere").rename(scene / "images_train")
        (scene / "test_mask" / "2").rename(scene / "test_mask" / "7")
        _, faults = read_tasks("lerf-mask", folder / "lerf_mask")
        assert "there are 3 (frame_00041, frame_00152, frame_00250)" in faults["figurines"]

    def test_empty_masks_are_said(self, folder: Path) -> None:
        mask = folder / "lerf_mask" / "figurines" / "test_mask" / "0" / "rubber duck with red hat.png"
        PIL.Image.new("L", (192, 144)).save(mask)
        with pytest.raises(LabelError, match="is empty"):
            read_mask(mask)
        assert run(main, args_of(folder, "lerf-mask", "lerf_mask"), package="nerf_seg") == 1
        assert any("is empty: there is no object" in one["message"] for one in report_of(folder)["failures"])
