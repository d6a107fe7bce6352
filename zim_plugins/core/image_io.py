"""The only place that reads and writes pictures.

Whatever the file holds, `read_image` answers with 8-bit sRGB, upright, of the width and height that a viewer shows:

- EXIF orientation is applied; an embedded colour profile is converted to sRGB; CMYK becomes RGB.
- Transparency (RGBA, grey + alpha, a transparent palette entry) is composited over white.
- 16-bit values are scaled by 1/65535; floating-point values are taken as sRGB in [0, 1] and clipped to it.
- Of an animation or a file of several pages the first picture is used.

What was done beyond plain decoding is said in `Image.notes`. What cannot be read raises `ImageError`.
"""

import importlib.util
import io
import itertools
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import PIL.Image
import PIL.ImageOps
from jaxtyping import Float32, Shaped, UInt8

from zim_plugins.core.errors import ImageError
from zim_plugins.core.sources import SAMPLE_PREFIX, STDIN, SUFFIXES, output_stem, sample_path
from zim_plugins.core.sources import expand_inputs as expand_inputs
from zim_plugins.core.sources import output_stems as output_stems

MAX_PIXELS = 200_000_000
"""Pictures above this many pixels are refused from their header, before anything of that size is allocated."""
_WRITERS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BROKEN_FILE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(struct.error, zlib.error),
)
"""What decoders raise on damaged files: each was seen, from Pillow's or tifffile's, on files damaged at random."""
_opening = threading.Lock()
_temporary = itertools.count()


@runtime_checkable
class ByteStream(Protocol):
    """An open binary file, pipe or buffer."""

    def read(self) -> bytes:
        """All bytes that are left."""
        ...


@dataclass(frozen=True, eq=False)
class Image:
    """A picture as the models want it, and where it came from."""

    rgb: UInt8[np.ndarray, "h w 3"]
    """sRGB in [0, 255], upright."""
    name: str
    """What messages call it: the path as given, `sample:NAME` or `-`."""
    source_mode: str
    """How the file stores its pixels, in Pillow's words (`RGB`, `I;16`, `CMYK`...) or tifffile's (`float32x3`)."""
    notes: tuple[str, ...] = ()
    """What was done to the file's pixels that its owner should know."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) [px]."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def stem(self) -> str:
        """The name that outputs begin with."""
        return output_stem(self.name)


@dataclass(frozen=True, eq=False)
class _Decoded:
    """Upright pixels, before anything is decided about alpha and colour."""

    pixels: PIL.Image.Image | Float32[np.ndarray, "h w c"]
    """An array in [0, 1] of 1 to 4 channels where Pillow has no 8-bit mode for the file."""
    source_mode: str
    notes: tuple[str, ...]


def read_image(source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture as upright 8-bit sRGB.

    Args:
        source: a path, `sample:NAME`, or an open binary stream.
        max_pixels: refuse larger pictures from their header [px].

    Raises:
        ImageError: the file is missing, not a picture, damaged, too large, or of a kind without a defined range.
    """
    name, decoded = _decode(source, max_pixels)
    notes = list(decoded.notes)
    if isinstance(decoded.pixels, np.ndarray):
        rgb = _flatten(decoded.pixels, notes)
    else:
        try:
            rgb = _to_srgb(decoded.pixels, notes)
        except ValueError as error:
            raise ImageError(f"{name}, of mode {decoded.source_mode}, cannot be turned into RGB: {error}") from error
    return Image(rgb=np.ascontiguousarray(rgb), name=name, source_mode=decoded.source_mode, notes=tuple(notes))


def read_alpha(source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS) -> Float32[np.ndarray, "h w"]:
    """Read a matte or a mask as opacity in [0, 1], upright.

    The alpha channel is taken where the file has one that is not opaque throughout; else the grey values, or colours
    whose three channels are equal.

    Raises:
        ImageError: as `read_image`, and where the file holds a coloured, opaque picture.
    """
    name, decoded = _decode(source, max_pixels)
    if isinstance(decoded.pixels, np.ndarray):
        values = decoded.pixels
    else:
        mode = "RGBA" if _has_alpha(decoded.pixels) else "RGB"
        values = np.asarray(decoded.pixels.convert(mode), dtype=np.float32) / 255
    colours, alpha = (values[..., :-1], values[..., -1]) if values.shape[2] in (2, 4) else (values, None)
    if alpha is not None and alpha.min() < 1:
        return np.ascontiguousarray(alpha)
    if (colours != colours[..., :1]).any():
        raise ImageError(f"{name} is a colour picture, not a matte: give a grey picture or one with an alpha channel")
    return np.ascontiguousarray(colours[..., 0])


def write_image(
    path: str | Path, array: UInt8[np.ndarray, "h w *c"] | Float32[np.ndarray, "h w *c"], *, quality: int = 95
) -> Path:
    """Write a grey (h, w), RGB (h, w, 3) or straight-alpha RGBA (h, w, 4) picture, whole or not at all.

    Args:
        path: its suffix names the format (.png, .jpg, .webp, .tif); missing folders are made.
        array: uint8, or float32 in [0, 1], which is rounded to 8 bits.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ImageError: the suffix is unknown, the format cannot hold the array, or the disk refuses.
    """
    path = Path(path)
    file_format = _WRITERS.get(path.suffix.lower())
    if file_format is None:
        raise ImageError(f"cannot write {path}: its suffix is none of {', '.join(_WRITERS)}")
    if file_format == "JPEG" and array.ndim == 3 and array.shape[2] == 4:
        raise ImageError(f"cannot write {path}: JPEG has no alpha channel, use .png")
    content = _encode(array, file_format, quality)
    # A short name of its own: the final name may already be as long as the file system allows.
    temporary = path.parent / f".zim-{os.getpid()}-{next(_temporary)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def encode_png(array: UInt8[np.ndarray, "h w *c"] | Float32[np.ndarray, "h w *c"]) -> bytes:
    """The bytes of a PNG file, for pipes; arrays as in `write_image`."""
    return _encode(array, "PNG", 95)


def _decode(source: str | Path | ByteStream, max_pixels: int) -> tuple[str, _Decoded]:
    """Open, check and decode; every fault leaves as an ImageError that names the file."""
    if isinstance(source, str | Path):
        name = str(source)
        path = sample_path(name) if name.startswith(SAMPLE_PREFIX) else Path(source)
        if path.is_dir():
            raise ImageError(f"{name} is a folder, not a picture")
        try:
            with path.open("rb") as stream:
                return name, _decode_stream(stream, name, max_pixels)
        except FileNotFoundError:
            raise ImageError(f"{name} does not exist") from None
        except OSError as error:
            raise ImageError(f"cannot read {name}: {error.strerror or error}") from error
    content = source.read()
    return STDIN, _decode_stream(io.BytesIO(content), "the picture on standard input", max_pixels)


def _decode_stream(stream: io.BufferedReader | io.BytesIO, name: str, max_pixels: int) -> _Decoded:
    head = stream.read(4)
    stream.seek(0)
    if not head:
        raise ImageError(f"{name} is empty (0 bytes)")
    too_large = f"{name} is too large: more than {max_pixels / 1e6:g} megapixels; reduce it first"
    try:
        with _opening:  # Pillow's limit is one for the whole process: raised to ours while a header is read.
            pillow_limit = PIL.Image.MAX_IMAGE_PIXELS
            PIL.Image.MAX_IMAGE_PIXELS = max(max_pixels, pillow_limit or max_pixels)
            try:
                picture = PIL.Image.open(stream)
            finally:
                PIL.Image.MAX_IMAGE_PIXELS = pillow_limit
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise ImageError(too_large) from None
    except PIL.UnidentifiedImageError:
        if head in _TIFF_MAGIC:
            return _decode_tiff(stream, name, max_pixels)
        known = ", ".join(s[1:] for s in SUFFIXES)
        raise ImageError(f"{name} is not a picture, or of a format that is not read here (read: {known})") from None
    except _BROKEN_FILE as error:
        raise ImageError(f"{name} is damaged: {error}") from error
    if picture.width * picture.height > max_pixels:
        raise ImageError(f"{too_large} ({picture.width}x{picture.height})")
    if picture.width < 1 or picture.height < 1:
        raise ImageError(f"{name} has no pixels ({picture.width}x{picture.height})")
    notes = _note_frames(picture)
    source_mode = picture.mode
    try:
        if picture.mode[0] != "I" and ";16" in str(picture.tile):
            notes.append("16 bits per channel reduced to 8")
        picture.load()
    except _BROKEN_FILE as error:
        raise ImageError(f"{name} is truncated or damaged: {error}") from error
    try:
        picture = PIL.ImageOps.exif_transpose(picture)
    except _BROKEN_FILE:
        notes.append("unreadable EXIF data ignored: the picture may be turned")
    if picture.mode == "F" or picture.mode.startswith("I"):
        values = np.asarray(picture)[..., None]
        return _Decoded(_to_unit_range(values, name, notes), source_mode, tuple(notes))
    return _Decoded(picture, source_mode, tuple(notes))


def _note_frames(picture: PIL.Image.Image) -> list[str]:
    """Say that only the first of several frames or pages is used; the second view of a phone's MPO is no frame."""
    if picture.format == "MPO":
        return []
    try:
        frames = int(getattr(picture, "n_frames", 1))
    except _BROKEN_FILE:
        return ["later frames are damaged: the first is used"]
    kind = "several pages" if picture.format == "TIFF" else "animated"
    return [f"{kind}: the first of {frames} is used"] if frames > 1 else []


def _decode_tiff(stream: io.BufferedReader | io.BytesIO, name: str, max_pixels: int) -> _Decoded:
    """Kinds of TIFF that Pillow does not know: floating-point RGB and the like."""
    if importlib.util.find_spec("tifffile") is None:
        raise ImageError(f"{name} is a TIFF that needs tifffile: pip install tifffile, or save it with 8 or 16 bits")
    import tifffile

    notes: list[str] = []
    try:
        stream.seek(0)
        with tifffile.TiffFile(stream) as tiff:
            page = tiff.pages.first
            width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
            if not all(isinstance(value, int) and value > 0 for value in (width, height, samples)):
                raise ImageError(f"{name} is damaged: its header names no size")
            if samples > 4:
                raise ImageError(f"{name} has {samples} channels, a picture has 1 to 4")
            if width * height > max_pixels:
                raise ImageError(f"{name} is too large: more than {max_pixels / 1e6:g} megapixels ({width}x{height})")
            if page.axes not in ("YX", "YXS", "SYX"):
                raise ImageError(f"{name} is a TIFF of axes {page.axes}, not a picture")
            values = page.asarray()
            if page.axes == "SYX":
                values = np.moveaxis(values, 0, -1)
            if len(tiff.pages) > 1:
                notes.append(f"several pages: the first of {len(tiff.pages)} is used")
    except ImageError:
        raise
    except (tifffile.TiffFileError, *_BROKEN_FILE) as error:
        raise ImageError(f"{name} is truncated, damaged or of an unknown kind of TIFF: {error}") from error
    if values.shape[:2] != (height, width):
        raise ImageError(f"{name} is damaged: {values.shape} where {height}x{width} pixels are promised")
    values = values.reshape(height, width, -1)
    source_mode = f"{values.dtype.name}x{values.shape[2]}"
    return _Decoded(_to_unit_range(values, name, notes), source_mode, tuple(notes))


def _to_unit_range(values: Shaped[np.ndarray, "h w c"], name: str, notes: list[str]) -> Float32[np.ndarray, "h w c"]:
    """Scale integers by their range; clip floating-point values to [0, 1]."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return (values / np.float32(np.iinfo(values.dtype).max)).astype(np.float32)
    if values.dtype.kind in "iu":
        # Pillow's 32-bit mode also carries what a file stored with 16 bits.
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"{name} holds {values.dtype.name} values without a defined range: save it with 16 bits")
        return (values / np.float32(65535)).astype(np.float32)
    if values.dtype.kind != "f":
        raise ImageError(f"{name} holds {values.dtype.name} values, which are no picture")
    finite = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    if (finite > 1).mean() > 0.5:
        raise ImageError(f"{name} holds floating-point values up to {finite.max():g}: scale them to 0..1 first")
    if finite.min() < 0 or finite.max() > 1 or not np.isfinite(values).all():
        notes.append("floating-point values clipped to 0..1")
    return np.clip(finite, 0.0, 1.0)


def _has_alpha(picture: PIL.Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def _to_srgb(picture: PIL.Image.Image, notes: list[str]) -> UInt8[np.ndarray, "h w 3"]:
    alpha = None
    if _has_alpha(picture):
        icc_profile = picture.info.get("icc_profile")
        straight = picture.convert("RGBA")
        alpha = straight.getchannel("A")
        picture = straight.convert("RGB")
        picture.info = {} if icc_profile is None else {"icc_profile": icc_profile}
    picture = _apply_profile(picture, notes).convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        picture = PIL.Image.composite(picture, PIL.Image.new("RGB", picture.size, "white"), alpha)
        notes.append("transparent parts composited over white")
    return np.asarray(picture)


def _apply_profile(picture: PIL.Image.Image, notes: list[str]) -> PIL.Image.Image:
    """Convert to sRGB by the colour profile embedded in the file, if it says anything else."""
    profile_bytes = picture.info.get("icc_profile")
    if not profile_bytes:
        return picture
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes))
        if "sRGB" in ImageCms.getProfileDescription(profile) and picture.mode == "RGB":
            return picture
        if picture.mode not in ("RGB", "CMYK", "L", "LAB"):
            picture = picture.convert("RGB")
        converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError) as error:
        notes.append(f"colour profile not applied ({error})")
        return picture
    notes.append("colour profile converted to sRGB")
    return picture if converted is None else converted


def _flatten(values: Float32[np.ndarray, "h w c"], notes: list[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Values in [0, 1] with 1 to 4 channels to 8-bit RGB, composited over white."""
    if values.shape[2] in (2, 4):
        alpha = values[..., -1:]
        if alpha.min() < 1:
            notes.append("transparent parts composited over white")
        values = values[..., :-1] * alpha + (1 - alpha)
    rgb = np.broadcast_to(values, (*values.shape[:2], 3))
    return (rgb * 255 + 0.5).astype(np.uint8)


def _encode(array: np.ndarray, file_format: str, quality: int) -> bytes:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise ImageError(f"a picture has shape (h, w), (h, w, 3) or (h, w, 4), got {array.shape}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError(f"floating-point pictures lie in [0, 1], got {array.min():g}..{array.max():g}")
        array = (array * 255 + 0.5).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"a picture is uint8, or floating-point in [0, 1], got {array.dtype}")
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(array)).save(buffer, format=file_format, quality=quality)
    return buffer.getvalue()
