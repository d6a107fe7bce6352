"""Files to upright pixels, before anything is decided about alpha and colour."""

import contextlib
import importlib.util
import io
import struct
import sys
import tempfile
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageFile
import PIL.ImageOps
from jaxtyping import Shaped

from zim_plugins.errors import ImageError
from zim_plugins.imaging.formats import HEAD_BYTES, READ, plugin_for, prepare_plugin, readable_formats
from zim_plugins.imaging.metadata import IPTC_TAG, XMP_TAG, Metadata, read_metadata
from zim_plugins.imaging.ranges import one_line
from zim_plugins.imaging.sources import SAMPLE_PREFIX, check_is_file, sample_path, split_page

MAX_PIXELS = 200_000_000
"""Images above this many pixels are refused from their header, before anything of that size is allocated."""
BROKEN_FILE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(struct.error, zlib.error),
)
"""What decoders raise on damaged files: each was seen, from Pillow's or tifffile's, on files damaged at random."""
SHALLOW_TOP_BYTE = 15
"""Highest upper byte of 16-bit colours that may be 12 bits or fewer in 16."""
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS_PER_SAMPLE, _PLANAR_CONFIGURATION, _PLANES, _SAMPLE_FORMAT, _ICC_PROFILE = 258, 284, 2, 339, 34675
_GREY_AND_ALPHA = "LA;16B"
"""Pillow's raw mode of a PNG of 16 bits, which it reads as RGBA."""
_opening = threading.Lock()
_Stream = io.BufferedReader | io.BytesIO


@runtime_checkable
class ByteStream(Protocol):
    """An open binary file, pipe or buffer."""

    def read(self) -> bytes:
        """All bytes that are left."""
        ...


@dataclass(frozen=True, eq=False)
class Decoded:
    """Upright pixels as the file holds them."""

    pixels: PIL.Image.Image | Shaped[np.ndarray, "h w c"]
    """An array of 1 to 4 channels, of the file's own type, where Pillow has no 8-bit mode for the file."""
    source_mode: str
    """In Pillow's words (`RGB`, `I;16`, `CMYK`...) or tifffile's (`float32x3`)."""
    file_format: str
    """In Pillow's words."""
    metadata: Metadata
    notes: tuple[str, ...]
    low_bytes: PIL.Image.Image | None = None
    """The lower bytes of 16-bit colours whose upper bytes are `pixels`."""
    is_linear: bool = False
    """Whether the values are linear light with premultiplied opacity, as OpenEXR holds them."""


def decode(source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS, deep: bool = False) -> Decoded:
    """Open, check and decode; every fault leaves as an ImageError that names the file.

    Args:
        source: a path, with the page in brackets where another than the first is meant; `sample:NAME`; or an open
            binary stream.
        max_pixels: refuse larger images from their header [px].
        deep: keep all bits of 16-bit colours, which Pillow reduces to 8.
    """
    if isinstance(source, str | Path):
        name = str(source)
        file, page = split_page(name)
        path = sample_path(name) if name.startswith(SAMPLE_PREFIX) else Path(file)
        try:
            check_is_file(path, file)
            with path.open("rb") as stream:
                return _decode_stream(stream, path, name, max_pixels, deep, page)
        except FileNotFoundError:
            raise ImageError(f"{file} does not exist") from None
        except OSError as error:
            raise ImageError(f"cannot read {name if len(name) < 300 else one_line(name)}: {error.strerror}") from error
        except ValueError as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"{name!r} is no path: {error}") from error  # a null character
    if not callable(getattr(source, "read", None)):
        raise TypeError(
            f"an image is read from a path, sample:NAME or an open binary file, got {type(source).__name__}: "
            "wrap bytes in io.BytesIO; an array needs no reading"
        )
    try:
        content = source.read()
    except (OSError, ValueError) as error:  # closed, not readable, or text that is none
        raise ImageError(f"the open file cannot be read: {error}") from None
    if not isinstance(content, bytes):
        raise TypeError(f"an image is read from a file opened in binary mode, got {type(content).__name__} from it")
    return _decode_stream(io.BytesIO(content), None, "the image on standard input", max_pixels, deep, None)


def _decode_stream(
    stream: _Stream, path: Path | None, name: str, max_pixels: int, deep: bool, page: int | None
) -> Decoded:
    # Choose the reader by the first bytes.
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if not head:
        raise ImageError(f"{name} is empty (0 bytes)")
    plugin = plugin_for(head)
    if plugin is not None:
        prepare_plugin(plugin, name)
        if plugin.format == "EXR":
            return _decode_exr(stream, path, name, max_pixels)
    # Open the header; no pixel is decoded yet.
    too_large = f"{name} is too large: more than {max_pixels / 1e6:g} megapixels; reduce it first"
    try:
        with _opening:  # Pillow's limit is one for the whole process: raised to ours while a header is read.
            pillow_limit = PIL.Image.MAX_IMAGE_PIXELS
            PIL.Image.MAX_IMAGE_PIXELS = max(max_pixels, pillow_limit or max_pixels)
            try:
                image = PIL.Image.open(stream, formats=readable_formats())
            finally:
                PIL.Image.MAX_IMAGE_PIXELS = pillow_limit
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise ImageError(too_large) from None
    except PIL.UnidentifiedImageError:
        if head[:4] in _TIFF_MAGIC:
            return _decode_tiff(stream, name, max_pixels, page)
        if plugin is not None:
            raise ImageError(f"{name} is damaged: {plugin.package} cannot read it") from None
        raise ImageError(f"{name} is not an image, or of a format that is not read here (read: {READ})") from None
    except BROKEN_FILE as error:
        raise ImageError(f"{name} is damaged: {error}") from error
    # Turn to the page and check the size.
    if page is not None:
        _turn_to(image, page, name)
    if image.width * image.height > max_pixels:
        raise ImageError(f"{too_large} ({image.width}x{image.height})")
    if image.width < 1 or image.height < 1:
        raise ImageError(f"{name} has no pixels ({image.width}x{image.height})")
    notes = [] if page is not None else _note_frames(image)
    grey_and_alpha = _GREY_AND_ALPHA in str(image.tile)
    source_mode, file_format, low_bytes = image.mode, str(image.format), None
    # Decode the pixels, of deep ones both bytes.
    try:
        if _has_deep_planes(image) or _is_signed(image):
            return _decode_tiff(stream, name, max_pixels, page)  # Pillow takes them for something else
        is_deep = image.mode[0] != "I" and ";16" in str(image.tile)
        image.load()
        if is_deep:
            low_bytes = _low_bytes(stream, image, page, deep, notes)
    except BROKEN_FILE as error:
        raise ImageError(f"{name} is truncated or damaged: {error}") from error
    # Turn the image upright and keep its metadata.
    metadata = Metadata()
    try:
        for each in (image, low_bytes):
            if each is not None:
                PIL.ImageOps.exif_transpose(each, in_place=True)
        metadata = read_metadata(image)
    except BROKEN_FILE:
        notes.append("unreadable EXIF data ignored: the image may be turned")
    if image.mode == "F" or image.mode.startswith("I"):
        return Decoded(np.asarray(image)[..., None], source_mode, file_format, metadata, tuple(notes))
    pixels: PIL.Image.Image = image
    if grey_and_alpha and low_bytes is not None:
        pixels, low_bytes = (PIL.Image.merge("LA", (p.getchannel(0), p.getchannel(3))) for p in (image, low_bytes))
    return Decoded(pixels, source_mode, file_format, metadata, tuple(notes), low_bytes)


def _turn_to(image: PIL.Image.Image, page: int, name: str) -> None:
    count = count_pages(image)
    if page >= count:
        raise ImageError(f"{name} does not exist: the file has {count} page{'s'[: count != 1]}, counted from 0")
    try:
        image.seek(page)
    except BROKEN_FILE as error:
        raise ImageError(f"{name} is damaged: {error}") from error


def count_pages(image: PIL.Image.Image) -> int:
    """Return how many pages or frames an open file holds; 1 where the file is too damaged to tell."""
    try:
        return int(getattr(image, "n_frames", 1))
    except BROKEN_FILE:
        return 1


def _decode_exr(stream: _Stream, path: Path | None, name: str, max_pixels: int) -> Decoded:
    from zim_plugins.imaging.codecs.exr import read_exr

    with contextlib.ExitStack() as stack:
        if path is None:  # the library reads files only
            held = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".exr"))
            held.write(stream.read())
            held.flush()
            path = Path(held.name)
        read = read_exr(path, name, max_pixels)
    return Decoded(
        read.values, f"float32x{read.values.shape[2]}", "EXR", Metadata(exr=read.header), read.notes, is_linear=True
    )


def _is_signed(image: PIL.Image.Image) -> bool:
    """Return whether a TIFF holds signed integers, which Pillow reads as unsigned where they have 16 bits."""
    tags = getattr(image, "tag_v2", {})
    return 2 in tuple(tags.get(_SAMPLE_FORMAT, ()))


def highest_colour(image: PIL.Image.Image) -> int:
    """Return the highest value of 8-bit channels, opacity left out."""
    values = np.asarray(image)
    return int((values[..., :-1] if image.mode in ("RGBA", "LA") else values).max())


def _low_bytes(
    stream: _Stream, image: PIL.Image.Image, page: int | None, deep: bool, notes: list[str]
) -> PIL.Image.Image | None:
    """Return the lower bytes of 16-bit colours where they are wanted, or may be all that there is."""
    if not deep and highest_colour(image) > SHALLOW_TOP_BYTE:
        notes.append("16 bits per channel reduced to 8")
        return None
    return _read_low_bytes(stream, page)


def _has_deep_planes(image: PIL.Image.Image) -> bool:
    """Return whether a TIFF keeps 16-bit channels one after the other."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_PLANAR_CONFIGURATION) == _PLANES and 16 in tags.get(_BITS_PER_SAMPLE, ())


def _read_low_bytes(stream: _Stream, page: int | None) -> PIL.Image.Image:
    """The image once more, decoded to the lower byte of each 16-bit value: the upper one of the other byte order."""
    stream.seek(0)
    image = PIL.Image.open(stream)
    if not isinstance(image, PIL.ImageFile.ImageFile):
        raise ValueError("its 16-bit values cannot be read")
    grey_and_alpha = _GREY_AND_ALPHA in str(image.tile)  # in one byte order only: their bytes pass for 4 channels
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    tiles = []
    for tile in image.tile:
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        raw_mode = str(arguments[0])
        swapped = ("RGBA" if grey_and_alpha else raw_mode[:-1] + other[raw_mode[-1]], *arguments[1:])
        tiles.append(tile._replace(args=swapped if isinstance(tile.args, tuple) else swapped[0]))
    image.tile = tiles
    if page is not None:
        image.seek(page)
    image.load()
    if grey_and_alpha:
        _, grey, _, alpha = image.split()
        image.im = PIL.Image.merge("RGBA", (grey, grey, grey, alpha)).im
    return image


def _note_frames(image: PIL.Image.Image) -> list[str]:
    """Say that only the first of several frames or pages is used; the second view of a phone's MPO is no frame."""
    if image.format == "MPO":
        return []
    try:
        frames = int(getattr(image, "n_frames", 1))
    except BROKEN_FILE:
        return ["later frames are damaged: the first is used"]
    kind = "several pages" if image.format == "TIFF" else "animated"
    return [f"{kind}: the first of {frames} is used"] if frames > 1 else []


def _decode_tiff(stream: _Stream, name: str, max_pixels: int, index: int | None) -> Decoded:
    """Kinds of TIFF that Pillow does not know: floating-point RGB and the like."""
    if importlib.util.find_spec("tifffile") is None:
        raise ImageError(f"{name} is a TIFF that needs tifffile: pip install tifffile, or save it with 8 or 16 bits")
    import tifffile

    notes: list[str] = []
    try:
        stream.seek(0)
        with tifffile.TiffFile(stream) as tiff:
            if (index or 0) >= len(tiff.pages):
                raise ImageError(f"{name} does not exist: the file has {len(tiff.pages)} pages, counted from 0")
            page = tiff.pages[index or 0]
            width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
            if not all(isinstance(value, int) and value > 0 for value in (width, height, samples)):
                raise ImageError(f"{name} is damaged: its header names no size")
            if samples > 4:
                raise ImageError(f"{name} has {samples} channels, an image has 1 to 4")
            if width * height > max_pixels:
                raise ImageError(f"{name} is too large: more than {max_pixels / 1e6:g} megapixels ({width}x{height})")
            if page.axes not in ("YX", "YXS", "SYX"):
                raise ImageError(f"{name} is a TIFF of axes {page.axes}, not an image")
            values = page.asarray()
            icc_profile, xmp, iptc = (page.tags.valueof(tag) for tag in (_ICC_PROFILE, XMP_TAG, IPTC_TAG))
            if page.axes == "SYX":
                values = np.moveaxis(values, 0, -1)
            if len(tiff.pages) > 1 and index is None:
                notes.append(f"several pages: the first of {len(tiff.pages)} is used")
    except ImageError:
        raise
    except (tifffile.TiffFileError, *BROKEN_FILE) as error:
        raise ImageError(f"{name} is truncated, damaged or of an unknown kind of TIFF: {error}") from error
    if values.shape[:2] != (height, width):
        raise ImageError(f"{name} is damaged: {values.shape} where {height}x{width} pixels are promised")
    values = values.reshape(height, width, -1)
    source_mode = f"{values.dtype.name}x{values.shape[2]}"
    metadata = Metadata(
        icc_profile=bytes(icc_profile) if icc_profile else None,
        xmp=bytes(xmp) if isinstance(xmp, bytes) else None,
        iptc=bytes(iptc) if isinstance(iptc, bytes) else None,
    )
    return Decoded(values, source_mode, "TIFF", metadata, tuple(notes))


def page_count(source: str) -> int:
    """Return how many pages or frames a file holds; 1 for what cannot be read, which reading it then says."""
    file, page = split_page(source)
    if page is not None or not Path(file).is_file():
        return 1
    try:
        with Path(file).open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            plugin = plugin_for(head)
            if plugin is not None:
                if plugin.format == "EXR":
                    return 1
                prepare_plugin(plugin, file)
            stream.seek(0)
            if head[:4] in _TIFF_MAGIC and importlib.util.find_spec("tifffile") is not None:
                import tifffile

                with tifffile.TiffFile(stream) as tiff:
                    return max(1, len(tiff.pages))
            with PIL.Image.open(stream, formats=readable_formats()) as image:
                return 1 if image.format == "MPO" else max(1, count_pages(image))
    except (ImageError, PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning, *BROKEN_FILE):
        return 1
