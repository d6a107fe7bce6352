"""Sample: one image and what is known of one object in it; and the index file that holds many of them.

An index is a JSONL file, one sample a line. Paths in it are relative to its own folder where they lie below it.
"""

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.data.faults import DataError
from zim_plugins.data.rle import Rle
from zim_plugins.errors import ImageError
from zim_plugins.imaging.files import atomic_write
from zim_plugins.imaging.image import read_alpha, read_image

_PATHS = ("image", "alpha", "foreground", "background")


@dataclass(frozen=True)
class Sample:
    """An image with one object's matte or mask, or an image alone; pixels are read when asked for."""

    image: Path
    """The image, or the tar that holds it. Where a set has foregrounds only, the foreground."""
    dataset: str
    """Name in the registry."""
    split: str
    """`train`, `val` or `test`, in the data set's own division."""
    alpha: Path | None = None
    """The matte; the image itself where the matte is its alpha channel."""
    mask: Rle | None = None
    """The segmentation mask, where there is no matte."""
    foreground: Path | None = None
    """Foreground colours alone."""
    background: Path | None = None
    """The background without the object."""
    subset: str = ""
    """Part of the split."""
    licence: str = ""
    """Under which the data set was published, in short."""
    image_bytes: tuple[int, int] | None = None
    """Offset and length of the image in `image` [bytes], where that is a tar."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the data set says, as JSON holds it."""

    @property
    def kind(self) -> Literal["matte", "mask", "background"]:
        """Return what is known of the object; `background` where there is none."""
        if self.alpha is not None:
            return "matte"
        return "background" if self.mask is None else "mask"

    def read_image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The image, sRGB.

        Raises:
            ImageError: it cannot be read.
        """
        if self.image_bytes is None:
            return read_image(self.image).rgb
        try:
            with self.image.open("rb") as stream:
                stream.seek(self.image_bytes[0])
                content = stream.read(self.image_bytes[1])
        except OSError as error:
            raise ImageError(f"cannot read {self.image}: {error.strerror or error}") from error
        return decode_image(content, f"{self.image} at byte {self.image_bytes[0]}")

    def read_alpha(self) -> Float32[np.ndarray, "h w"]:
        """The matte, or the mask as a matte, in [0, 1].

        Raises:
            ImageError: the matte cannot be read.
            DataError: the mask is damaged, or there is neither.
        """
        if self.alpha is not None:
            return read_alpha(self.alpha)
        if self.mask is None:
            raise DataError(f"{self.image} of {self.dataset} is a background: it has neither matte nor mask")
        return self.mask.decode().astype(np.float32)

    def to_json(self, folder: Path) -> dict[str, Any]:
        """One line of an index that lies in `folder`."""
        row: dict[str, Any] = {"dataset": self.dataset, "split": self.split, "subset": self.subset}
        row |= {"licence": self.licence, "extra": dict(self.extra)}
        row |= {name: _relative(path, folder) for name in _PATHS if (path := getattr(self, name)) is not None}
        if self.mask is not None:
            row["mask"] = self.mask.to_json()
        if self.image_bytes is not None:
            row["image_bytes"] = list(self.image_bytes)
        return row

    @classmethod
    def from_json(cls, row: Any, folder: Path) -> "Sample":
        """Read one line of an index that lies in `folder`.

        Raises:
            DataError: a field is missing, unknown or of another type.
        """
        if not isinstance(row, dict):
            raise DataError(f"a sample is an object, got {type(row).__name__}")
        values = dict(row)
        try:
            values |= {name: folder / values[name] for name in _PATHS if name in values}
            if "mask" in values:
                values["mask"] = Rle.from_json(values["mask"])
            if "image_bytes" in values:
                offset, length = values["image_bytes"]
                values["image_bytes"] = (int(offset), int(length))
            return cls(**values)
        except TypeError as error:
            raise DataError(f"not a sample: {error}") from error


def decode_image(content: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image's file that is in memory, sRGB.

    Raises:
        ImageError: it cannot be decoded; the message calls it `name`.
    """
    try:
        return read_image(io.BytesIO(content)).rgb
    except ImageError as error:  # which takes any open file for the one that users pipe in
        raise ImageError(str(error).replace("the image on standard input", name)) from error


def write_index(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples as JSONL, whole or not at all; answers with how many they were."""
    path = Path(path)
    lines = 0
    with atomic_write(path, durable=True) as stream:
        for sample in samples:
            row = json.dumps(sample.to_json(path.parent), ensure_ascii=False, sort_keys=True)
            stream.write(f"{row}\n".encode())
            lines += 1
    return lines


def read_index(path: Path) -> Iterator[Sample]:
    """Read samples from JSONL, one after the other.

    Raises:
        DataError: a line is no sample; the message names it.
    """
    path = Path(path)
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    yield Sample.from_json(json.loads(line), path.parent)
                except (json.JSONDecodeError, DataError) as error:
                    raise DataError(f"{path}, line {number}: {error}") from error


def _relative(path: Path, folder: Path) -> str:
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
