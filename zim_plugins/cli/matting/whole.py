"""Mattes of a whole image, made of the cropped ones of its objects when they are asked for."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    from zim_plugins.core.automatic import ObjectMatte


class WholeMattes:
    """The objects' mattes at the size of the image, one at a time: many of a large image do not fit into memory."""

    def __init__(self, objects: "Sequence[ObjectMatte]") -> None:
        self._objects = objects

    def __iter__(self) -> "Iterator[Float32[np.ndarray, 'h w']]":
        return (one.full() for one in self._objects)

    def __len__(self) -> int:
        return len(self._objects)


def unite_cropped(objects: "Sequence[ObjectMatte]", size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """Return the opacity of all objects together, 1 - (1 - a)(1 - b)..., for an image of `size` (H, W)."""
    union = np.zeros(size, np.float32)
    for one in objects:
        x1, y1, x2, y2 = one.box
        window = union[y1:y2, x1:x2]
        window += one.alpha - window * one.alpha
    return union
