"""Results of a finished run, beside the checkpoint that ns-eval, ns-render and ns-export read."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from tqdm import tqdm

from zim_plugins.core import ZimError, estimate_foreground, write_image
from zim_plugins.imaging import atomic_write, from_unit, unit_values, write_text
from zim_plugins.imaging.overlay import tint

from ..field.rendering import Kept, edited_image
from ..field.scene import boxed
from ..segmentation.contact_sheet import contact_sheet
from .mesh import object_mesh, write_mesh
from .placement import Placement
from .point_cloud import EmptyObject, ViewSurface, object_cloud, write_cloud
from .video import write_video

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

    from ..pipeline import Sa3dZimPipeline
    from ..segmentation.views import View

KEY_VIEWS = 6
"""Training cameras that the fly-through passes."""
FRAMES_PER_SECOND = 12
VIDEO_FRAMES = 24
"""Of a video on CUDA, where nothing else is asked for."""


class RunOutputs:
    """Writes the outputs of one run, each file whole; report.json is the last."""

    def __init__(self, pipeline: "Sa3dZimPipeline", folder: Path) -> None:
        self.pipeline, self.folder = pipeline, folder
        self.seconds: dict[str, float] = {}
        self.faults: dict[str, str] = {}

    def write(self) -> None:
        """Write all of them; one that fails is said and reported, and the others are written."""
        self._attempt("mattes", self.write_mattes)
        self._attempt("contact sheet", self.write_sheet)
        self._attempt("grid", self.write_grid)
        if self.pipeline.sa3d.is_empty():
            CONSOLE.log("the object is empty: no renders, point cloud or mesh are written; see report.json")
        else:
            self._attempt("renders", self.write_renders)
            self._attempt("videos", self.write_videos)
            self._attempt("geometry", self.write_geometry)
        self.write_report()

    def write_sheet(self) -> None:
        """contact_sheet.png: every view with its prompt and its mattes."""
        sheet = contact_sheet(self.pipeline.segmenter.sheet(self.pipeline.source))
        write_image(self.folder / "contact_sheet.png", sheet)

    def write_mattes(self) -> None:
        """alpha/ and overlay/ of every image, the held-out ones included; matte/ and rgba/ of the training views."""
        scene, segmenter = self.pipeline.scene, self.pipeline.segmenter
        trained = set(scene.source.names)
        for name in tqdm(scene.names, desc="mattes", unit="view", disable=None):
            view = self.view_of(name)
            alpha = segmenter.grid.render(view.samples)
            image = f"{Path(name).stem}.png"
            write_image(self.folder / "alpha" / image, alpha)
            write_image(self.folder / "overlay" / image, tint(view.image, alpha))
            if name in trained:
                matte = segmenter.matte_view(view)
                write_image(self.folder / "matte" / image, matte)
                write_image(self.folder / "rgba" / image, cut_out(view.image, matte))

    def view_of(self, name: str) -> "View":
        """An image of the capture, with its samples in the grid's cube."""
        view = self.pipeline.scene.view_of(name)
        return replace(view, samples=boxed(view.samples, self.pipeline.sa3d.grid.domain))

    def write_grid(self) -> None:
        """mask_grid.npz: the two sums of every vertex, and the part of contracted space that they lie in."""
        grid = self.pipeline.sa3d.grid

        with atomic_write(self.folder / "mask_grid.npz") as stream:
            np.savez_compressed(
                stream,
                estimator=np.array(repr(grid.estimator)),
                sums=grid.sums.cpu().numpy(),
                lower=np.array(grid.domain.lower),
                upper=np.array(grid.domain.upper),
            )

    def write_renders(self) -> None:
        """object_only.png and removed.png of the reference view."""
        pipeline = self.pipeline
        nerf, grid = pipeline.sa3d.nerf, pipeline.sa3d.grid
        reference = pipeline.scene.views["train"].camera(pipeline.segmenter.order[0])
        image, opacity = edited_image(nerf, grid, reference, "object")
        write_image(self.folder / "object_only.png", np.dstack([image, from_unit(opacity, halves_up=True)]))
        write_image(self.folder / "removed.png", edited_image(nerf, grid, reference, "rest")[0])

    def write_videos(self) -> None:
        """object_only and removed as fly-through videos; left out on a CPU unless frames are asked for."""
        pipeline = self.pipeline
        nerf, grid = pipeline.sa3d.nerf, pipeline.sa3d.grid
        frames = pipeline.config.video_frames
        if frames is None:
            frames = VIDEO_FRAMES if nerf.device.type == "cuda" else 0
        if frames < 2:
            return
        cameras = flight(pipeline.scene.views["train"].dataset.cameras, frames)
        videos: tuple[tuple[str, Kept], ...] = (("object_only", "object"), ("removed", "rest"))
        for name, keep in videos:
            bar = tqdm(range(len(cameras)), desc=name, unit="frame", disable=None)
            images = (on_white(*edited_image(nerf, grid, cameras[i : i + 1], keep)) for i in bar)
            write_video(self.folder / name, images, fps=FRAMES_PER_SECOND)

    def write_geometry(self) -> None:
        """object_pointcloud.ply and object_mesh.ply, in the coordinates of the capture, or of training if asked for."""
        pipeline = self.pipeline
        placement = pipeline.placement if pipeline.config.export_in == "capture" else Placement.none()
        grid, nerf = pipeline.sa3d.grid, pipeline.sa3d.nerf

        def density(places: Tensor) -> Tensor:
            return nerf.field.density_fn(places[:, None])[:, 0, 0]

        try:
            cloud = object_cloud(self.surfaces())
            placed = replace(
                cloud, points=placement.to_capture(cloud.points), normals=placement.turned_to_capture(cloud.normals)
            )
            write_cloud(self.folder / "object_pointcloud.ply", placed)
            mesh = object_mesh(grid, density, cloud=cloud)
            placed_mesh = replace(mesh, vertices=placement.to_capture(mesh.vertices))
            write_mesh(self.folder / "object_mesh.ply", placed_mesh)
        except EmptyObject as empty:
            self.faults["geometry"] = str(empty)
            CONSOLE.log(f"point cloud or mesh left out: {empty}")

    def surfaces(self) -> Iterator[ViewSurface]:
        """Return the object's surface as each training view sees it."""
        pipeline = self.pipeline
        for index in range(len(pipeline.source.names)):
            view = pipeline.source.view(index)
            origin = pipeline.scene.views["train"].camera(index).camera_to_worlds[0, :3, 3]
            yield ViewSurface(
                ends=pipeline.sa3d.grid.object_ends(view.samples).cpu().numpy(),
                origin=origin.cpu().numpy(),
                alpha=pipeline.sa3d.grid.render(view.samples).ravel(),
                colours=view.image.reshape(-1, 3),
            )

    def write_report(self) -> None:
        """report.json: the NeRF, the options, every visit, and seconds by stage."""
        pipeline = self.pipeline
        report = pipeline.segmenter.report()
        report["seconds"] |= {"rendering": pipeline.rendering_s, **{f"output {k}": v for k, v in self.seconds.items()}}
        report["nerf"] = {"config": str(pipeline.config.nerf_config), "weights": pipeline.scene.key}
        report["matter"] = pipeline.config.matter
        report["psnr_db"] = pipeline.psnr
        report["outputs_left_out"] = self.faults
        report["geometry_in"] = pipeline.config.export_in
        report["grid"] = {"resolution": pipeline.sa3d.grid.resolution, "domain": vars(pipeline.sa3d.grid.domain)}
        text = json.dumps(report, indent=1, default=str)
        write_text(self.folder / "report.json", text)

    def _attempt(self, stage: str, write: Callable[[], None]) -> None:
        """Write one kind of output; a fault costs that one alone."""
        try:
            with self._timed(stage):
                write()
        except (ZimError, OSError, ValueError, RuntimeError, MemoryError) as fault:
            self.faults[stage] = " ".join(str(fault).split()) or type(fault).__name__
            CONSOLE.log(f"{stage} left out: {self.faults[stage]}")

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start_s = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start_s


def flight(cameras: "Cameras", frames: int) -> "Cameras":
    """A path of that many frames, at most, past training cameras from all over the capture."""
    from nerfstudio.cameras.camera_paths import get_interpolated_camera_path

    count = min(KEY_VIEWS, len(cameras), frames)
    keys = cameras[torch.linspace(0, len(cameras) - 1, count).round().long()]
    path = get_interpolated_camera_path(keys.to("cpu"), max(frames // max(count - 1, 1), 1), order_poses=True)
    path.height, path.width = (size[:1].expand(len(path), 1).clone() for size in (keys.height, keys.width))
    return path


def on_white(colours: UInt8[np.ndarray, "h w 3"], opacity: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """An image that was rendered without its surroundings, on white."""
    share = opacity[..., None]
    return np.round(colours * share + 255 * (1 - share)).astype(np.uint8)


def cut_out(image: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 4"]:
    """RGBA in [0, 1] with straight alpha and the object's own colours at its soft edges."""
    colours = estimate_foreground(unit_values(image), alpha).foreground
    return np.dstack([colours.clip(0, 1), alpha]).astype(np.float32)
