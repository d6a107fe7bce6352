"""Results to files: PNG, TIFF, WebP and OpenEXR with resolution, profile and EXIF data; all of an image, or none."""

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from zim_plugins.errors import ImageError
from zim_plugins.imaging.files import atomic_path

if TYPE_CHECKING:
    from zim_plugins.imaging.raster import Raster

_COPIED_TAGS = (270, 271, 272, 305, 306, 315, 33432)
"""Tags of EXIF's main directory that stand in a TIFF's own one: description, make, model, software, date, artist,
copyright."""
_ASCII = 2


@dataclass(frozen=True, eq=False)
class Rendered:
    """A result before it is a file."""

    raster: "Raster"
    bits: int
    """Per channel; of EXR, and 32 of TIFF, floating point."""
    is_premultiplied: bool = False


def write_rendered(results: Mapping[Path, Rendered | bytes]) -> list[str]:
    """Write all results of an image, or none of them, and return what a format could not hold.

    Raises:
        ImageError: the disk refuses, or a format cannot hold the pixels.
    """
    notes: list[str] = []
    written: list[Path] = []
    existed = {path for path in results if path.exists()}
    try:
        for path, one in results.items():
            try:
                with atomic_path(path) as temporary:
                    if isinstance(one, bytes):
                        temporary.write_bytes(one)
                    else:
                        notes += _write(temporary, path.suffix.lower(), one)
            except OSError as error:
                raise ImageError(f"cannot write {path}: {error.strerror or error}") from error
            written.append(path)
    finally:
        if len(written) < len(results):  # also when the user interrupts
            for path in written:
                if path not in existed:
                    path.unlink(missing_ok=True)
    return notes


def encode_rendered(one: Rendered, suffix: str) -> bytes:
    """Return the bytes of a file, for pipes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"result{suffix}"
        _write(path, suffix, one)
        return path.read_bytes()


def _write(path: Path, suffix: str, one: Rendered) -> list[str]:
    if suffix == ".exr":
        return _write_exr(path, one)
    if suffix in (".tif", ".tiff"):
        return _write_tiff(path, one)
    if suffix == ".webp":
        return _write_webp(path, one)
    from zim_plugins.imaging.encode import write_raster

    notes = list(write_raster(path, one.raster))
    return notes + ["colours are premultiplied, which readers of PNG do not expect"] * one.is_premultiplied


def _write_exr(path: Path, one: Rendered) -> list[str]:
    from zim_plugins.imaging.codecs.exr import write_exr

    about = one.raster.metadata
    header: dict[str, Any] = dict(about.exr or {})
    if about.dpi is not None:
        header["xDensity"] = float(about.dpi[0])
    write_exr(path, one.raster.pixels, bits=one.bits, header=header)
    return ["EXIF data left out: OpenEXR has no place for it"] if about.exif else []


def _write_tiff(path: Path, one: Rendered) -> list[str]:
    import tifffile

    raster, about = one.raster, one.raster.metadata
    tags, has_more = _exif_tags(about.exif)
    opacity = ["assocalpha" if one.is_premultiplied else "unassalpha"]
    tifffile.imwrite(
        path,
        raster.pixels.squeeze(2) if raster.mode == "L" else raster.pixels,
        photometric="rgb" if raster.mode in ("RGB", "RGBA") else "minisblack",
        planarconfig=None if raster.mode == "L" else "contig",
        extrasamples=opacity if raster.mode in ("LA", "RGBA") else None,
        compression="zlib",
        predictor=raster.pixels.dtype.kind == "u",
        iccprofile=about.icc_profile,
        resolution=about.dpi,
        resolutionunit="INCH" if about.dpi else None,
        extratags=tags,
        metadata=None,
        software=False,
    )
    return ["EXIF data beyond description, camera, date and author left out of the TIFF"] if has_more else []


def _exif_tags(exif: bytes | None) -> tuple[list[tuple[int, int, int, Any, bool]], bool]:
    """Return what of EXIF's main directory a TIFF holds as tags of its own, and whether there is more."""
    if not exif:
        return [], False
    held = PIL.Image.Exif()
    try:
        held.load(exif)
        tags = {tag: str(held[tag]) for tag in _COPIED_TAGS if tag in held}
        more = any(len(held.get_ifd(directory)) for directory in (0x8769, 0x8825))
    except (ValueError, SyntaxError, KeyError, TypeError, OSError):
        return [], True
    encoded = {tag: text.encode("ascii", "replace").decode() for tag, text in tags.items()}
    return [(tag, _ASCII, 0, text, True) for tag, text in encoded.items()], more


def _write_webp(path: Path, one: Rendered) -> list[str]:
    raster, about = one.raster, one.raster.metadata
    image = PIL.Image.fromarray(np.ascontiguousarray(raster.pixels.squeeze(2) if raster.mode == "L" else raster.pixels))
    given = {"icc_profile": about.icc_profile, "exif": about.exif}
    buffer = io.BytesIO()
    try:
        image.convert("RGB" if raster.mode == "L" else raster.mode).save(
            buffer, "WEBP", lossless=True, quality=50, method=2, exact=True, **{k: v for k, v in given.items() if v}
        )
    except (ValueError, OSError) as error:
        raise ImageError(f"WebP cannot hold {raster.pixels.shape[1]}x{raster.pixels.shape[0]} px: {error}") from error
    path.write_bytes(buffer.getbuffer())
    return ["resolution left out: WebP has no place for it"] if about.dpi else []
