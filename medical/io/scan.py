"""Scan: an image or a volume as a stack of frames, its labels, and the way back into the file's own space."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Shaped, UInt8, UInt16

from .errors import ScanFault

MAX_VALUES = 512 * 1024 * 1024
"""Values that one file may hold, by default; larger ones are refused from their header."""


@runtime_checkable
class Space(Protocol):
    """Place of a stack's frames in the file that they came from."""

    def restore(self, stack: Shaped[np.ndarray, "s h w"]) -> Shaped[np.ndarray, "i j k"]:
        """A stack of frames as the file's own array."""
        ...


@dataclass(frozen=True, eq=False)
class Layer:
    """Objects that do not overlap, over all frames."""

    ids: UInt16[np.ndarray, "s h w"]
    """0 where there is none of them."""
    names: dict[int, str]
    """The label of each id; several ids of one label are its instances."""

    @property
    def has_instances(self) -> bool:
        """Return whether a label stands for more than one object."""
        return len(set(self.names.values())) < len(self.names)


@dataclass(frozen=True, eq=False)
class Target:
    """One object on one frame: what a prompt points at and a prediction is measured against."""

    frame: int
    label: str
    instance: int
    """0 where the label is one object."""
    mask: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class Scan:
    """A stack of frames with its labels; an image is a stack of one."""

    frames: UInt8[np.ndarray, "s h w 3"]
    """RGB in [0, 255], after windowing."""
    layers: tuple[Layer, ...]
    spacing_mm: tuple[float, float, float] | None = None
    """Distance of neighbours along (frame, row, column) [mm]; None where the file does not say."""
    space: Space | None = None
    """None for images."""
    notes: tuple[str, ...] = ()
    """What was done to the values that a reader of the results should know."""
    intensity: dict[str, object] = field(default_factory=dict)
    """The window that made the greys: kind, low, high."""
    is_regular: bool = True
    """Whether frames lie at right angles and evenly, so that `spacing_mm` gives distances in three dimensions."""

    def __post_init__(self) -> None:
        for layer in self.layers:
            if layer.ids.shape != self.frames.shape[:3]:
                raise ScanFault(
                    "size",
                    f"the labels are {layer.ids.shape}, the frames {self.frames.shape[:3]} (frame, row, column): "
                    "they must be of one size, nothing is resized",
                )

    @property
    def is_volume(self) -> bool:
        """Return whether there is a third dimension to measure in."""
        return self.space is not None

    @property
    def labels(self) -> list[str]:
        """All labels, in order of appearance."""
        return list(dict.fromkeys(name for layer in self.layers for name in layer.names.values()))

    def targets(self, frame: int) -> Iterator[Target]:
        """The objects that one frame shows."""
        for layer in self.layers:
            ids = layer.ids[frame]
            numbered = layer.has_instances
            for value in np.unique(ids[ids > 0]).tolist():
                if value in layer.names:
                    yield Target(frame, layer.names[value], value if numbered else 0, ids == value)

    def label_stack(self, label: str) -> Bool[np.ndarray, "s h w"]:
        """Return the mask of a label over all frames."""
        stack = np.zeros(self.frames.shape[:3], dtype=bool)
        for layer in self.layers:
            wanted = [value for value, name in layer.names.items() if name == label]
            if wanted:
                stack |= np.isin(layer.ids, wanted)
        return stack


def only_label(scan: Scan, label: str) -> Scan:
    """The scan without its other labels."""
    layers = tuple(Layer(one.ids, {v: n for v, n in one.names.items() if n == label}) for one in scan.layers)
    return replace(scan, layers=layers)


def rename_labels(scan: Scan, names: Mapping[str, str]) -> Scan:
    """Return the scan with other names of its labels."""
    layers = tuple(Layer(one.ids, {v: names.get(n, n) for v, n in one.names.items()}) for one in scan.layers)
    return replace(scan, layers=layers)


def merge_masks(masks: list[tuple[str, Bool[np.ndarray, "s h w"]]]) -> Layer:
    """One layer of masks that do not overlap, one label each; equal labels are joined (the convention for BUSI)."""
    ids = np.zeros(masks[0][1].shape, dtype=np.uint16)
    names: dict[int, str] = {}
    for label, mask in masks:
        value = next((v for v, name in names.items() if name == label), len(names) + 1)
        names[value] = label
        ids[mask] = value
    return Layer(ids, names)
