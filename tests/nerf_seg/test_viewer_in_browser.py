"""ns-viewer on a run of sa3d-zim in a real browser: a click on the scene becomes a prompt of a training view."""

import copy
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("nerfstudio", reason="nerfstudio is not installed: pip install 'zim-plugins[nerf]'")

from tests.server.chromium import Chromium, Page, find_chromium

sys.path.insert(0, str(Path(__file__).parent))
from tiny_capture import FOCAL_PX, SIZE, train, write_capture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: apt-get install chromium"),
]
PATIENCE_S = 600.0
BUTTON = """(() => {
    const found = [...document.querySelectorAll("button")].find((one) => one.textContent.trim() === %r);
    if (!found) return null;
    found.scrollIntoView({ block: "center" });
    const box = found.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
})()"""
CANVAS = """(() => {
    const box = document.querySelector("canvas[data-engine]").getBoundingClientRect();
    return [box.x, box.y, box.width, box.height];
})()"""
"""The scene's canvas, which shrinks when the panel slides in beside it."""
SHOWN = """[...document.querySelectorAll("input, textarea")].map((one) => one.value)
    .find((value) => value.includes("--pipeline.points")) || null"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run on a field that was hardly trained: where a click lands depends on the camera alone."""
    from nerf_seg.config import nerfacto_light, sa3d_zim

    folder = tmp_path_factory.mktemp("viewed")
    capture = write_capture(folder / "capture")
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(folder)
    torch.set_num_threads(1)
    nerf: Any = copy.deepcopy(nerfacto_light.config)
    nerf.max_num_iterations = 12
    nerf.pipeline.datamanager.data = capture
    nerf.pipeline.datamanager.train_num_rays_per_batch = 256
    model = nerf.pipeline.model
    model.num_levels, model.log2_hashmap_size, model.max_res = 5, 13, 256
    model.num_proposal_samples_per_ray, model.num_nerf_samples_per_ray = (24, 16), 16
    model.disable_scene_contraction, model.proposal_initial_sampler = True, "uniform"
    model.near_plane, model.far_plane, model.background_color = 0.5, 1.6, "white"
    config: Any = copy.deepcopy(sa3d_zim.config)
    config.pipeline.nerf_config = train(nerf, folder, "nerf") / "config.yml"
    config.pipeline.mask = capture / "alphas" / "view_00.png"
    config.pipeline.matter = f"oracle:{capture / 'alphas'}"
    config.pipeline.model.resolution, config.pipeline.passes, config.pipeline.sweeps = 24, 1, 0
    config.pipeline.iou_threshold = 0.0
    yield train(config, folder, "whole")
    os.chdir(before)
    torch.set_num_threads(threads)


@pytest.fixture
def viewer(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What `ns-viewer --load-config RUN/config.yml` starts, in a thread: address, viewer and pipeline."""
    from nerfstudio.scripts.viewer import run_viewer
    from nerfstudio.utils.eval_utils import eval_setup
    from nerfstudio.viewer.render_state_machine import RenderStateMachine

    config, pipeline, _, step = eval_setup(run / "config.yml", test_mode="test")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config.vis = "viewer"
    config.viewer.websocket_host, config.viewer.websocket_port = "127.0.0.1", port
    made: list[Any] = []
    make, ended = run_viewer.ViewerState, threading.Event()

    def keep(*args: Any, **options: Any) -> Any:
        made.append(make(*args, **options))
        return made[0]

    def sleep(_: float) -> None:
        if ended.wait(0.05):
            raise SystemExit

    monkeypatch.setattr(run_viewer, "ViewerState", keep)
    monkeypatch.setattr(run_viewer, "time", SimpleNamespace(sleep=sleep))
    thread = threading.Thread(target=run_viewer._start_viewer, args=(config, pipeline, step), daemon=True)
    thread.start()
    until(lambda: made and made[0].ready)
    yield SimpleNamespace(address=f"http://127.0.0.1:{port}/", state=made[0], pipeline=pipeline)
    ended.set()
    thread.join(20)
    # Whatever still renders ends here: its warnings are ignored for the length of this test only.
    for machine in [one for one in threading.enumerate() if isinstance(one, RenderStateMachine)]:
        machine.running = False
        machine.join(PATIENCE_S)
    made[0].viser_server.stop()


@pytest.fixture
def page(viewer: Any, tmp_path: Path) -> Iterator[Page]:
    browser = Chromium(tmp_path / "profile", "--enable-unsafe-swiftshader")  # WebGL without a graphics card
    page = browser.page(viewer.address, tmp_path)
    page.until(BUTTON % "Click on the object", PATIENCE_S)
    yield page
    browser.close()


def until(holds: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
    return value


def press(page: Page, at: tuple[float, float]) -> None:
    page.mouse("mouseMoved", *at)
    page.mouse("mousePressed", *at, button="left")
    page.mouse("mouseReleased", *at, button="left")


def settled(page: Page) -> list[float]:
    """Left, top, width and height of the scene's canvas, once they change no more."""
    place = page.run(CANVAS)
    while True:
        time.sleep(0.5)
        before, place = place, page.run(CANVAS)
        if place == before:
            return place


def stand_at_first_view(viewer: Any) -> Any:
    """Move the browser's camera to where the first training view was taken from; return the client."""
    from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

    client = until(lambda: next(iter(viewer.state.viser_server.get_clients().values()), None))
    c2w = viewer.pipeline.datamanager.train_dataset.cameras.camera_to_worlds[0].double().numpy()
    before = client.camera.update_timestamp
    client.camera.up_direction = c2w[:, 1]
    client.camera.position = c2w[:, 3] * VISER_NERFSTUDIO_SCALE_RATIO
    client.camera.look_at = (c2w[:, 3] - c2w[:, 2]) * VISER_NERFSTUDIO_SCALE_RATIO
    until(lambda: client.camera.update_timestamp > before)
    return client


@pytest.mark.parametrize(
    ("button", "option", "off"),
    [("Click on the object", "points", (0.2, -0.1)), ("Click on the background", "neg_points", (0.0, 0.0))],
)
def test_a_click_in_the_browser_reaches_the_prompt(
    viewer: Any, page: Page, button: str, option: str, off: tuple[float, float]
) -> None:
    """`off` is how far from the canvas's middle it is clicked, in half heights of the canvas."""
    client = stand_at_first_view(viewer)
    options = viewer.pipeline.config
    viewer.pipeline.clicks.clear()
    press(page, page.until(BUTTON % button))
    until(lambda: viewer.state.viser_server.scene._scene_pointer_cb is not None)
    end = time.monotonic() + PATIENCE_S
    while getattr(options, option) is None:  # the page may learn a little later that it waits for a click
        assert time.monotonic() < end, "the click did not arrive"
        left, top, width, height = settled(page)
        press(page, (left + width / 2 + off[0] * height / 2, top + height / 2 + off[1] * height / 2))
        time.sleep(0.5)
    assert options.reference_view == "view_00.png"
    x, y = map(float, getattr(options, option).split(","))
    slope = np.tan(client.camera.fov / 2) * FOCAL_PX
    assert (x, y) == pytest.approx((SIZE / 2 + off[0] * slope, SIZE / 2 + off[1] * slope), abs=0.7)
    if option == "points":
        assert f"{x:.1f},{y:.1f}" in page.until(SHOWN)
    assert viewer.state.viser_server.scene._scene_pointer_cb is None  # the camera can be dragged again
