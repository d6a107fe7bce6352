"""Ranges of values at the doors: what arrays may come in, and as what they go on.

Every public function that takes an image takes uint8 in [0, 255], uint16 in [0, 65535] or floating-point values in
[0, 1]; one that takes a matte takes these or booleans. What is anything else is refused here, in one line.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8, UInt16

ImageArray = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 3"]
"""RGB in [0, 255], [0, 65535] or [0, 1], by its type."""
AlphaArray = Float[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]
"""Opacity in [0, 1], [0, 255], [0, 65535], or False and True, by its type."""

OVERSHOOT = 1e-3
"""How far floating-point values may lie outside [0, 1], as resampling leaves them; they are clipped to it."""
_WHITE = {"b": {1: 1}, "u": {1: 255, 2: 65535}}
"""Value of white, by kind and bytes of the type."""


def as_array(values: Any, name: str) -> np.ndarray:
    """Return an array as numpy's; tensors of torch are brought to the CPU.

    Raises:
        TypeError: it is no array: None, a path, a list, an image of Pillow.
    """
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "detach") and hasattr(values, "numpy"):
        try:
            dense = values.detach().cpu()
            return (dense.float() if "bfloat16" in str(dense.dtype) else dense).numpy()
        except (RuntimeError, TypeError) as error:
            raise TypeError(f"the {name} is a tensor that is no array: {one_line(error)}") from None
    kind = type(values).__name__
    if isinstance(values, str | bytes | bytearray) or hasattr(values, "__fspath__"):
        remedy = "read the file first, with read_image(path).rgb or read_alpha(path)"
    elif hasattr(values, "rgb"):
        remedy = "give its .rgb"
    elif hasattr(values, "convert") and hasattr(values, "getbands"):
        remedy = "give np.asarray(image.convert('RGB')), or for a matte np.asarray(image.convert('L'))"
    elif values is None:
        remedy = "give an array"
    else:
        remedy = "give np.asarray(...) of it, of type uint8"
    raise TypeError(f"the {name} must be a numpy array, got {kind}: {remedy}")


def as_mask(values: Any) -> Bool[np.ndarray, "h w"]:
    """Return a mask as it is, its type and shape checked.

    Raises:
        TypeError: no array.
        ValueError: not bool, or of another shape than (h, w).
    """
    array = as_array(values, "mask")
    if array.dtype != np.bool_ or array.ndim != 2:
        raise ValueError(
            f"the mask is bool of shape (h, w), got {array.dtype.name} {array.shape}: cut a matte by alpha > 0.5"
        )
    return array


def one_line(values: Any) -> str:
    """Describe anything for a message: an array by type and shape, all else by its first characters.

    >>> one_line(np.zeros((2, 3))), one_line("x" * 100)[-8:]
    ('float64 (2, 3)', 'xxxxx...')
    """
    if hasattr(values, "shape") and hasattr(values, "dtype"):
        return f"{values.dtype} {tuple(values.shape)}"
    text = " ".join((str(values) if isinstance(values, Exception) else repr(values)).split())
    return text if len(text) <= 80 else text[:77] + "..."


def check_image(image: Any, name: str = "image") -> ImageArray:
    """Return an RGB image as the array that it is, its type, shape and values checked.

    Raises:
        TypeError: no array.
        ValueError: not of shape (h, w, 3), empty, of another type than uint8, uint16 or floating-point, NaN, or
            floating-point values outside [0, 1].

    >>> check_image(np.full((2, 2, 3), 200.0))
    Traceback (most recent call last):
    ValueError: the image holds 200..200 as float64: floating-point values lie in [0, 1]; divide by 255, or use uint8
    """
    array = as_array(image, name)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        hint = ""
        if array.ndim == 2:
            hint = "; make grey RGB by np.repeat(grey[..., None], 3, axis=2)"
        elif array.ndim == 3 and array.shape[2] == 4:
            hint = "; drop the opacity by [..., :3]"
        elif array.ndim == 3 and array.shape[0] == 3:
            hint = "; put the channels last by .transpose(1, 2, 0)"
        raise ValueError(f"the {name} is RGB of shape (h, w, 3), best as uint8, got {array.shape}{hint}")
    _check_values(array, name)
    return array


def to_uint8(image: Any, name: str = "image", *, copy: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """Return an RGB image in [0, 255], rounded; `check_image` says what is taken and what raises.

    Args:
        image: uint8, uint16 or floating-point in [0, 1], of shape (h, w, 3).
        name: what messages call it.
        copy: always return an array of its own; else uint8 comes back as it is.

    >>> to_uint8(np.full((1, 1, 3), 0.5)).tolist()
    [[[128, 128, 128]]]
    """
    array = check_image(image, name)
    if array.dtype == np.uint8:
        return np.array(array, order="C") if copy else array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return from_unit(array, halves_up=True)


def to_unit(image: Any, name: str = "image") -> Float32[np.ndarray, "h w 3"]:
    """Return an RGB image in [0, 1]; `check_image` says what is taken and what raises.

    float32 within [0, 1] comes back as it is, the array itself.

    >>> to_unit(np.full((1, 1, 3), 51, np.uint8)).tolist()
    [[[0.20000000298023224, 0.20000000298023224, 0.20000000298023224]]]
    """
    return unit_values(check_image(image, name))


def from_unit(
    values: Float[np.ndarray, "*n"] | Bool[np.ndarray, "*n"], dtype: Any = np.uint8, *, halves_up: bool = False
) -> Any:
    """Return values in [0, 1] as 8 or 16 bits: clipped and rounded, halves to the even neighbour or always up.

    A mask becomes black and white.

    >>> from_unit(np.array([-1, 0.2, 1.0])).tolist(), from_unit(np.array([0.5]), np.uint16).tolist()
    ([0, 51, 255], [32768])
    >>> from_unit(np.array([False, True])).tolist()
    [0, 255]
    """
    top = np.iinfo(dtype).max
    if values.dtype == np.bool_:
        return np.where(values, top, 0).astype(dtype)
    if halves_up:
        return (np.clip(values, 0.0, 1.0).astype(np.float32) * np.float32(top) + np.float32(0.5)).astype(dtype)
    return np.clip(np.rint(values * np.float32(top)), 0, top).astype(dtype)


def to_alpha(
    alpha: Any, name: str = "matte", *, size: tuple[int, int] | None = None, copy: bool = False
) -> Float32[np.ndarray, "h w"]:
    """Return a matte in [0, 1]; float32 within [0, 1] comes back as it is, the array itself, unless `copy`.

    Args:
        alpha: floating-point in [0, 1], uint8, uint16 or bool, of shape (h, w).
        name: what messages call it.
        size: (H, W) that it must have [px].
        copy: always return an array of its own.

    Raises:
        TypeError: no array.
        ValueError: of another shape, size, type or range.

    >>> to_alpha(np.array([[True, False]])).tolist()
    [[1.0, 0.0]]
    """
    array = as_array(alpha, name)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"the {name} is of shape (h, w), got {array.shape}")
    if size is not None and array.shape != tuple(size):
        raise ValueError(f"the {name} is {array.shape}, the image {tuple(size)} (height, width)")
    _check_values(array, name, booleans=True)
    scaled = unit_values(array)
    return np.array(scaled, order="C") if copy and np.may_share_memory(scaled, array) else scaled


def _check_values(array: np.ndarray, name: str, *, booleans: bool = False) -> None:
    """Raise where type or values are no image's."""
    kind = array.dtype.kind
    if kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"the {name} must be finite: there are NaN or infinite values")
        if low < -OVERSHOOT or high > 1 + OVERSHOOT:
            remedy = "divide by 255, or use uint8" if low >= -OVERSHOOT else "bring them there first"
            raise ValueError(
                f"the {name} holds {low:g}..{high:g} as {array.dtype.name}: floating-point values lie in [0, 1]; "
                f"{remedy}"
            )
    elif array.dtype.itemsize not in _WHITE.get(kind, {}) or (kind == "b" and not booleans):
        raise ValueError(
            f"the {name} is uint8, uint16 or floating-point in [0, 1], got {array.dtype.name}: convert it with "
            ".astype(np.uint8)"
        )


def unit_values(array: np.ndarray) -> Any:
    """Return values of an image or a matte as float32 in [0, 1], by their type, unchecked; floats are clipped to it.

    >>> unit_values(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    if array.dtype.kind == "f":
        values = array.astype(np.float32, copy=False)
        return values if values.min() >= 0 and values.max() <= 1 else values.clip(0.0, 1.0)
    white = _WHITE[array.dtype.kind][array.dtype.itemsize]
    return array.astype(np.float32) / np.float32(white)
