"""Bytes that a stranger sent, to an image: no program runs, no file is read, nothing larger than allowed is decoded."""

import io

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from zim_plugins.errors import ImageError
from zim_plugins.imaging.raster import read_original
from zim_plugins.server.store import OpenImage

MAX_NAME = 200


def open_image(content: bytes, name: str, session: str, *, max_pixels: int, preview_px: int) -> OpenImage:
    """Decode an uploaded file: of the formats that are read here, none of which runs a program.

    Args:
        content: the file.
        name: what the client calls it.
        session: whose it is.
        max_pixels: larger images are refused from their header.
        preview_px: longest side of the preview.

    Raises:
        ImageError: it is no image, damaged, or too large.
        MissingImagePlugin: its format needs a package that is not installed.
    """
    try:
        original = read_original(io.BytesIO(content), max_pixels=max_pixels)
    except ImageError as error:
        raise type(error)(str(error).replace("the image on standard input", "the file")) from None
    return OpenImage(session, safe_name(name), original, preview_of(original.rgb, preview_px))


def preview_of(rgb: UInt8[np.ndarray, "h w 3"], side_px: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Return an image whose longest side is at most `side_px`; the same array where it is that small already."""
    height, width = rgb.shape[:2]
    if max(height, width) <= side_px:
        return rgb
    by = side_px / max(height, width)
    size = max(1, round(width * by)), max(1, round(height * by))
    small = PIL.Image.fromarray(np.ascontiguousarray(rgb)).resize(size, PIL.Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(small)


def safe_name(name: str) -> str:
    """Return the last part of a client's file name, without what is no letter of a name.

    Example:
        >>> safe_name("../photos/a?b.jpg")
        'ab.jpg'
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(c for c in last if c.isprintable() and c not in '<>:"|?*')[:MAX_NAME].strip(" .")
    return kept or "image"
