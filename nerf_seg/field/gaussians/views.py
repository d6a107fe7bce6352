"""Views of a scene of Gaussians: photographs with their blending weights, kept in memory up to a limit."""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import torch
from jaxtyping import UInt8

from zim_plugins.core import ImageError, read_image
from zim_plugins.imaging import unit_values

from ...segmentation.views import View
from .camera import Camera
from .camera_files import CameraFileError
from .model import Gaussians
from .rendering import view_weights
from .samples import PixelWeights

logger = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
MAX_STRETCH = 0.02
"""Photographs whose proportions differ by more from the camera's are of another camera, or turned."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph of the capture at the size that is worked at, with its camera at that size."""

    name: str
    """Path below the folder of images."""
    image: UInt8[np.ndarray, "h w 3"]
    camera: Camera
    original: tuple[int, int]
    """(H, W) of the file [px]."""


def match_photographs(cameras: Sequence[Camera], folder: Path) -> tuple[list[tuple[Camera, Path]], dict[str, str]]:
    """Find each camera's photograph: by its path below the folder, else by its file name, else by its stem.

    Returns:
        Cameras with their files, in the cameras' order, and by name why other cameras have no photograph.

    Raises:
        CameraFileError: the folder is missing, or no camera has a photograph in it.
    """
    if not folder.is_dir():
        raise CameraFileError(f"there is no folder {folder}: --images names the folder of the photographs")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    by_name: dict[str, list[Path]] = {}
    for path in files:
        for key in {path.name, path.stem}:
            by_name.setdefault(key, []).append(path)
    found: list[tuple[Camera, Path]] = []
    missing: dict[str, str] = {}
    for camera in cameras:
        # A name may be absolute or go through folders above (`../images/a.png`): it counts where it ends in this one.
        below = os.path.relpath(folder.absolute() / camera.name, folder.absolute())
        direct = [] if below.startswith("..") else [folder / f"{below}{suffix}" for suffix in ("", *SUFFIXES)]
        exact = [path for path in direct if path.is_file()]
        # A camera file may lie above the folder of images and name it.
        name = Path(camera.name).name
        candidates = exact or by_name.get(name) or by_name.get(Path(name).stem) or []
        if exact or len(candidates) == 1:
            found.append((camera, candidates[0]))
        else:
            several = ", ".join(str(path.relative_to(folder)) for path in candidates[:3])
            missing[camera.name] = (
                f"its photograph below {folder} could be any of {several}"
                if candidates
                else f"no photograph of that name below {folder}"
            )
    if not found:
        raise CameraFileError(
            f"{folder} holds none of the photographs of the {len(cameras)} cameras, for example {cameras[0].name}: "
            f"{missing[cameras[0].name]}"
        )
    taken = [path for _, path in found]
    if len(set(taken)) < len(taken):
        twice = next(path for path in taken if taken.count(path) > 1)
        names = [camera.name for camera, path in found if path == twice]
        if len(set(names)) == 1:
            raise CameraFileError(f"the camera file lists {names[0]} {len(names)} times: leave one of them")
        raise CameraFileError(
            f"several cameras name {twice} ({', '.join(names[:3])}): give the folder whose photographs they mean"
        )
    return found, missing


def _fits(size: tuple[int, ...], camera: tuple[int, int]) -> bool:
    """Return whether an image of that size (H, W) has a camera's proportions."""
    return abs((size[1] / size[0]) / (camera[1] / camera[0]) - 1) <= MAX_STRETCH


def _as_stored(path: Path) -> UInt8[np.ndarray, "h w 3"] | None:
    """The image without the turn that its EXIF asks for, as COLMAP and nerfstudio read it; None where none is asked."""
    with PIL.Image.open(path) as image:
        turned = image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1
        return np.asarray(image.convert("RGB")) if turned else None


def read_photograph(camera: Camera, path: Path, folder: Path, side_px: int) -> Photograph:
    """Read a photograph and reduce it so that its longer side has at most `side_px` pixels.

    A photograph that fits only without the turn of its EXIF is taken so: a prompt in it counts in the image as stored.

    Raises:
        ImageError: it cannot be read, or it is not this camera's.
    """
    image = read_image(path).rgb
    if not _fits(image.shape[:2], camera.size):
        stored = _as_stored(path)
        if stored is None or not _fits(stored.shape[:2], camera.size):
            raise ImageError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, its camera {camera.size[1]}x{camera.size[0]}: other "
                "proportions, or turned"
            )
        logger.warning("%s is taken as it is stored, for so its camera sees it: its EXIF says that it lies", path)
        image = stored
    height, width = image.shape[:2]
    share = min(side_px / max(height, width), 1.0)
    size = (max(round(height * share), 1), max(round(width * share), 1))
    if size != (height, width):
        image = np.asarray(PIL.Image.fromarray(image).resize((size[1], size[0]), PIL.Image.Resampling.BOX))
    name = path.relative_to(folder).as_posix()
    return Photograph(name, np.ascontiguousarray(image), camera.resized(size), (height, width))


class SplatViews:
    """A `ViewSource` over Gaussians; the next view is made while the one before it is matted.

    Args:
        gaussians: of the scene, where `render` wants them.
        memory_limit: bytes of blending weights that are kept; views beyond it are made anew at each visit.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        photographs: Sequence[Photograph],
        memory_limit: int,
        render: Callable[[Gaussians, Camera], PixelWeights] = view_weights,
    ) -> None:
        self.render = render
        self.gaussians, self.photographs, self.memory_limit = gaussians, list(photographs), memory_limit
        self.order: list[int] = []
        self._kept: OrderedDict[int, PixelWeights] = OrderedDict()
        self._bytes = 0
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._coming: tuple[int, Future[PixelWeights]] | None = None

    @property
    def names(self) -> Sequence[str]:
        """Paths below the folder of images, in capture order."""
        return [photograph.name for photograph in self.photographs]

    def view(self, index: int) -> View:
        """The view of that place."""
        samples = self._samples(index)
        self._expect(index)
        photograph = self.photographs[index]
        return View(photograph.name, photograph.image, samples)

    def psnr(self, index: int) -> float:
        """Return how well the scene, drawn over black or white, whichever is nearer, matches a photograph [dB]."""
        photograph, samples = self.photographs[index], self._samples(index)
        place = torch.from_numpy(photograph.camera.place).to(self.gaussians.means)
        drawn = samples.blend(self.gaussians.colours(place).cpu().numpy())
        ground = 1 - samples.accumulation.numpy().reshape(*samples.size, 1)
        truth = unit_values(photograph.image)
        errors = [np.square(np.clip(drawn + shade * ground, 0, 1) - truth).mean() for shade in (0.0, 1.0)]
        return float(-10 * np.log10(max(min(errors), 1e-10)))

    def close(self) -> None:
        """Stop making views ahead."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _samples(self, index: int) -> PixelWeights:
        if index in self._kept:
            return self._kept[index]
        if self._coming is not None and self._coming[0] == index:
            samples = self._coming[1].result()
            self._coming = None
        else:
            samples = self.render(self.gaussians, self.photographs[index].camera)
        # The first views stay: with passes over all of them in one order, the latest would be dropped just before use.
        if self._bytes + samples.memory <= self.memory_limit:
            self._kept[index] = samples
            self._bytes += samples.memory
        return samples

    def _expect(self, index: int) -> None:
        """Begin the view that follows in `order`, if it is not at hand."""
        if index not in self.order or self._coming is not None:
            return
        following = self.order[(self.order.index(index) + 1) % len(self.order)]
        if following not in self._kept:
            camera = self.photographs[following].camera
            self._coming = (following, self._pool.submit(self.render, self.gaussians, camera))
