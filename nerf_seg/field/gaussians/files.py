"""Splat files: read in one of four formats, written again in the same with some of the Gaussians or other opacities.

What is kept of a file is kept bit by bit, unknown properties too; compressed .ply alone is packed anew, since its
Gaussians share bounds by 256.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.core import ZimError

from .model import Gaussians


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

    Raises:
        SplatError: the file is missing, empty, cut short, or of another kind.
    """
    from . import compressed_ply, dot_splat, ply, spz

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
    if not readers:
        raise SplatError(f"{path} is no scene of Gaussians that is known here: .ply, compressed .ply, .splat or .spz")
    try:
        scene = readers[0](content)
        gaussians = scene.gaussians()
    except (ValueError, KeyError, EOFError, OSError, IndexError) as error:
        raise SplatError(f"{path} cannot be read: {error}") from error
    if len(gaussians) == 0:
        raise SplatError(f"{path} holds no Gaussians")
    if not bool(gaussians.means.isfinite().all()):
        raise SplatError(
            f"{path} is damaged: {int((~gaussians.means.isfinite()).any(1).sum())} positions are not finite"
        )
    return scene
