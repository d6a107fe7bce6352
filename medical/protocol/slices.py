"""Slices of a scan that are asked for, and masks of slices put together."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, UInt8

from ..io.scan import Scan


def check_slices(which: str) -> None:
    """Raise ValueError where a choice of slices is none."""
    every = which.startswith("every:") and which[6:].isdigit() and int(which[6:]) > 0
    if which not in ("all", "max-area", "middle") and not every:
        raise ValueError(f"--slices is all, max-area, middle or every:N, got {which!r}")


def selected_frames(scan: Scan, which: str) -> Iterator[int]:
    """Frames that show an object and are asked for: all, max-area, middle or every:N.

    Raises:
        ValueError: none of these.
    """
    areas = np.zeros(len(scan.frames), dtype=np.int64)
    for layer in scan.layers:
        areas += (layer.ids > 0).sum(axis=(1, 2))
    shown = np.flatnonzero(areas).tolist()
    if which == "all":
        yield from shown
    elif which == "max-area":
        yield from [int(areas.argmax())] if shown else []
    elif which == "middle":
        yield from shown[len(shown) // 2 : len(shown) // 2 + 1]
    else:
        check_slices(which)
        yield from shown[:: int(which.removeprefix("every:"))]


def stacked(frames: dict[int, UInt8[np.ndarray, " bytes"]], shape: tuple[int, ...]) -> Bool[np.ndarray, "s h w"]:
    """Predicted frames, a bit for each pixel, as a volume; the others are background."""
    stack = np.zeros(shape, dtype=bool)
    for frame, packed in frames.items():
        stack[frame] = np.unpackbits(packed, count=shape[1] * shape[2]).reshape(shape[1:])
    return stack
