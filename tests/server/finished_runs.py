"""Finished runs for the server's tests: one as `ns-train sa3d-zim` leaves it, one that `zim-splat` makes."""

import json
from pathlib import Path

import numpy as np
import PIL.Image

from nerf_seg.splat import cli
from tests.conftest import soft_disk
from tests.nerf_seg.splat.test_cli import command, write_capture
from tests.nerf_seg.splat_scene import SplatScene
from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.runtime import run

SIZE = (60, 80)
VIEWS = ("r_0", "r_1", "r_2")
PLY = b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nend_header\n"


def write_nerf_run(folder: Path) -> Path:
    """The files of a run of sa3d-zim: a disk that moves to the right, the last view held out."""
    for index, name in enumerate(VIEWS):
        alpha = soft_disk(SIZE, (20 + 15 * index, 30), 12)
        image = np.full((*SIZE, 3), (20, 40, 200), dtype=np.uint8)
        layers = {"alpha": np.uint8(255 * alpha + 0.5), "overlay": image}
        if index < 2:
            layers |= {"matte": layers["alpha"], "rgba": np.dstack([image, layers["alpha"]])}
        for layer, pixels in layers.items():
            (folder / layer).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(folder / layer / f"{name}.png")
    PIL.Image.new("RGB", (90, 30)).save(folder / "contact_sheet.png")
    for name in ("object_pointcloud.ply", "object_mesh.ply"):
        (folder / name).write_bytes(PLY)
    (folder / "nerfstudio_models").mkdir()
    (folder / "nerfstudio_models" / "step-000000005.ckpt").write_bytes(b"weights")
    (folder / "config.yml").write_text("secret: of the machine")
    report = {"reference_view": "r_0.png", "prompted_views": ["r_0.png"], "views": 2, "accepted": 2}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def write_splat_run(folder: Path) -> Path:
    """A whole run of zim-splat on a tiny scene."""
    capture = folder.parent / "capture"
    capture.mkdir(parents=True)
    write_capture(capture, SplatScene(size=(36, 48), views=4, count=150))
    words = command(capture, folder, "--passes", "1", "--any-quality", point="50%,50%")
    assert run(cli.main, parse_arguments(cli.Args, words, prog="zim-splat"), package="nerf_seg") == 0
    return folder
