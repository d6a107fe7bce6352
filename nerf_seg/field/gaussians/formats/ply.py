"""Inria's .ply: one record of numbers for each Gaussian, as gaussian-splatting, nerfstudio and gsplat write it."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32

from ..model import Gaussians

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float"}
_NAMES["f8"] = "double"
NEEDED = (*"xyz", "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))
MEMBERSHIP = "membership"
"""The property that `with_membership` adds to each record."""


@dataclass(frozen=True, eq=False)
class PlyFile:
    """The elements of a binary .ply file, each a structured array, with the header's comments."""

    elements: dict[str, np.ndarray]
    comments: tuple[str, ...] = ()
    big_endian: bool = False

    def encode(self) -> bytes:
        """Return the content of the file."""
        order = "big" if self.big_endian else "little"
        lines = ["ply", f"format binary_{order}_endian 1.0", *(f"comment {text}" for text in self.comments)]
        for name, rows in self.elements.items():
            lines.append(f"element {name} {len(rows)}")
            assert rows.dtype.names is not None
            lines += [f"property {_NAMES[rows.dtype[field].str[1:]]} {field}" for field in rows.dtype.names]
        header = ("\n".join([*lines, "end_header"]) + "\n").encode()
        return header + b"".join(rows.tobytes() for rows in self.elements.values())


def parse_ply(content: bytes) -> PlyFile:
    """Read the elements of a binary .ply file.

    Raises:
        ValueError: the header is damaged, the file is text or cut short, or a property is a list.
    """
    # Find the header and the byte order.
    end = content.find(b"end_header")
    start = content.find(b"\n", end) + 1
    if end < 0 or start == 0:
        raise ValueError("its header does not end")
    lines = [line.split() for line in content[:end].decode("ascii", "replace").splitlines()]
    formats = [words[1] for words in lines if words[:1] == ["format"] and len(words) > 1]
    if formats not in (["binary_little_endian"], ["binary_big_endian"]):
        raise ValueError(f"its format is {formats[0] if formats else 'not given'}; only binary files are read")
    big_endian = formats == ["binary_big_endian"]
    # Read the elements' properties.
    layout: dict[str, tuple[int, list[tuple[str, str]]]] = {}
    fields: list[tuple[str, str]] = []
    for words in lines:
        if words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isdigit():
                raise ValueError(f"its header is damaged: {' '.join(words)!r}")
            fields = []
            layout[words[1]] = (int(words[2]), fields)
        elif words[:1] == ["property"]:
            if len(words) != 3 or words[1] not in _TYPES:
                raise ValueError(f"its property {' '.join(words[1:])!r} is not a number")
            fields.append((words[2], (">" if big_endian else "<") + _TYPES[words[1]]))
    # Take each element's records as they lie.
    elements = {}
    for name, (count, dtype) in layout.items():
        size = count * np.dtype(dtype).itemsize
        if count < 0 or start + size > len(content):
            raise ValueError(f"it is cut short: {count} records of {name} do not fit its {len(content)} bytes")
        elements[name] = np.frombuffer(content, dtype=dtype, count=count, offset=start)
        start += size
    comments = tuple(" ".join(words[1:]) for words in lines if words[:1] == ["comment"])
    return PlyFile(elements, comments, big_endian)


@dataclass(frozen=True, eq=False)
class InriaPly:
    """A `SplatFile` of one record for each Gaussian; properties that are not known here stay as they are."""

    file: PlyFile

    format = "Inria .ply"

    @property
    def rows(self) -> np.ndarray:
        """The records."""
        return self.file.elements["vertex"]

    def gaussians(self) -> Gaussians:
        """See `SplatFile`."""
        names = self.rows.dtype.names or ()
        colours = self._columns(*(f"f_dc_{i}" for i in range(3)))[:, None]
        rest = [f"f_rest_{i}" for i in range(45) if f"f_rest_{i}" in names]
        if len(rest) not in (0, 9, 24, 45):
            raise ValueError(f"it has {len(rest)} coefficients f_rest; 0, 9, 24 or 45 are known")
        if rest:  # channel by channel in the file
            further = self._columns(*rest).reshape(len(self.rows), 3, len(rest) // 3).transpose(1, 2)
            colours = torch.cat([colours, further], dim=1)
        return Gaussians(
            means=self._columns(*"xyz"),
            scales=self._columns(*(f"scale_{i}" for i in range(3))).exp(),
            rotations=torch.nn.functional.normalize(self._columns(*(f"rot_{i}" for i in range(4))), dim=1),
            opacities=torch.sigmoid(self._columns("opacity")[:, 0]),
            harmonics=colours.contiguous(),
        )

    def select(self, kept: Bool[np.ndarray, " n"]) -> "InriaPly":
        """See `SplatFile`."""
        others = {name: rows for name, rows in self.file.elements.items() if name != "vertex"}
        return InriaPly(replace(self.file, elements={"vertex": self.rows[kept], **others}))

    def with_membership(self, membership: Float32[np.ndarray, " n"]) -> "InriaPly":
        """See `SplatFile`; the membership itself is the further property `membership`."""
        kinds = [(name, self.rows.dtype[name].str) for name in self.rows.dtype.names or () if name != MEMBERSHIP]
        order = ">" if self.file.big_endian else "<"
        rows = np.zeros(len(self.rows), dtype=[*kinds, (MEMBERSHIP, order + "f4")])
        for name, _ in kinds:
            rows[name] = self.rows[name]
        rows["opacity"] = scaled_logits(self.rows["opacity"], membership)
        rows[MEMBERSHIP] = membership
        return InriaPly(replace(self.file, elements={**self.file.elements, "vertex": rows}))

    def encode(self) -> bytes:
        """See `SplatFile`."""
        return self.file.encode()

    def _columns(self, *names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([self.rows[name] for name in names], axis=1).astype(np.float32))


def scaled_logits(logits: np.ndarray, factor: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """Return the logits of opacities that are multiplied by a factor in [0, 1].

    Example:
        >>> scaled_logits(np.zeros(2), np.array([1.0, 0.5], dtype=np.float32)).round(3).tolist()
        [0.0, -1.0989999771118164]
    """
    opacity = factor / (1 + np.exp(-logits.astype(np.float64)))
    return np.log(np.clip(opacity, 1e-9, 1 - 1e-9) / (1 - np.clip(opacity, 1e-9, 1 - 1e-9))).astype(np.float32)


def parse(content: bytes) -> InriaPly:
    """Read the content of a file.

    Raises:
        ValueError: it is damaged, or its records are not Gaussians.
    """
    file = parse_ply(content)
    if "vertex" not in file.elements:
        raise ValueError("it has no element vertex")
    names = file.elements["vertex"].dtype.names or ()
    if missing := [name for name in (*NEEDED, "f_dc_0", "f_dc_1", "f_dc_2") if name not in names]:
        raise ValueError(f"it holds points, not Gaussians: {', '.join(missing)} are missing")
    return InriaPly(file)
