"""zim-splat on runs of nerfstudio's splatfacto, made by its own classes; the arithmetic is the CPU's exact one."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import yaml

pytest.importorskip("nerfstudio", reason="nerfstudio is not installed: pip install 'zim-plugins[nerf]'")

from nerf_seg.field import patches
from nerf_seg.field.checkpoint import find_nerf
from nerf_seg.field.gaussians.camera_files import read_placed_cameras
from nerf_seg.field.gaussians.files import SplatError, read_scene
from nerf_seg.field.gaussians.model import SH_C0, Gaussians
from nerf_seg.splat import cli
from tests.nerf_seg.field.gaussians.test_camera_files import GL, quaternion, transforms
from tests.nerf_seg.splat_scene import SplatScene, membership_iou
from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.runtime import run
from zim_plugins.core import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore")

SCENE = SplatScene(views=8, count=600)
APPLIED = [[1, 0, 0, 0.2], [0, 0, 1, -0.1], [0, -1, 0, 0.3]]
"""As `ns-process-data` turns COLMAP's world, with a shift."""


def write_capture(folder: Path, **extra: object) -> Path:
    """Images, and a transforms.json whose frames are turned away from the world of the scene."""
    (folder / "images").mkdir(parents=True)
    (folder / "mattes").mkdir()
    for i, camera in enumerate(SCENE.cameras):
        PIL.Image.fromarray(SCENE.image(i)).save(folder / "images" / camera.name)
        PIL.Image.fromarray(np.uint8(SCENE.alpha(i) * 255 + 0.5)).save(folder / "mattes" / camera.name)
    path = transforms(folder, SCENE.cameras, applied_transform=APPLIED, cx=48.0, cy=36.0, **extra)
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        turned = np.vstack([APPLIED, [0, 0, 0, 1]]) @ np.array(frame["transform_matrix"])
        turned[:3, 3] *= float(content.get("applied_scale", 1.0))
        frame["transform_matrix"] = turned.tolist()
    path.write_text(json.dumps(content))
    return folder


def parsed(folder: Path) -> Any:
    """What nerfstudio's own data parser makes of the capture."""
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    config = NerfstudioDataParserConfig(data=folder, load_3D_points=False, eval_mode="all")
    return config.setup().get_dataparser_outputs(split="train")


def moved(gaussians: Gaussians, rotation: np.ndarray, shift: np.ndarray, scale: float) -> Gaussians:
    """The scene in the world of training."""
    turn = torch.from_numpy(rotation).float()
    turned = [quaternion(rotation @ matrix) for matrix in _matrices(gaussians)]
    return Gaussians(
        means=scale * (gaussians.means @ turn.T + torch.from_numpy(shift).float()),
        scales=scale * gaussians.scales,
        rotations=torch.from_numpy(np.stack(turned)).float(),
        opacities=gaussians.opacities,
        harmonics=gaussians.harmonics,
    )


def _matrices(gaussians: Gaussians) -> np.ndarray:
    from nerf_seg.field.gaussians.model import rotation_matrices

    return rotation_matrices(gaussians.rotations).double().numpy()


def splatfacto(gaussians: Gaussians, degree: int) -> tuple[Any, Any]:
    """nerfstudio's model on the CPU, with the Gaussians as its parameters, and its configuration."""
    import copy

    from nerfstudio.configs.method_configs import all_methods
    from nerfstudio.data.scene_box import SceneBox

    config: Any = copy.deepcopy(all_methods["splatfacto"])
    config.pipeline.model.random_init, config.pipeline.model.num_random = True, len(gaussians)
    config.pipeline.model.sh_degree = degree
    box = SceneBox(aabb=torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    with patches.cleared():
        model = config.pipeline.model.setup(scene_box=box, num_train_data=SCENE.views)
    colours = gaussians.harmonics[:, 0]
    if degree == 0:
        colours = torch.logit((0.5 + SH_C0 * colours).clamp(1e-4, 1 - 1e-4))
    values = {
        "means": gaussians.means, "scales": gaussians.scales.log(), "quats": 3 * gaussians.rotations,
        "features_dc": colours, "opacities": torch.logit(gaussians.opacities)[:, None],
    }  # fmt: skip
    with torch.no_grad():
        for name, value in values.items():
            model.gauss_params[name].copy_(value)
        if degree:
            model.gauss_params["features_rest"].normal_(0, 0.02)
    return model, config


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path, 0)


def write_run(folder: Path, degree: int, **extra: object) -> Path:
    """A finished run of splatfacto on the capture: config.yml, dataparser_transforms.json, a checkpoint."""
    capture = write_capture(folder / "capture", **extra)
    outputs = parsed(capture)
    matrix = outputs.dataparser_transform.double().numpy()
    shift, scale = matrix[:, 3], float(outputs.dataparser_scale)
    model, config = splatfacto(moved(SCENE.gaussians, matrix[:, :3], shift, scale), degree)
    base = folder / "outputs" / "tiny" / "splatfacto" / "2026-01-01_000000"
    (base / "nerfstudio_models").mkdir(parents=True)
    outputs.save_dataparser_transform(base / "dataparser_transforms.json")
    config.pipeline.datamanager.data = capture
    (base / "config.yml").write_text(yaml.dump(config))
    state = {f"_model.{name}": value for name, value in model.state_dict().items()}
    schedulers = {
        "means": {"base_lrs": [np.float64(1e-4)], "_last_lr": [np.float64(1e-5)]}
    }  # as nerfstudio leaves them
    stored = {"step": 29999, "pipeline": state, "optimizers": {}, "schedulers": schedulers, "scalers": {}}
    torch.save(stored, base / "nerfstudio_models" / "step-000029999.ckpt")
    return base


def call(scene: Path, folder: Path, *extra: str) -> int:
    capture = folder / "capture"
    words = [str(scene), "--cameras", str(capture), "--images", str(capture), "--view", "view_00", "--point", "31,36"]
    words += ["--model", f"oracle:{capture / 'mattes'}", "--out", str(folder / "out"), *extra]
    return run(cli.main, parse_arguments(cli.Args, words, prog="zim-splat"), package="nerf_seg")


@pytest.mark.parametrize("named", ["config.yml", ".", "nerfstudio_models/step-000029999.ckpt"])
def test_an_object_out_of_a_run_that_was_not_exported(tmp_path: Path, run_folder: Path, named: str) -> None:
    assert call(run_folder / named, tmp_path) == 0
    found = np.load(tmp_path / "out" / "membership.npy") > 0.5
    assert membership_iou(found, SCENE.truth) > 0.98
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert min(report["psnr_db"].values()) > 30  # the run's own dataparser_transforms.json was taken
    assert report["scene"]["file"].endswith("step-000029999.ckpt")
    assert len(read_scene(tmp_path / "out" / "object.ply").gaussians()) == report["gaussians"]["object"]


@pytest.mark.parametrize("degree", [0, 3])
def test_the_checkpoint_reads_as_nerfstudio_exports_it(
    tmp_path: Path, degree: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerfstudio.scripts import exporter

    base = write_run(tmp_path, degree)
    model, _ = splatfacto(SCENE.gaussians, degree)
    state = torch.load(base / "nerfstudio_models" / "step-000029999.ckpt", weights_only=False)["pipeline"]
    model.load_state_dict({name.removeprefix("_model."): value for name, value in state.items()})
    monkeypatch.setattr(exporter, "eval_setup", lambda *_, **__: (None, SimpleNamespace(model=model), None, None))
    exporter.ExportGaussianSplat(base / "config.yml", tmp_path / "exported").main()
    ours, theirs = (read_scene(path).gaussians() for path in (base / "config.yml", tmp_path / "exported" / "splat.ply"))
    assert ours.harmonics.shape == theirs.harmonics.shape == (len(SCENE.gaussians), (degree + 1) ** 2, 3)
    for part in ("means", "scales", "rotations", "opacities", "harmonics"):
        assert torch.allclose(getattr(ours, part), getattr(theirs, part), atol=1e-6), part


@pytest.mark.parametrize("extra", [{}, {"applied_scale": 0.5}])
def test_an_exported_splat_lies_where_nerfstudio_s_cameras_are(tmp_path: Path, extra: dict[str, float]) -> None:
    """Frames of transforms.json are turned away from COLMAP's world, from which dataparser_transforms.json counts."""
    capture = write_capture(tmp_path / "capture", **extra)
    outputs = parsed(capture)
    outputs.save_dataparser_transform(tmp_path / "t.json")
    found = read_placed_cameras(capture / "transforms.json", tmp_path / "t.json")
    theirs = outputs.cameras.camera_to_worlds.double().numpy()
    names = [path.name for path in outputs.image_filenames]
    assert [Path(camera.name).name for camera in found] == names
    for camera, matrix in zip(found, theirs, strict=True):
        expected = np.vstack([matrix, [0, 0, 0, 1]]) @ GL
        assert np.allclose(np.linalg.inv(camera.world_to_camera), expected, atol=1e-5)


def test_sa3d_zim_names_the_command_that_takes_splats(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_nerf(run_folder / "config.yml")
    said = str(caught.value)
    assert "is a run of splatfacto, a splat" in said and "\n" not in said
    command = said.partition(": zim-splat ")[2].replace("NAME", "view_00").replace("x,y", "31,36").split()
    command += ["--model", f"oracle:{tmp_path / 'capture' / 'mattes'}", "--out", str(tmp_path / "out")]
    assert run(cli.main, parse_arguments(cli.Args, command, prog="zim-splat"), package="nerf_seg") == 0


def test_what_is_no_run_of_splatfacto_is_said(tmp_path: Path, run_folder: Path) -> None:
    checkpoint = run_folder / "nerfstudio_models" / "step-000029999.ckpt"
    torch.save({"step": 1, "pipeline": {"_model.field.weight": torch.zeros(2)}}, checkpoint)
    with pytest.raises(SplatError, match=r"step-000029999\.ckpt cannot be read: it is no checkpoint of splatfacto"):
        read_scene(run_folder / "config.yml")
    checkpoint.write_bytes(b"PK")
    with pytest.raises(SplatError, match="it is no checkpoint of nerfstudio, or damaged"):
        read_scene(run_folder)
    checkpoint.unlink()
    with pytest.raises(SplatError, match="has not finished or was never saved"):
        read_scene(run_folder)
    with pytest.raises(SplatError, match="is a folder, and no run of splatfacto"):
        read_scene(tmp_path / "capture")


def test_nerfstudio_itself_is_not_needed(tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "nerfstudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nerfstudio", None)
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        assert call(run_folder / "config.yml", tmp_path, "--passes", "1") == 0
    finally:
        torch.serialization.add_safe_globals(allowed)
