"""Which image a label means, which NeRF a scene has, and the command that makes a missing one."""

import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nerf_seg.nvos.datasets import Scribbles, Target, Task
from nerf_seg.nvos.scene_lookup import MissingNerf, find_capture, find_nerf, match_view, train_command
from zim_plugins.core import ZimError

NAMES = [f"image{i:03d}.png" for i in range(20)]
FERN = Task("fern", "fern", "IMG_4038", Scribbles((), ()), (Target("IMG_4027", Path("m.png")),))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """LLFF's layout: originals by their own names, down-scaled ones numbered."""
    root = tmp_path / "fern"
    for folder, names, side in (("images", [f"IMG_{4026 + i}.JPG" for i in range(20)], 64), ("images_8", NAMES, 8)):
        (root / folder).mkdir(parents=True)
        for name in names:
            PIL.Image.new("RGB", (side, side)).save(root / folder / name)
    return root


class TestMatchView:
    def test_same_name(self):
        assert match_view("IMG_2", ["IMG_1.JPG", "IMG_2.png"], None) == "IMG_2.png"

    def test_part_of_a_name(self):
        assert match_view("IMG_4027", ["IMG_4027_small.png", "IMG_4028_small.png"], None) == "IMG_4027_small.png"
        assert match_view("fern_IMG_4027_label", ["IMG_4027.png", "IMG_4028.png"], None) == "IMG_4027.png"

    def test_never_part_of_a_longer_number(self):
        assert match_view("frame_10", ["frame_1.png", "frame_100.png", "x_frame_10.png"], None) == "x_frame_10.png"
        with pytest.raises(ZimError, match="no view of the NeRF is called 0"):
            match_view("0", ["frame_00.png", "frame_01.png"], None)

    def test_order_of_the_originals(self, capture):
        assert match_view("IMG_4027", NAMES, capture) == "image001.png"
        assert match_view("IMG_4038", NAMES, capture) == "image012.png"
        with pytest.raises(ZimError, match="does not tell which it is"):
            match_view("IMG_4027", NAMES[1:], capture)  # an incomplete list would shift all

    def test_names_told_by_transforms(self, tmp_path):
        frames = [
            {"file_path": f"images_8/{name}", "original_name": f"IMG_{4026 + i}.JPG"} for i, name in enumerate(NAMES)
        ]
        (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames[::-1]}))
        assert match_view("IMG_4027", NAMES, tmp_path) == "image001.png"
        (tmp_path / "transforms.json").write_text("{}")
        with pytest.raises(ZimError, match=r"IMG_4027 \(image000\.png to image019\.png\)"):
            match_view("IMG_4027", NAMES, tmp_path)

    def test_ambiguous(self):
        with pytest.raises(ZimError, match=r"could be any of a_IMG_1\.png, b_IMG_1\.png"):
            match_view("IMG_1", ["a_IMG_1.png", "b_IMG_1.png"], None)


class TestNerfs:
    def test_newest_nerf_and_no_segmentation(self, tmp_path):
        for i, place in enumerate(
            ("fern/nerfacto/1", "fern/nerfacto-light/2", "fern/sa3d-zim/3", "fern_strict/nerfacto/4")
        ):
            config = tmp_path / place / "config.yml"
            config.parent.mkdir(parents=True)
            config.write_text("")
            (config.parent / "nerfstudio_models").mkdir()
            (config.parent / "nerfstudio_models" / "step-000000009.ckpt").write_bytes(b"")
            os.utime(config, (i, i))
        assert find_nerf(tmp_path, FERN, "sa3d", None) == tmp_path / "fern/nerfacto-light/2/config.yml"
        assert find_nerf(tmp_path, FERN, "strict", None) == tmp_path / "fern_strict/nerfacto/4/config.yml"

    def test_a_run_that_is_not_finished_is_passed_over(self, tmp_path):
        (tmp_path / "fern/nerfacto/1").mkdir(parents=True)
        (tmp_path / "fern/nerfacto/1/config.yml").write_text("")
        with pytest.raises(
            MissingNerf, match=r"no config\.yml of a NeRF with a checkpoint, and no splat; train it: ns-train"
        ):
            find_nerf(tmp_path, FERN, "sa3d", None)

    def test_a_missing_one_tells_the_command(self, tmp_path, capture):
        np.save(capture / "poses_bounds.npy", poses(64))
        with pytest.raises(MissingNerf, match=r"ns-train nerfacto --data \S+/fern .* llff-data --eval-mode all$"):
            find_nerf(tmp_path / "nerfs", FERN, "sa3d", capture)
        command = train_command(tmp_path, FERN, "strict", capture)
        assert "--experiment-name fern_strict" in command
        assert command.endswith("llff-data --eval-mode names --eval-names IMG_4027")  # of images, the auto choice

    def test_the_held_out_name_is_that_of_the_folder_the_parser_takes(self, tmp_path, capture):
        np.save(capture / "poses_bounds.npy", poses(4032))  # images would be too large
        assert train_command(tmp_path, FERN, "strict", capture).endswith("--eval-names image001")

    def test_other_captures_name_their_parser_themselves(self, tmp_path):
        assert "hold out IMG_4027" in train_command(tmp_path, FERN, "strict", tmp_path)

    def test_captures(self, tmp_path, capture):
        assert find_capture([tmp_path / "none", tmp_path], "fern") == capture
        (tmp_path / "fern_undistort" / "images").mkdir(parents=True)
        assert find_capture([tmp_path], "fern") == tmp_path / "fern_undistort"
        assert find_capture([tmp_path], "trex") is None


def poses(width: int) -> np.ndarray:
    matrix = np.stack([[0, -1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [width, width, width]], axis=1)
    return np.tile([*matrix.ravel(), 1.0, 2.0], (20, 1))
