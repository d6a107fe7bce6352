"""The viewer's panel: clicks in 3D become clicks in a training image, and the object is segmented on the spot."""

import threading
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerButton, ViewerClick, ViewerControl, ViewerText
from torch import Tensor, nn

from zim_plugins.core import ZimError

from ..field.rendering import image_size

if TYPE_CHECKING:
    from ..pipeline import Sa3dZimPipeline

NOTHING_YET = "nothing yet"


class ClickPanel(nn.Module):
    """Buttons to click on the object or on what is not, and to segment; found by the viewer as part of the pipeline.

    Clicks are kept in the pipeline's options, as `--pipeline.reference-view`, `--pipeline.points` and
    `--pipeline.neg-points`, in pixels of the training camera that the first click was seen by best.
    """

    def __init__(self, pipeline: "Sa3dZimPipeline") -> None:
        super().__init__()
        # Behind a function: a module that held its owner as an attribute would be walked without end.
        self._pipeline = lambda: pipeline
        self._busy = threading.Lock()
        self.control = ViewerControl()
        self.on_object = ViewerButton("Click on the object", cb_hook=lambda _: self.listen("points"))
        self.on_rest = ViewerButton("Click on the background", cb_hook=lambda _: self.listen("neg_points"))
        self.forget = ViewerButton("Forget the clicks", cb_hook=lambda _: self.clear())
        self.segment = ViewerButton("Segment", cb_hook=lambda _: self.start())
        self.prompt = ViewerText("Prompt", NOTHING_YET, disabled=True)

    def listen(self, option: str) -> None:
        """Take the next click in the scene as a prompt; the camera cannot be dragged until then (viser issue 195)."""

        def take(click: ViewerClick) -> None:
            self.control.unregister_pointer_cb()
            self.take(click, option)

        self.control.register_pointer_cb("click", take)

    def take(self, click: ViewerClick, option: str) -> None:
        """Add a click to the options."""
        pipeline = self._pipeline()
        options: Any = pipeline.config
        cameras = pipeline.datamanager.train_dataset.cameras
        point = surface_point(pipeline, click)
        names = [path.name for path in pipeline.datamanager.train_dataset.image_filenames]
        clicked_before = options.points or options.neg_points
        index = names.index(options.reference_view) if clicked_before else best_camera(cameras, point, click)
        if index is None:
            self.show("no training image shows the place that was clicked on")
            return
        pixel = project(cameras[index : index + 1], point)
        if pixel is None:
            self.show(f"{names[index]} does not see that place; forget the clicks to change the view")
            return
        options.reference_view = names[index]
        before = getattr(options, option)
        setattr(options, option, ";".join([*([before] if before else []), f"{pixel[0]:.1f},{pixel[1]:.1f}"]))
        self.show(self.options_text())

    def clear(self) -> None:
        """Forget all clicks."""
        options: Any = self._pipeline().config
        options.points = options.neg_points = options.reference_view = None
        self.show(NOTHING_YET)

    def start(self) -> None:
        """Segment what was clicked on, in a thread of its own, and show it."""
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Segment what was clicked on; one at a time."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            report = self._pipeline().segment_again(progress=self.show)
            self.show(f"{report['accepted']} of {report['views']} views agree; to keep it: {self.options_text()}")
        except (ZimError, ValueError) as problem:
            self.show(str(problem))
        finally:
            self._busy.release()

    def options_text(self) -> str:
        """The clicks as options of `ns-train sa3d-zim`."""
        options: Any = self._pipeline().config
        text = f"--pipeline.reference-view {options.reference_view}"
        for option in ("points", "neg_points"):
            if getattr(options, option):
                text += f' --pipeline.{option.replace("_", "-")} "{getattr(options, option)}"'
        return text

    def show(self, text: str) -> None:
        """Write to the panel, or to the terminal where there is no viewer."""
        CONSOLE.log(text)
        if self.prompt.gui_handle is not None:
            self.prompt.value = text


@torch.no_grad()
def surface_point(pipeline: "Sa3dZimPipeline", click: ViewerClick) -> Tensor:
    """The place in the world (3,) where a click's ray ends, at the field's expected depth."""
    device = pipeline.model.device
    origin = torch.tensor([click.origin], dtype=torch.float32, device=device)
    direction = nn.functional.normalize(torch.tensor([click.direction], dtype=torch.float32, device=device), dim=-1)
    ones = torch.ones(1, 1, device=device)
    rays = RayBundle(origins=origin, directions=direction, pixel_area=ones * 1e-6, camera_indices=ones.long() * 0)
    depth = pipeline.model(rays)["depth"]
    return (origin + depth * direction)[0].cpu()


def project(camera: Cameras, point: Tensor) -> tuple[float, float] | None:
    """Return where a pinhole camera sees a place of the world, x right and y down [px]; None outside its image."""
    c2w = camera.camera_to_worlds[0].cpu()
    local = c2w[:3, :3].T @ (point - c2w[:3, 3])
    if local[2] >= 0:
        return None
    x = float(camera.fx[0, 0] * local[0] / -local[2] + camera.cx[0, 0])
    y = float(-camera.fy[0, 0] * local[1] / -local[2] + camera.cy[0, 0])
    height, width = image_size(camera)
    return (x, y) if 0 <= x < width and 0 <= y < height else None


def best_camera(cameras: Cameras, point: Tensor, click: ViewerClick) -> int | None:
    """The training camera that sees a place from nearest to where the click came from; None if no camera sees it."""
    seeing = [index for index in range(len(cameras)) if project(cameras[index : index + 1], point) is not None]
    if not seeing:
        return None
    towards = nn.functional.normalize(torch.tensor(click.origin, dtype=torch.float32) - point, dim=0)
    places = cameras.camera_to_worlds[seeing, :3, 3].cpu() - point
    return seeing[int((nn.functional.normalize(places, dim=-1) @ towards).argmax())]
