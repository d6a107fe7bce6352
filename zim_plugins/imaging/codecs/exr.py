"""OpenEXR files: scene-linear light in half or single precision, opacity premultiplied, by the package OpenEXR."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.errors import ImageError, MissingExtra

SRGB_KNEE, LINEAR_KNEE = 0.04045, 0.0031308
"""Where sRGB's straight piece ends (IEC 61966-2-1)."""
_KEPT = ("displayWindow", "dataWindow", "pixelAspectRatio", "chromaticities", "screenWindowCenter", "screenWindowWidth")
_REC709 = np.array([0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290])


@dataclass(frozen=True, eq=False)
class ExrImage:
    """The first part of a file."""

    values: Float32[np.ndarray, "h w c"]
    """Y, Y and A, RGB, or RGBA as stored: linear light, opacity premultiplied, of the data window."""
    header: dict[str, Any]
    """What a file derived from it keeps: windows, aspect, primaries, other attributes that are text or numbers."""
    notes: tuple[str, ...]


def read_exr(path: Path, name: str, max_pixels: int) -> ExrImage:
    """Read the colour channels of a file's first part.

    Raises:
        ImageError: it is damaged, too large, or holds no colours.
    """
    openexr = _openexr()
    try:
        with _quiet(), openexr.File(str(path), separate_channels=True, header_only=True) as file:
            header = dict(file.parts[0].header)
            parts = len(file.parts)
        (x1, y1), (x2, y2) = header["dataWindow"]
        width, height = int(x2) - int(x1) + 1, int(y2) - int(y1) + 1
        if width < 1 or height < 1:
            raise ImageError(f"{name} has no pixels ({width}x{height})")
        if width * height > max_pixels:
            raise ImageError(f"{name} is too large: more than {max_pixels / 1e6:g} megapixels ({width}x{height})")
        with _quiet(), openexr.File(str(path), separate_channels=True) as file:
            channels = {key: np.asarray(one.pixels) for key, one in file.parts[0].channels.items()}
    except ImageError:
        raise
    except (RuntimeError, ValueError, OSError, TypeError, LookupError, MemoryError, ArithmeticError) as error:
        raise ImageError(f"{name} is truncated or damaged: {error}") from error
    chosen = next((names for names in (("R", "G", "B"), ("Y",)) if set(names) <= set(channels)), None)
    if chosen is None:
        held = ", ".join(sorted(channels))
        raise ImageError(f"{name} holds no channels R, G, B or Y, but {held or 'none'}")
    notes = []
    if parts > 1:
        notes.append(f"several parts: the first of {parts} is used")
    if left := sorted(set(channels) - {*chosen, "A"}):
        notes.append(f"channels left out: {', '.join(left[:6])}{', ...' if len(left) > 6 else ''}")
    planes = [channels[key] for key in (*chosen, "A") if key in channels]
    if any(plane.shape != (height, width) for plane in planes):
        raise ImageError(f"{name} has channels of several sizes: save it without subsampling")
    return ExrImage(np.stack(planes, axis=2).astype(np.float32), _kept(header), tuple(notes))


def write_exr(path: Path, values: Float32[np.ndarray, "h w c"], *, bits: int, header: dict[str, Any] | None) -> None:
    """Write Y, RGB or RGBA in linear light, premultiplied; ZIP compression.

    Args:
        path: of a file that is not there yet.
        values: (h, w, 1), (h, w, 3) or (h, w, 4).
        bits: 16 for half, 32 for single precision.
        header: as `ExrImage` gives it.
    """
    openexr = _openexr()
    kind = np.float16 if bits == 16 else np.float32
    limit = np.float32(np.finfo(kind).max)
    names = {1: ("Y",), 3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}[values.shape[2]]
    planes = {n: np.ascontiguousarray(values[..., i].clip(-limit, limit).astype(kind)) for i, n in enumerate(names)}
    about = {**(header or {}), "compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    try:
        with openexr.File(about, planes) as file:
            file.write(str(path))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ImageError(f"cannot write {path.name}: {error}") from error


def to_linear(srgb: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """Turn sRGB in [0, 1] into linear light.

    >>> to_linear(np.float32([0, 0.5, 1])).round(3).tolist() == np.float32([0, 0.214, 1]).tolist()
    True
    """
    srgb = np.asarray(srgb, dtype=np.float32)
    curved = ((srgb.clip(0) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(srgb <= SRGB_KNEE, srgb / np.float32(12.92), curved).astype(np.float32)


def to_display(linear: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """Turn linear light into sRGB in [0, 1]; what is brighter than white becomes white.

    >>> to_display(np.float32([0, 0.214041, 1, 7])).round(3).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    linear = np.nan_to_num(np.asarray(linear, dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    curved = np.float32(1.055) * linear ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(linear <= LINEAR_KNEE, linear * np.float32(12.92), curved).clip(0, 1).astype(np.float32)


def to_rec709(rgb: Float32[np.ndarray, "h w 3"], header: dict[str, Any]) -> Float32[np.ndarray, "h w 3"]:
    """Turn linear RGB of a file's own primaries into Rec. 709's, which are sRGB's; white becomes white."""
    primaries = header.get("chromaticities")
    if primaries is None or np.allclose(np.ravel(primaries), _REC709, atol=2e-3):
        return rgb
    matrix = np.linalg.inv(_to_xyz(_REC709)) @ _to_xyz(np.ravel(np.asarray(primaries, dtype=np.float64)))
    matrix /= matrix.sum(axis=1, keepdims=True)  # a plain adaptation of white
    return (rgb @ matrix.T.astype(np.float32)).astype(np.float32)


def _to_xyz(primaries: np.ndarray) -> np.ndarray:
    xy = primaries.reshape(4, 2)
    columns = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]])
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def _kept(header: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in header.items() if k in _KEPT or (isinstance(v, str | int | float) and k != "type")}


def _openexr() -> Any:
    try:
        import OpenEXR
    except ImportError as error:
        raise MissingExtra("OpenEXR", "vfx") from error
    return OpenEXR


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library prints of damaged files from both outputs: it is said in the exception too."""
    with tempfile.TemporaryFile() as sink, contextlib.redirect_stdout(io.StringIO()):
        try:
            saved = os.dup(2)
        except OSError:
            yield
            return
        try:
            os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
