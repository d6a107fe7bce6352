from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("nerfstudio", reason="nerfstudio is not installed: pip install 'zim-plugins[nerf]'")

pytestmark = pytest.mark.filterwarnings("ignore")


def cameras() -> Any:
    """Two pinhole cameras of 40x30 px at z = 4 that look down; the second is one unit to the right."""
    from nerfstudio.cameras.cameras import Cameras

    c2w = torch.eye(4)[:3].repeat(2, 1, 1)
    c2w[:, 2, 3], c2w[1, 0, 3] = 4.0, 1.0
    return Cameras(c2w, fx=20.0, fy=20.0, cx=20.0, cy=15.0, width=40, height=30)


class FakePipeline:
    """A floor at z = 0, and two images of it."""

    def __init__(self) -> None:
        names = [Path("left.png"), Path("right.png")]
        dataset = SimpleNamespace(cameras=cameras(), image_filenames=names)
        self.datamanager = SimpleNamespace(train_dataset=dataset)
        self.config = SimpleNamespace(points=None, neg_points=None, reference_view=None)
        self.model: Any = lambda rays: {"depth": -rays.origins[:, 2:] / rays.directions[:, 2:]}
        self.model.device = "cpu"

    def segment_again(self, progress: Any) -> dict[str, int]:
        progress("visit 1 of 2")
        return {"accepted": 2, "views": 2}


@pytest.fixture
def panel() -> Any:
    from nerf_seg.plugin.viewer import ClickPanel

    return ClickPanel(FakePipeline())  # pyright: ignore[reportArgumentType]


def click(x: float, y: float, origin: tuple[float, float, float] = (0.1, 0.0, 4.0)) -> Any:
    """A click whose ray meets the floor at (x, y)."""
    from nerfstudio.viewer.viewer_elements import ViewerClick

    direction = (x - origin[0], y - origin[1], -origin[2])
    return ViewerClick(origin=origin, direction=direction, screen_pos=(0.5, 0.5))


def test_a_click_in_the_scene_is_a_click_in_the_nearest_image(panel: Any) -> None:
    options = panel._pipeline().config
    panel.take(click(0.4, -0.2), "points")
    assert (options.reference_view, options.points) == ("left.png", "22.0,16.0")  # 20 px a unit at a distance of 4
    panel.take(click(1.0, 0.0, origin=(1.0, 0.0, 4.0)), "neg_points")  # the first click has chosen the view
    assert (options.reference_view, options.neg_points) == ("left.png", "25.0,15.0")
    assert panel.options_text() == '--pipeline.reference-view left.png --pipeline.points "22.0,16.0" ' + (
        '--pipeline.neg-points "25.0,15.0"'
    )
    panel.clear()
    panel.take(click(1.0, 0.0, origin=(1.0, 0.0, 4.0)), "points")
    assert (options.reference_view, options.points) == ("right.png", "20.0,15.0")


def test_a_click_that_no_image_shows_changes_nothing(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(panel, "show", said.append)
    panel.take(click(90.0, 0.0), "points")
    panel.take(click(0.0, 0.0), "points")
    panel.take(click(-4.5, 0.0), "points")
    assert panel._pipeline().config.points == "20.0,15.0"
    assert "no training image" in said[0] and "does not see" in said[2]


def test_the_button_listens_once_and_lets_the_camera_go(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """viser cannot drag the camera while it waits for a click, so the callback is taken back at once."""
    registered: dict[str, Any] = {}
    monkeypatch.setattr(panel.control, "register_pointer_cb", lambda kind, cb: registered.update({kind: cb}))
    monkeypatch.setattr(panel.control, "unregister_pointer_cb", registered.clear)
    panel.on_object.cb_hook(panel.on_object)
    registered["click"](click(0.0, 0.0))
    assert not registered and panel._pipeline().config.points == "20.0,15.0"


def test_the_viewer_finds_the_panel_and_segment_says_what_came_of_it(
    panel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerfstudio.viewer.utils import parse_object
    from nerfstudio.viewer.viewer_elements import ViewerControl, ViewerElement

    owner = torch.nn.Module()
    owner.clicks = panel
    assert [control for _, control in parse_object(owner, ViewerControl, "")] == [panel.control]
    assert len(parse_object(owner, ViewerElement, "")) == 5
    said: list[str] = []
    monkeypatch.setattr(panel, "show", said.append)
    panel.run()
    assert said[0] == "visit 1 of 2" and said[1].startswith("2 of 2 views agree")
