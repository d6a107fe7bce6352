"""A miniature of the whole path: train a field, segment the ball in it, evaluate, render and export."""

import copy
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zim_plugins.core import Prediction, Prompt, read_alpha

pytest.importorskip("nerfstudio", reason="nerfstudio is not installed: pip install 'zim-plugins[nerf]'")

sys.path.insert(0, str(Path(__file__).parent))
from tiny_capture import SIZE, VIEWS, train, write_capture

# nerfstudio and its dependencies warn of much that is theirs.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the capture; nerfstudio writes relative to where it runs."""
    path = tmp_path_factory.mktemp("nerf")
    write_capture(path / "capture")
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(path)
    torch.set_num_threads(1)
    yield path
    os.chdir(before)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def nerf(folder: Path) -> Path:
    """config.yml of a small field, trained for a few seconds."""
    from nerf_seg.config import nerfacto_light

    config: Any = copy.deepcopy(nerfacto_light.config)
    config.max_num_iterations = 200
    config.pipeline.datamanager.data = folder / "capture"
    config.pipeline.datamanager.train_num_rays_per_batch = 512
    model = config.pipeline.model
    model.num_levels, model.log2_hashmap_size, model.max_res = 5, 13, 256
    model.num_proposal_samples_per_ray, model.num_nerf_samples_per_ray = (24, 16), 16
    model.proposal_weights_anneal_max_num_iters, model.proposal_warmup = 50, 100
    # Few small views leave open what lies where: with these the ball can only be where it is.
    model.disable_scene_contraction, model.proposal_initial_sampler = True, "uniform"
    model.near_plane, model.far_plane, model.background_color = 0.5, 1.6, "white"
    return train(config, folder, "nerf") / "config.yml"


@pytest.fixture(scope="module")
def options(folder: Path, nerf: Path) -> Any:
    """Options of a run with one click in the first view, and the true mattes as the 2D model."""
    from nerf_seg.config import sa3d_zim

    config: Any = copy.deepcopy(sa3d_zim.config)
    config.pipeline.nerf_config = nerf
    config.pipeline.points = f"{SIZE // 2},{SIZE // 2}"
    config.pipeline.matter = f"oracle:{folder / 'capture' / 'alphas'}"
    config.pipeline.datamanager.truth_alphas = folder / "capture" / "alphas"
    config.pipeline.model.resolution = 48
    config.pipeline.video_frames = 2
    config.pipeline.sweeps = 2
    return config


class WithoutLibusb:
    """An import system as on a machine without libusb: open3d is installed, but does not load."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "open3d":
            raise OSError("libusb-1.0.so.0: cannot open shared object file: No such file or directory")


@pytest.fixture(scope="module")
def run(folder: Path, options: Any) -> Path:
    """A whole run where open3d does not load: all its outputs appear all the same."""
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in sys.modules if name.partition(".")[0] == "open3d"]:
            patched.delitem(sys.modules, name)
        patched.setattr(sys, "meta_path", [WithoutLibusb(), *sys.meta_path])
        with pytest.raises(OSError, match="libusb"):
            __import__("open3d")
        return train(options, folder, "whole")


def test_a_run_without_libusb_has_all_its_outputs(run: Path) -> None:
    assert json.loads((run / "report.json").read_text())["outputs_left_out"] == {}
    for name in ("alpha", "matte", "rgba", "overlay", "contact_sheet.png", "mask_grid.npz", "object_only.png"):
        assert (run / name).exists(), name
    for name in ("removed.png", "object_pointcloud.ply", "object_mesh.ply"):
        assert (run / name).stat().st_size > 200, name


def test_the_run_is_as_long_as_its_views(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert [checkpoint.name for checkpoint in (run / "nerfstudio_models").iterdir()] == [
        f"step-{2 * VIEWS - 1:09d}.ckpt"
    ]
    assert len(report["visits"]) == 2 * VIEWS and report["accepted"] == VIEWS
    assert {"rendering", "matting", "prompting", "accumulation"} <= set(report["seconds"])


def test_the_matte_of_every_view_is_written(run: Path, folder: Path) -> None:
    truths = sorted((folder / "capture" / "alphas").iterdir())
    assert sorted(path.name for path in (run / "alpha").iterdir()) == [path.name for path in truths]
    for path in truths:
        alpha, truth = read_alpha(run / "alpha" / path.name) > 0.5, read_alpha(path) > 0.5
        assert (alpha & truth).sum() / (alpha | truth).sum() > 0.8, path.name
    assert len(list((run / "rgba").iterdir())) == len(list((run / "matte").iterdir())) == VIEWS


def test_objects_are_exported_by_the_run_itself(run: Path) -> None:
    rows = parse_vertices(run / "object_pointcloud.ply")
    places = np.stack([rows[axis] for axis in "xyz"], axis=1)
    # In the capture's own coordinates the ball is 1.4 wide and its middle is 0; in training it is 0.48 wide.
    assert len(places) > 200 and 1.0 < np.ptp(places, axis=0).max() < 1.9
    assert np.abs(np.median(places, axis=0)).max() < 0.3
    assert len(parse_vertices(run / "object_mesh.ply")) > 0
    report = json.loads((run / "report.json").read_text())
    assert report["outputs_left_out"] == {} and report["geometry_in"] == "capture"
    assert len(report["psnr_db"]) == 3 and min(report["psnr_db"].values()) > 12
    assert any(run.glob("object_only.mp4")) or any(run.glob("object_only.gif"))
    with np.load(run / "mask_grid.npz") as grid:
        assert grid["sums"].shape == (48, 48, 48, 2)


def parse_vertices(path: Path) -> np.ndarray:
    """Read the vertices of a binary .ply, whatever follows them."""
    head, _, content = path.read_bytes().partition(b"end_header\n")
    kinds = {b"double": "<f8", b"float": "<f4", b"uchar": "u1"}
    lines = [line.split() for line in head.splitlines()]
    fields = [(words[2].decode(), kinds[words[1]]) for words in lines if words[0] == b"property" and len(words) == 3]
    count = next(int(words[2]) for words in lines if words[:2] == [b"element", b"vertex"])
    return np.frombuffer(content, dtype=fields, count=count)


def test_an_output_that_fails_costs_neither_report_nor_checkpoint(
    folder: Path, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerf_seg.export import run_outputs

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(run_outputs, "write_cloud", fail)
    monkeypatch.setattr(run_outputs, "write_video", fail)
    config = copy.deepcopy(options)
    config.pipeline.passes, config.pipeline.sweeps = 1, 0
    broken = train(config, folder, "broken")
    report = json.loads((broken / "report.json").read_text())
    assert set(report["outputs_left_out"]) == {"videos", "geometry"}
    assert "no space left" in report["outputs_left_out"]["geometry"]
    assert list((broken / "nerfstudio_models").iterdir()) and (broken / "removed.png").exists()


def test_ns_eval_scores_the_matte(run: Path, folder: Path) -> None:
    from nerfstudio.scripts.eval import ComputePSNR

    ComputePSNR(load_config=run / "config.yml", output_path=folder / "scores.json").main()
    scores = json.loads((folder / "scores.json").read_text())["results"]
    assert scores["iou"] > 0.8 and scores["mae"] < 60 and scores["psnr"] > 15
    assert {"acc", "boundary_iou", "sad"} <= set(scores) and "lpips" not in scores


def test_ns_render_cuts_the_object_out(run: Path, folder: Path) -> None:
    from nerfstudio.scripts.render import DatasetRender

    renders = folder / "renders"
    names = ["rgba", "object_alpha"]
    DatasetRender(
        run / "config.yml", output_path=renders, split="test", rendered_output_names=names, image_format="png"
    ).main()
    cut_out = next((renders / "test" / "rgba").iterdir())
    alpha, truth = read_alpha(cut_out), read_alpha(folder / "capture" / "alphas" / f"{cut_out.stem}.png")
    assert np.abs(alpha - truth).mean() < 0.06


def test_ns_export_keeps_to_the_object_and_stops_where_there_is_none(run: Path, folder: Path) -> None:
    import open3d
    from nerfstudio.exporter.exporter_utils import generate_point_cloud
    from nerfstudio.scripts.exporter import ExportPointCloud
    from nerfstudio.utils.eval_utils import eval_setup

    from zim_plugins.core import ZimError

    options = {"num_points": 500, "normal_method": "open3d", "num_rays_per_batch": 1024}
    ExportPointCloud(run / "config.yml", folder / "exported", **options).main()
    cloud = open3d.io.read_point_cloud(str(folder / "exported" / "point_cloud.ply"))
    assert len(cloud.points) >= 400 and np.ptp(np.asarray(cloud.points), axis=0).max() < 0.8
    _, pipeline, _, _ = eval_setup(run / "config.yml")
    pipeline.model.grid.sums.zero_()
    with pytest.raises(ZimError, match="empty"):
        generate_point_cloud(pipeline, num_points=10)


def test_a_killed_run_continues_to_the_same_grid(
    run: Path, folder: Path, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerf_seg import trainer
    from nerf_seg.pipeline import Sa3dZimPipeline

    visit: Callable[..., Any] = Sa3dZimPipeline.get_train_loss_dict

    def die(self: Any, step: int) -> Any:
        if step == VIEWS + 3:
            raise KeyboardInterrupt
        return visit(self, step)

    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(Sa3dZimPipeline, "get_train_loss_dict", die)
    killed = train(options, folder, "killed")
    assert (killed / "progress.pt").exists() and not (killed / "nerfstudio_models").exists()
    monkeypatch.setattr(Sa3dZimPipeline, "get_train_loss_dict", visit)
    assert train(options, folder, "killed") == killed
    with np.load(killed / "mask_grid.npz") as continued, np.load(run / "mask_grid.npz") as whole:
        assert np.array_equal(continued["sums"], whole["sums"])
    assert not (killed / "progress.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_view": "view_77.png"}, "no view is called 'view_77.png'"),
        ({"points": "99,3"}, "99"),
        ({"points": None}, "no prompt"),
        ({"reference_view": f"view_{VIEWS}.png"}, f"view_{VIEWS}.png was held out"),
        ({"nerf_config": Path(".")}, "is a folder: give the config.yml"),
        ({"nerf_config": Path("nowhere/config.yml")}, "there is no nowhere/config.yml"),
        ({"matter": "oracle:nowhere"}, "there is no folder nowhere"),
        ({"matter": "zim_huge"}, "zim_huge"),
    ],
)
def test_what_cannot_work_is_told_in_one_line_before_any_rendering(
    folder: Path, nerf: Path, options: Any, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    from nerf_seg import pipeline
    from nerf_seg.field import scene

    monkeypatch.setattr(pipeline, "CACHE_FOLDER", "never_filled")
    config = copy.deepcopy(options)
    for option, value in change.items():
        setattr(config.pipeline, option, value)
    monkeypatch.setattr(scene, "view_samples", lambda *_: pytest.fail("a view was rendered"))
    with pytest.raises(SystemExit, match=message):
        train(config, folder, "refused")
    assert not (folder / "runs" / "tiny" / "sa3d-zim" / "refused" / "config.yml").exists()


def test_an_empty_matte_in_the_reference_view_is_told(
    folder: Path, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerf_seg import pipeline, trainer
    from nerf_seg.field import scene

    class Blind:
        def set_image(self, image: np.ndarray) -> None:
            self.size = image.shape[:2]

        def predict(self, prompt: Prompt) -> Prediction:
            return Prediction(np.zeros((1, *self.size), np.float32), np.ones(1, np.float32))

        def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
            return [self.predict(prompt) for prompt in prompts]

    monkeypatch.setattr(trainer, "build_matter", lambda *_: Blind())
    monkeypatch.setattr(scene, "view_samples", lambda *_: pytest.fail("a view was rendered"))
    monkeypatch.setattr(pipeline, "CACHE_FOLDER", "never_filled")
    with pytest.raises(SystemExit, match=r"view_00.png yields an empty matte"):
        train(options, folder, "blind")
    assert not (folder / "runs" / "tiny" / "sa3d-zim" / "blind" / "config.yml").exists()


def test_without_a_nerf_one_is_trained_first(folder: Path, options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training itself is another process, stubbed here; a finished one is not repeated."""
    from nerfstudio.configs.method_configs import all_methods

    from nerf_seg.plugin import base_nerf as adoption

    asked: list[list[str]] = []
    monkeypatch.setattr(adoption.subprocess, "run", lambda command, **_: asked.append(command) or Failed())
    config = copy.deepcopy(options)
    config.pipeline.nerf_config, config.pipeline.light = None, True
    config.pipeline.datamanager.data = folder / "capture"
    with pytest.raises(SystemExit, match="training nerfacto-light failed"):
        train(config, folder, "alone")
    field = folder / "runs" / "tiny" / "sa3d-zim" / "alone" / "nerf" / "nerfacto-light"
    assert asked[0][-3:] == ["nerfacto-light", "--load-config", str(field / "config.yml")]
    (field / "nerfstudio_models").mkdir()
    (field / "nerfstudio_models" / "step-000000999.ckpt").touch()
    assert all_methods["nerfacto-light"].max_num_iterations == 1000
    with pytest.raises(SystemExit, match="cannot be read"):
        train(config, folder, "alone")
    assert len(asked) == 1


class Failed:
    returncode = 1
