"""`llff-data` in nerfstudio: cameras, splits, recentring."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.nerf_seg.field.test_poses_bounds import COUNT, FOCAL, HEIGHT, WIDTH, write_capture

pytest.importorskip("nerfstudio")

import torch
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what nerfstudio's own dependencies deprecate
    from nerfstudio.data.dataparsers.base_dataparser import transform_poses_to_original_space
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    from nerf_seg.llff import LLFFDataParserConfig, llff_data, split_views

AS_THEY_ARE = {"orientation_method": "none", "center_method": "none", "scale_method": "none"}


@pytest.fixture
def capture(tmp_path):
    write_capture(tmp_path, {"images_2": 2})
    return tmp_path


def test_cameras(capture):
    config = LLFFDataParserConfig(data=capture, eval_mode="all", **AS_THEY_ARE)
    outputs = config.setup().get_dataparser_outputs("train")
    cameras = outputs.cameras
    assert cameras.camera_to_worlds.shape == (COUNT, 3, 4)
    assert (cameras.width == WIDTH // 2).all() and (cameras.height == HEIGHT // 2).all()
    np.testing.assert_allclose(cameras.fx, FOCAL / 2, rtol=1e-6)
    np.testing.assert_allclose(cameras.fy, FOCAL / 2, rtol=1e-6)
    np.testing.assert_allclose(outputs.metadata["bounds"], [[1.5, 9.0]] * COUNT)


def test_interval_is_llffhold(capture):
    parser = LLFFDataParserConfig(data=capture, eval_interval=4).setup()
    held_out = parser.get_dataparser_outputs("test").image_filenames
    assert [path.stem for path in held_out] == ["IMG_0", "IMG_4"]
    assert parser.get_dataparser_outputs("val").image_filenames == held_out
    assert [p.stem for p in parser.get_dataparser_outputs("train").image_filenames] == ["IMG_1", "IMG_2", "IMG_3"]


def test_names_hold_out_the_strict_target(capture):
    names = [f"IMG_{i}.png" for i in range(COUNT)]
    config = LLFFDataParserConfig(eval_mode="names", eval_names=("IMG_3", "IMG_1.png"))
    assert split_views(names, config, "test") == [1, 3]
    assert split_views(names, config, "train") == [0, 2, 4]
    with pytest.raises(ValueError, match=r"no view is called IMG_9; they are IMG_0\.png to IMG_4\.png"):
        split_views(names, LLFFDataParserConfig(eval_mode="names", eval_names=("IMG_9",)), "train")


def test_no_split_is_empty():
    with pytest.raises(ValueError, match="no view is left for the split train: 3 of 3"):
        split_views(["a", "b", "c"], LLFFDataParserConfig(eval_interval=1), "train")
    with pytest.raises(ValueError, match="no view is left for the split test: 0 of 3"):
        split_views(["a", "b", "c"], LLFFDataParserConfig(eval_mode="names"), "test")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        split_views(["a"], LLFFDataParserConfig(eval_interval=0), "train")
    with pytest.raises(ValueError, match="'nonsense'"):
        split_views(["a"], LLFFDataParserConfig(), "nonsense")


@pytest.mark.parametrize("orientation", ["up", "vertical", "pca"])
def test_cameras_come_back_to_the_original_space(capture, orientation):
    config = LLFFDataParserConfig(data=capture, orientation_method=orientation, eval_mode="all")
    outputs = config.setup().get_dataparser_outputs("train")
    plain = LLFFDataParserConfig(data=capture, eval_mode="all", **AS_THEY_ARE).setup().get_dataparser_outputs("train")
    back = transform_poses_to_original_space(
        outputs.cameras.camera_to_worlds,
        outputs.dataparser_transform,
        outputs.dataparser_scale,
        camera_convention="opengl",
    )
    np.testing.assert_allclose(back, plain.cameras.camera_to_worlds, atol=1e-4)
    assert float(outputs.cameras.camera_to_worlds[:, :, 3].abs().max()) == pytest.approx(1, abs=1e-6)


def test_scale_by_bounds_is_llff_s(capture):
    outputs = LLFFDataParserConfig(data=capture, scale_method="bounds").setup().get_dataparser_outputs("train")
    assert float(outputs.metadata["bounds"].min()) == pytest.approx(4 / 3)
    assert outputs.dataparser_scale == pytest.approx(1 / (0.75 * 1.5))


def test_a_capture_of_one_place_is_not_scaled_to_infinity(capture):
    rows = np.load(capture / "poses_bounds.npy")
    rows[:, 3:15:5] = 0
    np.save(capture / "poses_bounds.npy", rows)
    outputs = LLFFDataParserConfig(data=capture).setup().get_dataparser_outputs("train")
    assert torch.isfinite(outputs.cameras.camera_to_worlds).all()


def test_same_as_nerfstudio_data_on_fern(test_data):
    """nerfstudio's own parser on the converted capture, with the same options: identical cameras."""
    root = test_data / "nerf" / "fern"
    if not root.is_dir():
        pytest.skip(f"{root} is not here")
    theirs = NerfstudioDataParserConfig(data=root, eval_mode="interval", downscale_factor=1).setup()
    ours = LLFFDataParserConfig(data=root).setup()
    for split in ("train", "test"):
        a, b = theirs.get_dataparser_outputs(split), ours.get_dataparser_outputs(split)
        assert a.image_filenames == b.image_filenames
        np.testing.assert_allclose(a.cameras.camera_to_worlds, b.cameras.camera_to_worlds, atol=1e-6)
        np.testing.assert_allclose(a.cameras.fx, b.cameras.fx, rtol=1e-6)
        np.testing.assert_allclose(a.cameras.cx, b.cameras.cx)
        assert a.dataparser_scale == pytest.approx(b.dataparser_scale)
        np.testing.assert_allclose(a.dataparser_transform, b.dataparser_transform, atol=1e-6)


def test_config_comes_back_from_config_yml():
    """As nerfstudio writes and reads its runs' options."""
    config = LLFFDataParserConfig(data=Path("fern"), eval_mode="names", eval_names=("IMG_4027",), downscale_factor=8)
    assert yaml.load(yaml.dump(config), Loader=yaml.Loader) == config


def test_registered_and_import_adds_nothing():
    """nerfstudio loads the module unguarded at each start: it brings two light ones of its own."""
    assert llff_data.config == LLFFDataParserConfig()
    code = (
        "import nerfstudio.data.dataparsers.base_dataparser, nerfstudio.plugins.registry_dataparser, sys\n"
        "before = set(sys.modules)\nimport nerf_seg.llff\nprint(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["nerf_seg", "nerf_seg.llff", "zim_plugins", "zim_plugins.faces"]
