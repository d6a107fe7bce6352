"""SuperSplat's compressed .ply: 16 bytes for each Gaussian, within bounds that 256 of them share."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt32

from ..model import SH_C0, Gaussians
from .ply import PlyFile, parse_ply

GROUP = 256
"""Gaussians that share bounds, in file order."""
_POSITION = ("x", "y", "z")
_SCALE = ("scale_x", "scale_y", "scale_z")
_COLOUR = ("r", "g", "b")
_ROTATION_SPAN = np.sqrt(2.0)
"""The three smaller components of a unit quaternion lie within +- 1 / sqrt(2)."""


@dataclass(frozen=True, eq=False)
class CompressedPly:
    """A `SplatFile` of packed numbers; a selection is packed anew, to half a step of the new bounds."""

    file: PlyFile

    format = "compressed .ply"

    @property
    def rows(self) -> np.ndarray:
        """The packed records."""
        return self.file.elements["vertex"]

    def gaussians(self) -> Gaussians:
        """See `SplatFile`."""
        colours, opacity = self._colours()
        harmonics = torch.from_numpy((colours - 0.5) / SH_C0)[:, None]
        if "sh" in self.file.elements:
            rest = self.file.elements["sh"]
            values = (
                np.stack([rest[name] for name in rest.dtype.names or ()], axis=1).astype(np.float32) * (8 / 255) - 4
            )
            further = torch.from_numpy(values).reshape(len(rest), 3, values.shape[1] // 3).transpose(1, 2)
            harmonics = torch.cat([harmonics, further.to(harmonics)], dim=1)
        return Gaussians(
            means=_tensor(self._spread(self.rows["packed_position"], _POSITION)),
            scales=_tensor(np.exp(self._spread(self.rows["packed_scale"], _SCALE))),
            rotations=_tensor(_unpack_rotations(self.rows["packed_rotation"])),
            opacities=_tensor(opacity),
            harmonics=harmonics.to(torch.float32).contiguous(),
        )

    def select(self, kept: Bool[np.ndarray, " n"]) -> "CompressedPly":
        """See `SplatFile`."""
        position = self._spread(self.rows["packed_position"], _POSITION)[kept]
        scale = self._spread(self.rows["packed_scale"], _SCALE)[kept]
        colour, _ = self._colours()
        colour = colour[kept]
        chunk = self.file.elements["chunk"]
        groups = -(-len(position) // GROUP)
        bounds = np.zeros(groups, dtype=chunk.dtype)
        rows = self.rows[kept].copy()
        rows["packed_position"] = _pack_111011(_to_shares(position, bounds, _POSITION))
        rows["packed_scale"] = _pack_111011(_to_shares(scale, bounds, _SCALE))
        if self._bounded_colours:
            steps = np.round(_to_shares(colour, bounds, _COLOUR) * 255).astype(np.uint32)
            opacity = rows["packed_color"] & 255
            rows["packed_color"] = (steps[:, 0] << 24) | (steps[:, 1] << 16) | (steps[:, 2] << 8) | opacity
        elements = {"chunk": bounds, "vertex": rows}
        if "sh" in self.file.elements:
            elements["sh"] = self.file.elements["sh"][kept]
        return CompressedPly(replace(self.file, elements=elements))

    def with_membership(self, membership: Float32[np.ndarray, " n"]) -> "CompressedPly":
        """See `SplatFile`; only the product is stored, in 8 bits."""
        rows = self.rows.copy()
        opacity = np.round((rows["packed_color"] & 255) * membership).astype(np.uint32)
        rows["packed_color"] = (rows["packed_color"] & np.uint32(0xFFFFFF00)) | opacity
        return CompressedPly(replace(self.file, elements={**self.file.elements, "vertex": rows}))

    def encode(self) -> bytes:
        """See `SplatFile`."""
        return self.file.encode()

    @property
    def _bounded_colours(self) -> bool:
        return "min_r" in (self.file.elements["chunk"].dtype.names or ())

    def _colours(self) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"]]:
        """Colours as 0.5 + SH_C0 times the coefficient, and opacities."""
        packed = self.rows["packed_color"].astype(np.uint32)
        values = np.stack([(packed >> shift) & 255 for shift in (24, 16, 8, 0)], axis=1) / 255
        if self._bounded_colours:
            low, high = self._bounds(_COLOUR)
            values[:, :3] = low + (high - low) * values[:, :3]
        return values[:, :3], values[:, 3]

    def _spread(self, packed: np.ndarray, names: tuple[str, str, str]) -> Float64[np.ndarray, "n 3"]:
        packed = packed.astype(np.uint32)
        shares = np.stack([(packed >> 21) / 2047, ((packed >> 11) & 1023) / 1023, (packed & 2047) / 2047], axis=1)
        low, high = self._bounds(names)
        return low + (high - low) * shares

    def _bounds(self, names: tuple[str, str, str]) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
        group = np.arange(len(self.rows)) // GROUP
        chunk = self.file.elements["chunk"]
        low, high = (np.stack([chunk[f"{end}_{name}"] for name in names], 1)[group] for end in ("min", "max"))
        return low.astype(np.float64), high.astype(np.float64)


def _to_shares(
    values: Float64[np.ndarray, "n 3"], bounds: np.ndarray, names: tuple[str, str, str]
) -> Float64[np.ndarray, "n 3"]:
    """Write each group's bounds into `bounds`, and return the values as shares of them."""
    starts = np.arange(0, len(values), GROUP)
    group = np.arange(len(values)) // GROUP
    if len(values) == 0:
        return values
    low, high = (ufunc.reduceat(values, starts, axis=0).astype(np.float32) for ufunc in (np.minimum, np.maximum))
    for axis, name in enumerate(names):
        bounds[f"min_{name}"], bounds[f"max_{name}"] = low[:, axis], high[:, axis]
    span = np.maximum(high.astype(np.float64) - low, 1e-12)
    return np.clip((values - low[group]) / span[group], 0, 1)


def _pack_111011(shares: Float64[np.ndarray, "n 3"]) -> UInt32[np.ndarray, " n"]:
    x, y, z = (np.round(shares[:, axis] * top).astype(np.uint32) for axis, top in enumerate((2047, 1023, 2047)))
    return (x << 21) | (y << 11) | z


def _unpack_rotations(packed: np.ndarray) -> Float64[np.ndarray, "n 4"]:
    """Quaternions w, x, y, z: two bits name the largest component, which is left out and positive."""
    packed = packed.astype(np.uint32)
    three = np.stack([((packed >> shift) & 1023) / 1023 - 0.5 for shift in (20, 10, 0)], axis=1) * _ROTATION_SPAN
    missing = np.sqrt(np.maximum(1 - (three**2).sum(1), 0))
    largest = (packed >> 30).astype(np.int64)
    place = np.arange(3)[None] + (np.arange(3)[None] >= largest[:, None])
    quaternions = np.zeros((len(packed), 4))
    np.put_along_axis(quaternions, place, three, axis=1)
    np.put_along_axis(quaternions, largest[:, None], missing[:, None], axis=1)
    return quaternions


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def parse(content: bytes) -> CompressedPly:
    """Read the content of a file.

    Raises:
        ValueError: it is damaged.
    """
    file = parse_ply(content)
    if missing := {"chunk", "vertex"} - set(file.elements):
        raise ValueError(f"it is no compressed .ply: {', '.join(sorted(missing))} are missing")
    groups, count = len(file.elements["chunk"]), len(file.elements["vertex"])
    if groups != -(-count // GROUP) or len(file.elements.get("sh", file.elements["vertex"])) != count:
        raise ValueError(f"{groups} groups of {GROUP} do not match {count} Gaussians")
    return CompressedPly(file)
