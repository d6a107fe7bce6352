"""The only place that reads and writes pictures.

Whatever the file holds, `read_image` answers with 8-bit sRGB, upright, of the width and height that a viewer shows:

- EXIF orientation is applied; an embedded colour profile is converted to sRGB; CMYK becomes RGB.
- Transparency (RGBA, grey + alpha, a transparent palette entry) is composited over white.
- 16-bit values are scaled by 1/65535; floating-point values are taken as sRGB in [0, 1] and clipped to it.
- Of an animation or a file of several pages the first picture is used.

What was done beyond plain decoding is said in `Image.notes`. What cannot be read raises `ImageError`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt8

from zim_plugins.errors import ImageError
from zim_plugins.imaging.decode import MAX_PIXELS as MAX_PIXELS
from zim_plugins.imaging.decode import ByteStream as ByteStream
from zim_plugins.imaging.decode import Decoded, decode, to_unit_range
from zim_plugins.imaging.files import atomic_write
from zim_plugins.imaging.sources import STDIN, output_stem
from zim_plugins.imaging.sources import expand_inputs as expand_inputs
from zim_plugins.imaging.sources import output_stems as output_stems

_WRITERS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}


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


def read_image(source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture as upright 8-bit sRGB.

    Args:
        source: a path, `sample:NAME`, or an open binary stream.
        max_pixels: refuse larger pictures from their header [px].

    Raises:
        ImageError: the file is missing, not a picture, damaged, too large, or of a kind without a defined range.
    """
    decoded = decode(source, max_pixels=max_pixels)
    name, notes = name_of(source), list(decoded.notes)
    rgb = to_srgb(decoded, name, notes)
    return Image(rgb=rgb, name=name, source_mode=decoded.source_mode, notes=tuple(notes))


def name_of(source: str | Path | ByteStream) -> str:
    """What messages call a source."""
    return str(source) if isinstance(source, str | Path) else STDIN


def to_srgb(decoded: Decoded, name: str, notes: list[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Decoded pixels as the models want them; what is done to them is added to the notes.

    Raises:
        ImageError: they cannot be turned into RGB.
    """
    if isinstance(decoded.pixels, np.ndarray):
        return _flatten(to_unit_range(decoded.pixels, name, notes), notes)
    try:
        return np.ascontiguousarray(_to_srgb(decoded.pixels, notes))
    except ValueError as error:
        raise ImageError(f"{name}, of mode {decoded.source_mode}, cannot be turned into RGB: {error}") from error


def read_alpha(source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS) -> Float32[np.ndarray, "h w"]:
    """Read a matte or a mask as opacity in [0, 1], upright.

    The alpha channel is taken where the file has one that is not opaque throughout; else the grey values, or colours
    whose three channels are equal.

    Raises:
        ImageError: as `read_image`, and where the file holds a coloured, opaque picture.
    """
    decoded, name = decode(source, max_pixels=max_pixels), name_of(source)
    if isinstance(decoded.pixels, np.ndarray):
        values = to_unit_range(decoded.pixels, name, [])
    else:
        if decoded.pixels.mode == "L" and not has_alpha(decoded.pixels):
            return np.asarray(decoded.pixels) / np.float32(255)
        mode = "RGBA" if has_alpha(decoded.pixels) else "RGB"
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
    return write_whole(path, lambda stream: stream.write(content))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a file of another name, and give it its own when it is complete.

    Args:
        path: missing folders are made; a file that is there is replaced.
        write: gets the open file.

    Raises:
        ImageError: the disk refuses.
    """
    try:
        with atomic_write(path) as stream:
            write(stream)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def encode_png(array: UInt8[np.ndarray, "h w *c"] | Float32[np.ndarray, "h w *c"]) -> bytes:
    """The bytes of a PNG file, for pipes; arrays as in `write_image`."""
    return _encode(array, "PNG", 95)


def has_alpha(picture: PIL.Image.Image) -> bool:
    """Tell whether pixels have an opacity, of their own or by their palette's."""
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def _to_srgb(picture: PIL.Image.Image, notes: list[str]) -> UInt8[np.ndarray, "h w 3"]:
    alpha = None
    if has_alpha(picture):
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
        rounded = np.empty(array.shape, dtype=np.uint8)
        for top in range(0, len(array), 256):  # in bands: large pictures are large enough once
            rounded[top : top + 256] = array[top : top + 256] * 255 + 0.5
        array = rounded
    if array.dtype != np.uint8:
        raise ImageError(f"a picture is uint8, or floating-point in [0, 1], got {array.dtype}")
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(array)).save(buffer, format=file_format, quality=quality)
    return buffer.getvalue()
