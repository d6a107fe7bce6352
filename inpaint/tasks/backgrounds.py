"""New backgrounds: an image's file, or a colour."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core import read_image


def parse_background(text: str) -> tuple[int, int, int] | None:
    """A colour, RGB in [0, 255], from "#4080ff", "64,128,255" or a name of CSS; None for a file.

    Raises:
        ValueError: the text is neither a file nor a colour.
    """
    if Path(text).is_file() or text.startswith("sample:"):
        return None
    try:
        return as_colour(text)
    except ValueError:
        raise ValueError(
            f'the background {text!r} is neither a file nor a colour, such as "#4080ff", "64,128,255" or "navy"'
        ) from None


def as_colour(text: str) -> tuple[int, int, int]:
    """Return a colour, RGB in [0, 255], from "#4080ff", "64,128,255" or a name of CSS; no file is looked for.

    Example:
        >>> as_colour("#4080ff")
        (64, 128, 255)

    Raises:
        ValueError: the text is no colour.
    """
    from PIL import ImageColor

    numbers = text.split(",")
    if len(numbers) == 3 and all(n.strip().isdecimal() and int(n) <= 255 for n in numbers):
        red, green, blue = (int(n) for n in numbers)
        return red, green, blue
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise ValueError(f'the background {text!r} is no colour, such as "#4080ff", "64,128,255" or "navy"') from None


@lru_cache(maxsize=1)
def read_background(text: str) -> UInt8[np.ndarray, "h w 3"]:
    """The background's image in sRGB; a colour is one pixel, which covers anything.

    Raises:
        ImageError: the file cannot be read.
        ValueError: the text is neither a file nor a colour.
    """
    colour = parse_background(text)
    return read_image(text).rgb if colour is None else np.array([[colour]], dtype=np.uint8)
