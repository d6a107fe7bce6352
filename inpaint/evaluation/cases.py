"""Case: an image with an object to remove, and what is known of the truth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8


@dataclass(frozen=True, eq=False)
class Case:
    """The pixels of one case."""

    image: UInt8[np.ndarray, "h w 3"]
    """RGB, with the object."""
    alpha: Float32[np.ndarray, "h w"]
    """The object's true opacity in [0, 1]; a drawn mask where no matte is known."""
    clean: UInt8[np.ndarray, "h w 3"] | None = None
    """RGB without the object, where that is known."""
    foreground: Float32[np.ndarray, "h w 3"] | None = None
    """The object's true straight colours, RGB in [0, 1], where they are known."""


@dataclass(frozen=True)
class Listed:
    """A case that is yet to be read."""

    key: str
    """Its name in all results."""
    files: tuple[str, ...]
    """What it is read from."""
    read: Callable[[], Case]
    """Raises ImageError or ValueError for what cannot be read or does not fit together."""
    subset: str = ""
    category: str = ""
    """What the object is, for CLIP; "" where nobody said."""
