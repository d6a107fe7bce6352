"""Views of a frozen radiance field: what a camera sees, as the few samples that matter of each ray.

Once the field is frozen, sample positions and rendering weights of a view never change. They are computed once, kept on
disk, and every object segmented in the scene uses them again.
"""

import hashlib
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from zim_plugins.imaging import atomic_write

logger = logging.getLogger(__name__)

_STEPS = 65535
"""Positions and weights are kept on disk as 16-bit steps of [0, 1]."""


@dataclass(frozen=True, eq=False)
class ViewSamples:
    """The k heaviest samples of each ray of a view, r = H * W rays, row-major; constant once the field is frozen.

    >>> ones = torch.ones(6, 1)
    >>> ViewSamples(torch.rand(6, 1, 3), ones, ones[:, 0], ones[:, 0], (2, 3)).to("cpu").size
    (2, 3)
    """

    positions: Float[Tensor, "r k 3"]
    """In the scene's unit cube [0, 1]^3, see `Domain`."""
    weights: Float[Tensor, "r k"]
    """Rendering weights w_i = T_i alpha_i in [0, 1], in the order of `positions`; 0 for padding."""
    accumulation: Float[Tensor, " r"]
    """Sum of all weights of the ray, in [0, 1]; at least the sum of the k kept ones."""
    depth: Float[Tensor, " r"]
    """Expected distance along the ray, in the field's unit of length."""
    size: tuple[int, int]
    """(H, W) [px]."""

    def __post_init__(self) -> None:
        rays = self.size[0] * self.size[1]
        if len(self.positions) != rays or len(self.depth) != rays:
            raise ValueError(f"{len(self.positions)} rays do not fill an image of {self.size} (height, width)")

    def to(self, device: torch.device | str) -> "ViewSamples":
        """The same samples on another device."""
        moved = (tensor.to(device) for tensor in (self.positions, self.weights, self.accumulation, self.depth))
        return ViewSamples(*moved, size=self.size)


@dataclass(frozen=True, eq=False)
class View:
    """One image of the capture.

    >>> ones = torch.ones(6, 1)
    >>> samples = ViewSamples(torch.rand(6, 1, 3), ones, ones[:, 0], ones[:, 0], (2, 3))
    >>> View("IMG_1.JPG", np.zeros((2, 3, 3), np.uint8), samples).name
    'IMG_1.JPG'
    """

    name: str
    """File name of the image."""
    image: UInt8[np.ndarray, "h w 3"]
    """What the 2D model sees, sRGB: the photograph, or the field's own rendering."""
    samples: Any
    """Along which the field is accumulated and rendered: `ViewSamples` of a grid, `SplatSamples` of Gaussians."""

    def __post_init__(self) -> None:
        if self.image.shape[:2] != self.samples.size:
            raise ValueError(f"{self.name} is {self.image.shape[:2]}, its rays are {self.samples.size} (height, width)")


@runtime_checkable
class ViewSource(Protocol):
    """The views of a scene, by their place in the capture."""

    @property
    def names(self) -> Sequence[str]:
        """File names, in capture order."""
        ...

    def view(self, index: int) -> View:
        """The view of that place."""
        ...


class ViewCache:
    """A `ViewSource` that renders each view once and reads it from disk from then on.

    Args:
        source: renders the views.
        folder: holds one sub-folder per key.
        key: names all that the samples depend on: the field's checkpoint, k, size of the images.
        keep: views that are kept; those after them are rendered at each visit. All by default.
    """

    def __init__(self, source: ViewSource, folder: Path, key: str, keep: int | None = None) -> None:
        self.source, self.keep = source, keep
        self.folder = Path(folder) / hashlib.sha256(key.encode()).hexdigest()[:16]

    @property
    def names(self) -> Sequence[str]:
        """File names, in capture order."""
        return self.source.names

    def view(self, index: int) -> View:
        """The view of that place; a damaged file is rendered anew."""
        name = self.names[index]
        path = self.folder / f"{index:05d}.npz"
        if path.exists():
            try:
                return _read_view(path, name)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                logger.warning("%s is not usable (%s): rendered anew", path, error)
        if self.keep is not None and index >= self.keep:
            return self.source.view(index)
        _write_view(path, self.source.view(index))
        return _read_view(path, name)  # the same values as from then on


def _write_view(path: Path, view: View) -> None:
    samples = view.samples.to("cpu")

    with atomic_write(path) as stream:
        np.savez(
            stream,
            name=np.array(view.name),
            image=view.image,
            positions=_to_steps(samples.positions),
            weights=_to_steps(samples.weights),
            accumulation=samples.accumulation.numpy(),
            depth=samples.depth.numpy(),
        )


def _read_view(path: Path, name: str) -> View:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        if str(stored["name"]) != name:
            raise ValueError(f"it holds {stored['name']}, not {name}")
        image = stored["image"]
        samples = ViewSamples(
            positions=_from_steps(stored["positions"]),
            weights=_from_steps(stored["weights"]),
            accumulation=torch.from_numpy(stored["accumulation"]),
            depth=torch.from_numpy(stored["depth"]),
            size=(image.shape[0], image.shape[1]),
        )
        return View(name=name, image=image, samples=samples)


def _to_steps(values: Tensor) -> np.ndarray:
    return (values.clamp(0, 1) * _STEPS).round().to(torch.int32).numpy().astype(np.uint16)


def _from_steps(steps: np.ndarray) -> Tensor:
    return torch.from_numpy(steps.astype(np.float32)).div_(_STEPS)
