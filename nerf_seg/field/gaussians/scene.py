"""SplatScene: a scene of Gaussians opened with its capture for evaluation, cameras without photographs included."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from zim_plugins.core import ZimError
from zim_plugins.imaging import from_unit

from ...segmentation.estimators import Estimator
from ...segmentation.object_field import ObjectInScene
from ...segmentation.views import View, ViewSource
from .camera import Camera
from .camera_files import CAMERA_FILES, read_placed_cameras
from .colmap import find_model
from .files import drawable, read_scene
from .membership import GaussianMembership
from .opening import Renderer, look_first, open_views, read_photographs
from .views import SUFFIXES, SplatViews, match_photographs

MEMORY_BYTES = int(4e9)
"""Blending weights that are kept for all objects and seeds of a scene."""
TRANSFORM_FILE = "dataparser_transforms.json"


@dataclass(frozen=True)
class SplatPlace:
    """Files of a scene of Gaussians and of the capture that it was trained on."""

    scene: Path
    cameras: Path
    """A camera file, or the folder of a COLMAP model."""
    images: Path
    transform: Path | None = None
    """nerfstudio's dataparser_transforms.json, where the scene lies in the coordinates of training."""

    def files(self) -> list[Path]:
        """Return the files that the scene and its cameras are read from."""
        model = find_model(self.cameras) if self.cameras.is_dir() else None
        cameras = [self.cameras] if model is None else sorted(model.glob("*.bin")) or sorted(model.glob("*.txt"))
        return [self.scene, *cameras, *([] if self.transform is None else [self.transform])]


class ViewsOf:
    """Some of the views of a source."""

    def __init__(self, source: ViewSource, names: Sequence[str]) -> None:
        self.source, self._names = source, list(names)

    @property
    def names(self) -> Sequence[str]:
        """Names of the views that are left, in capture order."""
        return self._names

    def view(self, index: int) -> View:
        """The view of that place among those that are left."""
        return self.source.view(list(self.source.names).index(self._names[index]))


class SplatScene:
    """Gaussians with the views of their capture.

    Args:
        views: those with a photograph.
        blind: cameras without one.
        hidden: names of views that are not among the training views although their photograph is there.
        side_px: longer side of blind views.
    """

    kind = "3DGS"

    def __init__(
        self, views: SplatViews, blind: Sequence[Camera] = (), hidden: Sequence[str] = (), side_px: int = 480
    ) -> None:
        self.views, self.blind, self.hidden, self.side_px = views, list(blind), set(hidden), side_px
        self.psnr: dict[str, float] = {}
        self.trains_on = False
        """Whether the capture tells which views the scene was trained on; the others are hidden then."""

    @property
    def source(self) -> ViewSource:
        """The views that the segmentation sees."""
        return ViewsOf(self.views, [name for name in self.views.names if name not in self.hidden])

    @property
    def names(self) -> list[str]:
        """Names of all views, those without a photograph last."""
        return [*self.views.names, *(Path(camera.name).name for camera in self.blind)]

    def hiding(self, names: Sequence[str]) -> "SplatScene":
        """Return the same scene whose segmentation does not see some views; blending weights are shared."""
        other = SplatScene(self.views, self.blind, [*self.hidden, *names], self.side_px)
        other.psnr, other.trains_on = self.psnr, self.trains_on
        return other

    def view_of(self, name: str) -> View:
        """Any view; where there is no photograph, or it is hidden, the image is the scene's own rendering.

        Raises:
            ValueError: there is no view of that name.
        """
        if name not in self.names:
            raise ValueError(f"there is no view {name!r} in the capture, which has {', '.join(self.names)}")
        if name in self.views.names:
            index = list(self.views.names).index(name)
            view = self.views.view(index)
            if name not in self.hidden:
                return view
            return View(name, self._drawn(self.views.photographs[index].camera, view.samples), view.samples)
        camera = next(camera for camera in self.blind if Path(camera.name).name == name)
        share = min(self.side_px / max(camera.size), 1.0)
        camera = camera.resized((max(round(camera.size[0] * share), 1), max(round(camera.size[1] * share), 1)))
        samples = self.views.render(self.views.gaussians, camera)
        return View(name, self._drawn(camera, samples), samples)

    def new_object(self, estimator: Estimator, view: View, alpha: Float32[np.ndarray, "h w"]) -> ObjectInScene:
        """An empty membership of one object; where it is does not matter to Gaussians."""
        return ObjectInScene(GaussianMembership(len(self.views.gaussians), estimator), self.source, lambda view: view)

    def _drawn(self, camera: Camera, samples) -> np.ndarray:
        place = torch.from_numpy(camera.place).to(self.views.gaussians.means)
        drawn = samples.blend(self.views.gaussians.colours(place).cpu().numpy())
        return from_unit(drawn)


def files_below(folder: Path) -> Iterator[Path]:
    """All files at any depth, behind links to folders too, each folder once."""
    seen: set[str] = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner.sort()
        yield from (Path(place, name) for name in sorted(names))


def find_splat(folder: Path, capture: Path | None) -> SplatPlace | None:
    """Return the scene of Gaussians in a folder, with cameras and photographs there or in the capture.

    Of several scenes the one of the highest iteration (`iteration_30000/`), then the newest is taken. Points that are
    no Gaussians, as of COLMAP, do not count.

    Args:
        folder: with SCENE.ply, .splat or .spz at any depth.
        capture: folder of the capture, for cameras or photographs that are not in `folder`.

    Returns:
        None where there is no scene.

    Raises:
        ZimError: there is one, without cameras or without photographs.
    """
    scenes = [path for path in files_below(folder) if path.is_file() and _holds_gaussians(path)]
    if not scenes:
        return None
    scene = max(scenes, key=lambda path: (_iteration(path), path.stat().st_mtime, str(path)))
    places = [place for place in (folder, capture) if place is not None]
    cameras = next((found for place in places if (found := _cameras_in(place)) is not None), None)
    if cameras is None:
        raise ZimError(
            f"{scene} has no cameras: put transforms.json, cameras.json or a COLMAP model (sparse/0) of its capture "
            f"into {' or '.join(map(str, places))}"
        )
    images = next((found for place in places if (found := _images_in(place)) is not None), None)
    if images is None:
        raise ZimError(
            f"{scene} has no photographs: put them into {' or '.join(f'{place}/images' for place in places)}"
        )
    beside = [place / TRANSFORM_FILE for place in dict.fromkeys((scene.parent, folder))]
    return SplatPlace(scene, cameras, images, next((path for path in beside if path.is_file()), None))


def open_splat(place: SplatPlace, side_px: int = 480, renderer: Renderer = "auto") -> SplatScene:
    """Open a scene of Gaussians with its capture.

    Args:
        side_px: longer side that photographs are worked at.
        renderer: as `open_views` takes it.

    Raises:
        ZimError, ValueError: a file cannot be read, or scene and photographs do not belong together.
    """
    gaussians, _ = drawable(read_scene(place.scene).gaussians(), place.scene)
    cameras = read_placed_cameras(place.cameras, place.transform)
    found, missing = match_photographs(cameras, place.images)
    photographs, left_out = read_photographs(found, place.images, side_px)
    blind = [camera for camera in cameras if camera.name in {*missing, *left_out}]
    if len(photographs) < 2:
        raise ZimError(f"{place.images} holds {len(photographs)} usable photographs of {len(cameras)} cameras")
    views = open_views(gaussians, photographs, MEMORY_BYTES, renderer)
    scene = SplatScene(views, blind, side_px=side_px)
    remedy = f"A scene of `ns-export gaussian-splat` needs the run's {TRANSFORM_FILE} beside it"
    scene.psnr = look_first(views, range(len(photographs)), any_quality=False, remedy=remedy)
    trained = trained_on(place.cameras)
    if trained is not None:
        scene.trains_on = True
        scene.hidden = {name for name in views.names if Path(name).name not in trained}
    return scene


def trained_on(cameras: Path) -> set[str] | None:
    """Return the file names that a transforms.json lists as `train_filenames`; None where nothing tells."""
    path = cameras / "transforms.json" if cameras.is_dir() and find_model(cameras) is None else cameras
    if path.suffix != ".json":
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = content.get("train_filenames") if isinstance(content, dict) else None
        return None if not names else {Path(str(name)).name for name in names}
    except (OSError, ValueError, TypeError):
        return None


def _holds_gaussians(path: Path) -> bool:
    """Return whether a file looks like a scene of Gaussians by its suffix, of a .ply by its header.

    What `zim-splat` wrote is a part of a scene, and does not count.
    """
    if path.name.partition(".")[0] in ("object", "rest", "membership") and (path.parent / "membership.npy").exists():
        return False
    if path.suffix.lower() in (".splat", ".spz"):
        return True
    if path.suffix.lower() != ".ply":
        return False
    with path.open("rb") as stream:
        header = stream.read(8192)
    return b"f_dc_0" in header or b"packed_position" in header


def _iteration(path: Path) -> int:
    numbers = [part.removeprefix("iteration_") for part in path.parts if part.startswith("iteration_")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def _cameras_in(folder: Path) -> Path | None:
    if find_model(folder) is not None:
        return folder
    return next((folder / name for name in CAMERA_FILES if (folder / name).is_file()), None)


def _images_in(folder: Path) -> Path | None:
    """The folder `images`, else the first `images_*` that holds some."""
    candidates = [folder / "images", *sorted(folder.glob("images_*"))]
    return next((c for c in candidates if c.is_dir() and any(p.suffix.lower() in SUFFIXES for p in c.rglob("*"))), None)
