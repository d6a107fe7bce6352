"""The .spz format, versions 2 and 3: gzip over columns of bytes, one column for each attribute.

Coordinates are taken as they are stored. Niantic's tools turn axes when they convert (from right-down-front to
right-up-back): the cameras have to be in the file's own axes.
"""

import gzip
import struct
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32

from zim_plugins.imaging import unit_values

from ..model import Gaussians

HEADER = struct.Struct("<4sIIBBBB")
MAGIC = b"NGSP"
_COLOUR_SCALE = 0.15
_HARMONICS = {0: 0, 1: 3, 2: 8, 3: 15}


@dataclass(frozen=True, eq=False)
class Spz:
    """A `SplatFile` of columns: position, opacity, colour, scale, rotation, harmonics; bytes of shape (n, bytes)."""

    version: int
    degree: int
    fraction_bits: int
    flags: int
    columns: tuple[np.ndarray, ...]

    format = ".spz"

    def gaussians(self) -> Gaussians:
        """See `SplatFile`."""
        position, opacity, colour, scale, rotation, rest = self.columns
        count = len(position)
        parts = position.reshape(count, 3, 3).astype(np.int32)
        fixed = parts[..., 0] | (parts[..., 1] << 8) | (parts[..., 2] << 16)
        fixed = np.where(fixed >= 1 << 23, fixed - (1 << 24), fixed)
        harmonics = ((unit_values(colour) - 0.5) / _COLOUR_SCALE)[:, None]
        further = (rest.astype(np.float32).reshape(count, rest.shape[1] // 3, 3) - 128) / 128
        unpack = _first_three if self.version == 2 else _smallest_three
        return Gaussians(
            means=torch.from_numpy((fixed / (1 << self.fraction_bits)).astype(np.float32)),
            scales=torch.from_numpy(np.exp(scale.astype(np.float32) / 16 - 10)),
            rotations=torch.from_numpy(unpack(rotation)),
            opacities=torch.from_numpy(unit_values(opacity[:, 0])),
            harmonics=torch.from_numpy(np.concatenate([harmonics, further], axis=1)),
        )

    def select(self, kept: Bool[np.ndarray, " n"]) -> "Spz":
        """See `SplatFile`."""
        return replace(self, columns=tuple(column[kept] for column in self.columns))

    def with_membership(self, membership: Float32[np.ndarray, " n"]) -> "Spz":
        """See `SplatFile`; only the product is stored, in 8 bits."""
        position, opacity, *others = self.columns
        return replace(self, columns=(position, np.round(opacity * membership[:, None]).astype(np.uint8), *others))

    def encode(self) -> bytes:
        """See `SplatFile`."""
        count = len(self.columns[0])
        header = HEADER.pack(MAGIC, self.version, count, self.degree, self.fraction_bits, self.flags, 0)
        return gzip.compress(header + b"".join(column.tobytes() for column in self.columns), mtime=0)


def _first_three(packed: np.ndarray) -> Float32[np.ndarray, "n 4"]:
    """Quaternions w, x, y, z of version 2: x, y, z in bytes, w not negative."""
    xyz = packed.astype(np.float32) / 127.5 - 1
    w = np.sqrt(np.maximum(1 - (xyz**2).sum(1, keepdims=True), 0))
    return np.concatenate([w, xyz], axis=1)


def _smallest_three(packed: np.ndarray) -> Float32[np.ndarray, "n 4"]:
    """Quaternions w, x, y, z of version 3: the place of the largest of x, y, z, w; the others as sign and 9 bits."""
    left = np.ascontiguousarray(packed).view("<u4")[:, 0].copy()
    largest = left >> 30
    xyzw = np.zeros((len(left), 4), dtype=np.float32)
    for place in (3, 2, 1, 0):
        taken = largest != place
        size = (left & 511).astype(np.float32) / 511 * np.float32(np.sqrt(0.5))
        xyzw[taken, place] = np.where((left >> 9) & 1, -size, size)[taken]
        left = np.where(taken, left >> 10, left)
    rest = np.sqrt(np.maximum(1 - (xyzw**2).sum(1), 0))
    xyzw[np.arange(len(xyzw)), largest.astype(np.int64)] = rest
    return xyzw[:, [3, 0, 1, 2]]


def parse(content: bytes) -> Spz:
    """Read the content of a file.

    Raises:
        ValueError: it is damaged, cut short, or of another version.
    """
    content = gzip.decompress(content)
    if len(content) < HEADER.size:
        raise ValueError("it is cut short within its header")
    magic, version, count, degree, fraction_bits, flags, _ = HEADER.unpack_from(content)
    if magic != MAGIC or version not in (2, 3) or degree not in _HARMONICS:
        raise ValueError(f"it is no .spz of version 2 or 3: {magic!r}, version {version}, degree {degree}")
    widths = (9, 1, 3, 3, 3 if version == 2 else 4, 3 * _HARMONICS[degree])
    if len(content) < HEADER.size + count * sum(widths):
        raise ValueError(f"it is cut short: {count} Gaussians do not fit its {len(content)} bytes")
    columns, start = [], HEADER.size
    for width in widths:
        columns.append(np.frombuffer(content, np.uint8, count * width, start).reshape(count, width))
        start += count * width
    return Spz(version, degree, fraction_bits, flags, tuple(columns))
