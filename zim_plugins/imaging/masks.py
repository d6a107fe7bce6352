"""Masks as people have them: mattes, 0/1 masks, numbers of objects, palettes, JPEG files; read as opacity."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from zim_plugins.errors import ImageError
from zim_plugins.imaging.decode import Decoded, decode
from zim_plugins.imaging.image import MAX_PIXELS, ByteStream, has_alpha, name_of
from zim_plugins.imaging.ranges import unit_values
from zim_plugins.imaging.value_range import to_unit_range

MAX_OBJECTS = 15
"""Whole numbers up to this one count objects; as opacities of 8 bits, 6 % and less, they would hardly show."""
JPEG_SIGMAS = 4.0
"""How far JPEG's own rounding moves black and white, in standard deviations of its error.

On 15 object masks the largest stray value was 3.9 of them on average at qualities 60 and 75, 3.6 at 95.
"""
MAX_STRAY = 0.4
"""Most of the range that is taken as black, and as white."""
LOSSY_STRAY = 0.1
"""The same for lossy WebP and AVIF, which do not tell how they rounded."""
SOFT_EDGE = 1.0
"""Pixels between black and white for each pixel of the edge, beyond which a lossy file holds a soft matte, not a mask.

Hard and antialiased masks had at most 0.94, twelve soft mattes at least 1.2 from quality 90 on and 0.9 at 75.
"""
GREY_TOLERANCE = 24 / 255
"""Largest difference of the channels of a grey image that was saved as a colour JPEG."""


@dataclass(frozen=True, eq=False)
class Mask:
    """An object's opacity, and what was done to read it so.

    >>> Mask(np.ones((2, 3), np.float32)).alpha.shape
    (2, 3)
    """

    alpha: Float32[np.ndarray, "h w"]
    """In [0, 1], upright."""
    notes: tuple[str, ...] = ()
    """What its owner should know."""


def read_mask(source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS) -> Mask:
    """Read a mask or a matte, however it was saved, as opacity in [0, 1].

    The alpha channel counts where the file has one that is not opaque throughout, else the grey values. Besides:

    - Values of 0 and 1 are a mask. Other whole numbers up to `MAX_OBJECTS`, and a coloured palette's indices, count
      objects: with one object it is the mask, of several `FILE#2` is the second.
    - Two colours, one of them black, are a mask.
    - In a JPEG, and in lossy WebP and AVIF, values that compression alone makes of black and white are taken as these,
      unless the edges are those of a soft matte.

    Args:
        source: a path, a path and the number of an object as `FILE#2`, `sample:NAME`, or an open binary stream.
        max_pixels: refuse larger images from their header [px].

    Raises:
        ImageError: as `read_image`; a coloured image; several objects, none of them chosen.

    >>> import io, PIL.Image
    >>> stream = io.BytesIO()
    >>> PIL.Image.fromarray(np.eye(3, dtype=np.uint8)).save(stream, "PNG")
    >>> read_mask(io.BytesIO(stream.getvalue())).alpha.max()
    np.float32(1.0)
    """
    source, number = _split(source)
    decoded, name = decode(source, max_pixels=max_pixels), name_of(source)
    notes: list[str] = [note for note in decoded.notes if "page" in note or "frame" in note or "first" in note]
    numbers = _numbers(decoded)
    if numbers is not None:
        return Mask(_chosen(numbers, number, name, notes), tuple(notes))
    if number is not None:
        raise ImageError(f"{name} holds opacities, not numbers of objects: name it without #{number}")
    values, opacity = _values(decoded, name)
    if opacity is not None and opacity.min() < 1:
        return Mask(np.ascontiguousarray(opacity), tuple(notes))
    stray, kind = _stray(decoded, source)
    alpha = _grey(values, GREY_TOLERANCE if stray else 0.0, name, notes)
    if stray:
        alpha = _levelled(alpha, stray, kind, notes)
    return Mask(np.ascontiguousarray(alpha), tuple(notes))


def mask_path(source: str) -> str:
    """The file of a source that may name an object in it, as `FILE#2`.

    >>> mask_path("labels.png#2")
    'labels.png'
    """
    return str(_split(source)[0])


def _split(source: str | Path | ByteStream) -> tuple[str | Path | ByteStream, int | None]:
    if not isinstance(source, str) or Path(source).exists():
        return source, None
    found = re.fullmatch(r"(.+)#(\d+)", source)
    return (found[1], int(found[2])) if found else (source, None)


def _numbers(decoded: Decoded) -> np.ndarray | None:
    """Numbers of objects, where the values are such."""
    pixels = decoded.pixels
    if isinstance(pixels, np.ndarray):
        if pixels.shape[2] != 1 or pixels.dtype.kind not in "iu" or not 0 < pixels.max() <= MAX_OBJECTS:
            return None
        return pixels[..., 0]
    if decoded.metadata.jpeg is not None:
        return None
    if pixels.mode == "P" and "transparency" not in pixels.info:
        colours = np.array(pixels.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        indices = np.asarray(pixels)
        used = np.unique(indices)
        grey = (colours[used[used < len(colours)]].std(axis=1) == 0).all()
        if not grey or indices.max() <= 1:
            return indices
        values = colours[np.minimum(indices, len(colours) - 1), 0]
        return values if 0 < values.max() <= MAX_OBJECTS else None
    if pixels.mode == "L" and not has_alpha(pixels):
        values = np.asarray(pixels)
        return values if 0 < values.max() <= MAX_OBJECTS else None
    if pixels.mode == "RGB" and not has_alpha(pixels):
        values = np.asarray(pixels)
        same = (values == values[..., :1]).all()
        return values[..., 0] if same and 0 < values.max() <= MAX_OBJECTS else None
    return None


def _chosen(numbers: np.ndarray, number: int | None, name: str, notes: list[str]) -> Float32[np.ndarray, "h w"]:
    """The mask of one object of several."""
    present = [int(value) for value in np.unique(numbers) if value]
    if number is None and len(present) > 1:
        shown = ", ".join(map(str, present[:8])) + (", ..." if len(present) > 8 else "")
        raise ImageError(
            f"{name} numbers several objects ({shown}): choose one as {name}#{present[0]}, more by further masks"
        )
    if number is not None and number not in present:
        raise ImageError(f"{name} has no object {number}: it holds {', '.join(map(str, present)) or 'none'}")
    wanted = number if number is not None else present[0] if present else 1
    notes.append(f"its values are numbers of objects, not opacities: object {wanted} is the mask")
    return (numbers == wanted).astype(np.float32)


def _values(decoded: Decoded, name: str) -> tuple[Float32[np.ndarray, "h w c"], Float32[np.ndarray, "h w"] | None]:
    """Colours in [0, 1], and the opacity where there is one."""
    if isinstance(decoded.pixels, np.ndarray):
        values = to_unit_range(decoded.pixels, name, [])
    elif decoded.pixels.mode in ("L", "1") and not has_alpha(decoded.pixels):
        return unit_values(np.asarray(decoded.pixels.convert("L")))[..., None], None
    else:
        mode = "RGBA" if has_alpha(decoded.pixels) else "RGB"
        values = unit_values(np.asarray(decoded.pixels.convert(mode)))
    if values.shape[2] in (2, 4):
        return values[..., :-1], values[..., -1]
    return values, None


def _grey(
    colours: Float32[np.ndarray, "h w c"], tolerance: float, name: str, notes: list[str]
) -> Float32[np.ndarray, "h w"]:
    """The one channel of a grey image; of two colours, one of them black, the other one's mask."""
    if colours.shape[2] == 1 or (colours == colours[..., :1]).all():
        return colours[..., 0]
    if tolerance and float((colours.max(axis=2) - colours.min(axis=2)).max()) <= tolerance:
        return np.asarray(np.einsum("hwc->hw", colours) / 3, dtype=np.float32)
    lit = (colours > 0).any(axis=2)
    first = colours[lit][0]
    if not lit.all() and (colours[lit] == first).all():
        notes.append("it has two colours: what is not black is the mask")
        return np.asarray(lit, dtype=np.float32)
    raise ImageError(f"{name} is a colour image, not a matte: give a grey image or one with an alpha channel")


def _stray(decoded: Decoded, source: object) -> tuple[float, str]:
    """Share of the range by which lossy compression moves black and white; 0 where it was lossless."""
    tables = decoded.metadata.jpeg
    if tables is not None:
        steps = np.array(tables.quantisation[0], dtype=np.float64)
        # A coefficient errs evenly within half a step, and the transform keeps squared errors.
        return min(MAX_STRAY, JPEG_SIGMAS * float(np.sqrt((steps**2).mean() / 12)) / 255), "JPEG"
    if decoded.file_format == "AVIF":
        return LOSSY_STRAY, "AVIF"
    if decoded.file_format == "WEBP" and isinstance(source, str | Path):
        with Path(source).open("rb") as stream:
            head = stream.read(4096)
        return (0.0, "") if b"VP8L" in head else (LOSSY_STRAY, "lossy WebP")
    return 0.0, ""


def _levelled(
    alpha: Float32[np.ndarray, "h w"], stray: float, kind: str, notes: list[str]
) -> Float32[np.ndarray, "h w"]:
    """Take what compression made of black and white as these, and stretch what lies between."""
    from scipy.ndimage import binary_erosion

    core = alpha > 0.5
    edge = np.count_nonzero(core) - np.count_nonzero(binary_erosion(core))
    between = np.count_nonzero((alpha > stray) & (alpha < 1 - stray))
    if between > SOFT_EDGE * edge:
        notes.append(f"a soft matte in {kind}, taken as it is: its compression adds faint values, PNG would not")
        return alpha
    levelled = np.clip((alpha - np.float32(stray)) / np.float32(1 - 2 * stray), 0, 1).astype(np.float32)
    changed = int(np.count_nonzero((alpha > 0) & (levelled == 0)))
    notes.append(
        f"a mask in {kind}: values within {stray:.0%} of black and white, which its compression explains, are taken as "
        f"these ({changed} px outside the object)"
    )
    return levelled
