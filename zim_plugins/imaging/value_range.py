"""Meaning of an image file's numbers: which value is black and which is white."""

import numpy as np
from jaxtyping import Float32, Shaped

from zim_plugins.errors import ImageError

ValueRange = tuple[float, float]
"""Values of black and of white."""
SHALLOW_BITS = (8, 10, 12)
"""Depths that 16-bit files are taken for where no value exceeds them: scanners and cameras write such files."""
_DARK_BITS = 14


def to_unit_range(
    values: Shaped[np.ndarray, "h w c"], name: str, notes: list[str], value_range: ValueRange | None = None
) -> Float32[np.ndarray, "h w c"]:
    """Scale the values of a file to [0, 1]; the last of 2 or 4 channels is opacity and has its own range.

    Args:
        values: of 1 to 4 channels, of the file's own type.
        name: of the file, for messages.
        notes: what is decided here is added to them.
        value_range: values of black and white of the colours; by default of the type, unless the data tell otherwise:
            8, 10 or 12 bits in 16, and the extremes of signed integers.

    Raises:
        ImageError: values without a defined range.
    """
    if values.shape[2] in (2, 4):
        colours = to_unit_range(values[..., :-1], name, notes, value_range)
        opacity = to_unit_range(values[..., -1:], name, [])
        return np.concatenate([colours, opacity], axis=2)
    if values.dtype.kind == "b":
        return values.astype(np.float32)
    if values.dtype.kind not in "iuf":
        raise ImageError(f"{name} holds {values.dtype.name} values, which are no image")
    if value_range is not None:
        low, high = value_range
    elif values.dtype.kind == "f":
        return _clip_floats(values, name, notes)
    else:
        low, high = range_of(values, name, notes)
    scaled = np.empty(values.shape, np.float32)
    for top in range(0, len(values), 512):  # in bands: large images are large enough once
        band = np.nan_to_num(values[top : top + 512].astype(np.float32), nan=low, posinf=high, neginf=low)
        scaled[top : top + 512] = ((band - np.float32(low)) / np.float32(high - low)).clip(0.0, 1.0)
    return scaled


def range_of(values: Shaped[np.ndarray, "h w c"], name: str, notes: list[str]) -> ValueRange:
    """Return the values of black and white that integers mean, by their type and by what they hold.

    Raises:
        ImageError: 32-bit integers beyond 16 bits.
    """
    least, most = int(values.min()), int(values.max())
    signed = values.dtype.kind == "i"
    if values.dtype.itemsize == 1 and not signed:
        return 0, 255
    if least < 0:
        if values.dtype.itemsize > 2 and (least < -32768 or most > 32767):
            raise ImageError(f"{name} holds {values.dtype.name} values {least}..{most}: give their range as --range")
        notes.append(
            f"signed values {least}..{most}: their extremes are taken for black and white; --range says others"
        )
        return least, max(most, least + 1)
    if most > 65535:
        raise ImageError(f"{name} holds {values.dtype.name} values up to {most}: give their range as --range 0,{most}")
    for bits in SHALLOW_BITS:
        if 0 < most < 1 << bits:
            notes.append(f"16-bit values up to {most} taken for {bits} bits; --range 0,65535 says otherwise")
            return 0, (1 << bits) - 1
    if most < 1 << _DARK_BITS:
        notes.append(f"16-bit values up to {most} only: dark, unless --range 0,{(1 << _DARK_BITS) - 1} is meant")
    # Pillow's signed 32-bit mode also carries what a file stored with 16 bits.
    return 0, 32767 if signed and values.dtype.itemsize == 2 else 65535


def parse_range(text: str) -> ValueRange:
    """Read "low,high".

    >>> parse_range("0,4095")
    (0.0, 4095.0)

    Raises:
        ValueError: not two finite numbers, the first of them the smaller.
    """
    try:
        low, high = map(float, text.split(","))
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError
    except ValueError:
        raise ValueError(f"a range is low,high, the values of black and white, as 0,4095; got {text!r}") from None
    return low, high


def _clip_floats(values: np.ndarray, name: str, notes: list[str]) -> Float32[np.ndarray, "h w c"]:
    finite = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    if (finite > 1).mean() > 0.5:
        raise ImageError(f"{name} holds floating-point values up to {finite.max():g}: give their range as --range")
    if finite.min() < 0 or finite.max() > 1 or not np.isfinite(values).all():
        notes.append("floating-point values clipped to 0..1")
    return np.clip(finite, 0.0, 1.0)
