"""The only place that reads and writes images.

Whatever the file holds, `read_image` answers with 8-bit sRGB, upright, of the width and height that a viewer shows:

- EXIF orientation is applied; an embedded colour profile is converted to sRGB; CMYK becomes RGB.
- Transparency (RGBA, grey + alpha, a transparent palette entry) is composited over white.
- 16-bit values are scaled by 1/65535, or by 1/4095 and the like where none is larger; signed integers by their
  extremes; floating-point values are taken as sRGB in [0, 1] and clipped to it. `value_range` says otherwise.
- OpenEXR's linear light becomes sRGB; what is brighter than white becomes white.
- Of an animation or a file of several pages the first image is used.

What was done beyond plain decoding is said in `Image.notes`. What cannot be read raises `ImageError`.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt8, UInt16

from zim_plugins.errors import ImageError
from zim_plugins.imaging.codecs.png16 import write_png
from zim_plugins.imaging.decode import MAX_PIXELS as MAX_PIXELS
from zim_plugins.imaging.decode import SHALLOW_TOP_BYTE, Decoded, decode, highest_colour
from zim_plugins.imaging.decode import ByteStream as ByteStream
from zim_plugins.imaging.files import atomic_write
from zim_plugins.imaging.formats import WRITERS
from zim_plugins.imaging.ranges import as_array, from_unit, unit_values
from zim_plugins.imaging.sources import STDIN, output_stem
from zim_plugins.imaging.sources import expand_inputs as expand_inputs
from zim_plugins.imaging.sources import output_stems as output_stems
from zim_plugins.imaging.value_range import ValueRange, to_unit_range


@dataclass(frozen=True, eq=False)
class Image:
    """An image as the models want it, and where it came from.

    >>> read_image("sample:coins").size
    (303, 384)
    """

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


def read_image(
    source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS, value_range: ValueRange | None = None
) -> Image:
    """Read an image as upright 8-bit sRGB.

    Args:
        source: a path, `sample:NAME`, or an open binary stream.
        max_pixels: refuse larger images from their header [px].
        value_range: values of black and white, where the file's type and data do not tell.

    Raises:
        ImageError: the file is missing, not an image, damaged, too large, or of a kind without a defined range.

    >>> read_image("sample:coins").rgb.dtype
    dtype('uint8')
    """
    decoded = decode(source, max_pixels=max_pixels, deep=value_range is not None)
    name, notes = name_of(source), list(decoded.notes)
    rgb = to_srgb(decoded, name, notes, value_range)
    return Image(rgb=rgb, name=name, source_mode=decoded.source_mode, notes=tuple(notes))


def name_of(source: str | Path | ByteStream) -> str:
    """Return what messages call a source."""
    return str(source) if isinstance(source, str | Path) else STDIN


def to_srgb(
    decoded: Decoded, name: str, notes: list[str], value_range: ValueRange | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Decoded pixels as the models want them; what is done to them is added to the notes.

    Raises:
        ImageError: they cannot be turned into RGB.
    """
    if decoded.is_linear:
        assert isinstance(decoded.pixels, np.ndarray)
        return _linear_to_srgb(decoded.pixels, decoded.metadata.exr or {}, notes, value_range)
    if isinstance(decoded.pixels, np.ndarray):
        return _flatten(to_unit_range(decoded.pixels, name, notes, value_range), notes)
    image = decoded.pixels
    try:
        if value_range is not None or _is_shallow(decoded):
            image = _in_range(decoded, name, notes, value_range)
        return np.ascontiguousarray(_to_srgb(image, notes))
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name}, of mode {decoded.source_mode}, cannot be turned into RGB: {error}") from error


def full_depth(decoded: Decoded) -> UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]:
    """Return what Pillow decoded as channels last, with the lower bytes of 16-bit colours where they were read."""
    pixels = np.asarray(decoded.pixels)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if decoded.low_bytes is None:
        return pixels
    low = np.asarray(decoded.low_bytes)
    return pixels.astype(np.uint16) << 8 | (low[..., None] if low.ndim == 2 else low)


def _is_shallow(decoded: Decoded) -> bool:
    """Return whether 16-bit colours may be 12 bits or fewer in 16."""
    if decoded.low_bytes is None or isinstance(decoded.pixels, np.ndarray):
        return False
    return highest_colour(decoded.pixels) <= SHALLOW_TOP_BYTE


def _in_range(decoded: Decoded, name: str, notes: list[str], value_range: ValueRange | None) -> PIL.Image.Image:
    """Stretch colours whose black and white are others than the type's; the profile stays."""
    image = decoded.pixels
    assert isinstance(image, PIL.Image.Image)
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ImageError(f"{name} is of mode {image.mode}: --range is for grey and RGB values")
    unit = to_unit_range(full_depth(decoded), name, notes, value_range)
    scaled = from_unit(unit, halves_up=True)
    stretched = PIL.Image.fromarray(scaled.squeeze(2) if image.mode == "L" else scaled)
    stretched.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    return stretched


def _linear_to_srgb(
    values: Float32[np.ndarray, "h w c"], header: Mapping[str, Any], notes: list[str], value_range: ValueRange | None
) -> UInt8[np.ndarray, "h w 3"]:
    from zim_plugins.imaging.codecs.exr import to_display, to_rec709

    values = np.nan_to_num(values, nan=0.0, posinf=65504.0, neginf=0.0)
    alpha = values[..., -1:] if values.shape[2] in (2, 4) else None
    colours = values if alpha is None else values[..., :-1]
    if value_range is not None:
        colours = (colours - np.float32(value_range[0])) / np.float32(value_range[1] - value_range[0])
    rgb = to_rec709(np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3))), dict(header))
    if alpha is not None and alpha.min() < 1:
        notes.append("transparent parts composited over white")
        rgb = rgb + (1 - alpha.clip(0, 1))  # premultiplied
    if rgb.max() > 1:
        notes.append(f"linear light up to {rgb.max():g}: what is brighter than white is white for the model")
    return from_unit(to_display(rgb), halves_up=True)


def read_alpha(source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS) -> Float32[np.ndarray, "h w"]:
    """Read a matte or a mask as opacity in [0, 1], upright.

    The alpha channel is taken where the file has one that is not opaque throughout; else the grey values, or colours
    whose three channels are equal.

    Raises:
        ImageError: as `read_image`, and where the file holds a coloured, opaque image.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     read_alpha(write_image(Path(folder) / "a.png", np.eye(2, dtype=np.float32))).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    decoded, name = decode(source, max_pixels=max_pixels), name_of(source)
    if isinstance(decoded.pixels, np.ndarray):
        values = to_unit_range(decoded.pixels, name, [])
    else:
        if decoded.pixels.mode == "L" and not has_alpha(decoded.pixels):
            return unit_values(np.asarray(decoded.pixels))
        mode = "RGBA" if has_alpha(decoded.pixels) else "RGB"
        values = unit_values(np.asarray(decoded.pixels.convert(mode)))
    colours, alpha = (values[..., :-1], values[..., -1]) if values.shape[2] in (2, 4) else (values, None)
    if alpha is not None and alpha.min() < 1:
        return np.ascontiguousarray(alpha)
    if (colours != colours[..., :1]).any():
        raise ImageError(f"{name} is a colour image, not a matte: give a grey image or one with an alpha channel")
    return np.ascontiguousarray(colours[..., 0])


def write_image(
    path: str | Path, array: UInt8[np.ndarray, "h w *c"] | Float32[np.ndarray, "h w *c"], *, quality: int = 95
) -> Path:
    """Write a grey (h, w), RGB (h, w, 3) or straight-alpha RGBA (h, w, 4) image, whole or not at all.

    Args:
        path: its suffix names the format (.png, .jpg, .webp, .tif); missing folders are made.
        array: uint8, or float32 in [0, 1], which is rounded to 8 bits.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ImageError: the suffix is unknown, the format cannot hold the array, or the disk refuses.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_image(Path(folder) / "a.png", np.zeros((2, 3, 4), np.uint8)).name
    'a.png'
    """
    path, array = Path(path), as_array(array, "image")
    file_format = WRITERS.get(path.suffix.lower())
    if file_format is None:
        raise ImageError(f"cannot write {path}: its suffix is none of {', '.join(WRITERS)}")
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
    """The bytes of a PNG file, the same on all machines; arrays as in `write_image`."""
    return _encode(array, "PNG", 95, repeatable=True)


def has_alpha(image: PIL.Image.Image) -> bool:
    """Return whether pixels have an opacity, of their own or by their palette's."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _to_srgb(image: PIL.Image.Image, notes: list[str]) -> UInt8[np.ndarray, "h w 3"]:
    alpha = None
    if has_alpha(image):
        icc_profile = image.info.get("icc_profile")
        straight = image.convert("RGBA")
        alpha = straight.getchannel("A")
        image = straight.convert("RGB")
        image.info = {} if icc_profile is None else {"icc_profile": icc_profile}
    image = _apply_profile(image, notes).convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        image = PIL.Image.composite(image, PIL.Image.new("RGB", image.size, "white"), alpha)
        notes.append("transparent parts composited over white")
    return np.asarray(image)


def _apply_profile(image: PIL.Image.Image, notes: list[str]) -> PIL.Image.Image:
    """Convert to sRGB by the colour profile embedded in the file, if it says anything else."""
    profile_bytes = image.info.get("icc_profile")
    if not profile_bytes:
        return image
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes))
        if "sRGB" in ImageCms.getProfileDescription(profile) and image.mode == "RGB":
            return image
        if image.mode not in ("RGB", "CMYK", "L", "LAB"):
            image = image.convert("RGB")
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError) as error:
        notes.append(f"colour profile not applied ({error})")
        return image
    notes.append("colour profile converted to sRGB")
    return image if converted is None else converted


def _flatten(values: Float32[np.ndarray, "h w c"], notes: list[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Values in [0, 1] with 1 to 4 channels to 8-bit RGB, composited over white."""
    if values.shape[2] in (2, 4):
        alpha = values[..., -1:]
        if alpha.min() < 1:
            notes.append("transparent parts composited over white")
        values = values[..., :-1] * alpha + (1 - alpha)
    rgb = np.broadcast_to(values, (*values.shape[:2], 3))
    return from_unit(rgb, halves_up=True)


def _encode(array: np.ndarray, file_format: str, quality: int, *, repeatable: bool = False) -> bytes:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise ImageError(f"an image has shape (h, w), (h, w, 3) or (h, w, 4), got {array.shape}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError(f"floating-point images lie in [0, 1], got {array.min():g}..{array.max():g}")
        rounded = np.empty(array.shape, dtype=np.uint8)
        for top in range(0, len(array), 256):  # in bands: large images are large enough once
            rounded[top : top + 256] = array[top : top + 256] * 255 + 0.5
        array = rounded
    if array.dtype != np.uint8:
        raise ImageError(f"an image is uint8, or floating-point in [0, 1], got {array.dtype}")
    buffer = io.BytesIO()
    if file_format == "PNG":
        write_png(buffer, array if array.ndim == 3 else array[..., None], repeatable=repeatable)
    else:
        PIL.Image.fromarray(np.ascontiguousarray(array)).save(buffer, format=file_format, quality=quality)
    return buffer.getvalue()
