"""Splat files: read in one of four formats, written again in the same with some of the Gaussians or other opacities.

What is kept of a file is kept bit by bit, unknown properties too; compressed .ply alone is packed anew, since its
Gaussians share bounds by 256.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32

from zim_plugins.core import ZimError

from .model import Gaussians

logger = logging.getLogger(__name__)


class SplatError(ZimError, ValueError):
    """A splat file cannot be read; the message names it and the reason."""


@runtime_checkable
class SplatFile(Protocol):
    """The content of one splat file."""

    @property
    def format(self) -> str:
        """Return what the file is, in words."""
        ...

    def gaussians(self) -> Gaussians:
        """Return the Gaussians in file order, on the CPU."""
        ...

    def select(self, kept: Bool[np.ndarray, " n"]) -> "SplatFile":
        """Return a file of the Gaussians where `kept` is true, in the same order."""
        ...

    def with_membership(self, membership: Float32[np.ndarray, " n"]) -> "SplatFile":
        """Return a file whose opacities are multiplied by the membership in [0, 1], stored with it where it can be."""
        ...

    def encode(self) -> bytes:
        """Return the content of the file."""
        ...


def read_scene(path: Path) -> SplatFile:
    """Read a scene of Gaussians: Inria's .ply, SuperSplat's compressed .ply, .splat or .spz, by its content.

    A run of nerfstudio's splatfacto, by its config.yml or folder, is a scene, too; it becomes a .ply.

    >>> import tempfile
    >>> from nerf_seg.field.gaussians.formats.dot_splat import RECORD
    >>> one = np.array([((0, 0, 1), (0.1, 0.1, 0.1), (255, 0, 0, 255), (255, 128, 128, 128))], RECORD)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "scene.splat")
    ...     _ = path.write_bytes(one.tobytes())
    ...     scene = read_scene(path)
    >>> len(scene.gaussians()), scene.gaussians().means.tolist()
    (1, [[0.0, 0.0, 1.0]])

    Raises:
        SplatError: the file is missing, empty, cut short, or of another kind.
    """
    from .formats import compressed_ply, dot_splat, ply, splatfacto, spz

    try:
        checkpoint = splatfacto.find_checkpoint(path)
    except ValueError as error:
        raise SplatError(str(error)) from error
    if checkpoint is not None:
        return _checked(checkpoint, lambda: splatfacto.read_checkpoint(checkpoint))
    if path.is_dir():
        raise SplatError(
            f"{path} is a folder, and no run of splatfacto: give a scene of Gaussians (.ply, .splat or .spz)"
        )
    if not path.is_file():
        raise SplatError(f"there is no file {path}: give a scene of Gaussians (.ply, .splat or .spz)")
    content = path.read_bytes()
    readers: list[Callable[[bytes], SplatFile]] = []
    if content[:3] == b"ply":
        readers = [compressed_ply.parse if b"packed_position" in content[:4096] else ply.parse]
    elif content[:2] == b"\x1f\x8b":
        readers = [spz.parse]
    elif path.suffix.lower() == ".splat":
        readers = [dot_splat.parse]
    if content[:4] == spz.MAGIC:
        raise SplatError(f"{path} is a .spz of version 4 or later; 2 and 3 are read: write it again as one of these")
    if not readers:
        raise SplatError(f"{path} is no scene of Gaussians that is known here: .ply, compressed .ply, .splat or .spz")
    return _checked(path, lambda: readers[0](content))


def _checked(path: Path, read: Callable[[], SplatFile]) -> SplatFile:
    try:
        scene = read()
        gaussians = scene.gaussians()
    except (ValueError, KeyError, EOFError, OSError, IndexError) as error:
        raise SplatError(f"{path} cannot be read: {error}") from error
    if len(gaussians) == 0:
        raise SplatError(f"{path} holds no Gaussians")
    if not bool(sound_ones(gaussians).any()):
        raise SplatError(f"{path} is damaged: none of its {len(gaussians)} Gaussians has possible numbers")
    return scene


def sound_ones(gaussians: Gaussians) -> Bool[np.ndarray, " n"]:
    """Return which Gaussians can be drawn: all numbers finite, and no scale below 0."""
    parts = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, gaussians.harmonics)
    finite = [part.isfinite().reshape(len(gaussians), -1).all(1) for part in parts]
    return (torch.stack(finite).all(0) & (gaussians.scales >= 0).all(1)).cpu().numpy()


def drawable(gaussians: Gaussians, path: Path) -> tuple[Gaussians, Bool[np.ndarray, " n"]]:
    """Return Gaussians of which those with impossible numbers are invisible, and which ones are not.

    Training leaves a few such Gaussians now and then; they cost no more than themselves.

    Args:
        path: of the file, for the warning.
    """
    sound = sound_ones(gaussians)
    if sound.all():
        return gaussians, sound
    logger.warning("%s: %d Gaussians have impossible numbers and are not drawn", path, int((~sound).sum()))
    kept = torch.from_numpy(sound)

    def mended(part: torch.Tensor, value: float) -> torch.Tensor:
        return torch.where(kept.reshape(-1, *[1] * (part.ndim - 1)), part, value)

    middle = gaussians.means[kept].median(dim=0).values
    return Gaussians(
        means=torch.where(kept[:, None], gaussians.means, middle),
        scales=mended(gaussians.scales, 1e-6),
        rotations=mended(gaussians.rotations, 0.5),
        opacities=mended(gaussians.opacities, 0.0),
        harmonics=mended(gaussians.harmonics, 0.0),
    ), sound
