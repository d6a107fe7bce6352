"""Placing: marks in a scan's own voxels or in mm, put on its slices."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float64

from zim_plugins.core import Prompt

from ..io.nifti import FileSpace
from ..io.placement import SeriesSpace
from ..io.scan import Scan
from .marks import BoxMark, ClickMark, Marks, Units


@dataclass(eq=False)
class SliceMarks:
    """Prompts of a structure on one frame, in continuous pixels of the frame (x to the right, y down)."""

    points: list[tuple[float, float, int]] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    mask: Bool[np.ndarray, "h w"] | None = None

    @property
    def names_an_object(self) -> bool:
        """Return whether there is a box, a mask or a click inside; background clicks alone correct what is known."""
        return self.box is not None or self.mask is not None or any(label for *_, label in self.points)

    def prompt(self, box: tuple[float, float, float, float] | None = None) -> Prompt:
        """As a model takes it; `box` stands in where none was given."""
        kept = self.box or box
        points = np.array([p[:2] for p in self.points]) if self.points else None
        labels = np.array([p[2] for p in self.points]) if self.points else None
        alpha = None if self.mask is None else self.mask.astype(np.float32)
        return Prompt(points=points, labels=labels, box=None if kept is None else np.array(kept), alpha=alpha)


@dataclass(frozen=True, eq=False)
class PlacedMarks:
    """A structure's prompts on the frames of a stack."""

    name: str
    value: int
    slices: dict[int, SliceMarks]
    limits: tuple[int, int] | None = None
    """First and last frame that it may reach: those of its box, where that goes through several slices."""
    notes: tuple[str, ...] = ()
    """What was done to its prompts."""


def place_marks(marks: Sequence[Marks], scan: Scan) -> list[PlacedMarks]:
    """Put marks on the frames of a scan, and give every structure a value.

    Raises:
        ValueError: a mark lies outside the scan, or lacks its slice; the message says which.
    """
    taken = [one.value for one in marks if one.value is not None]
    if len(set(taken)) < len(taken) or any(not 0 < value <= np.iinfo(np.uint16).max for value in taken):
        raise ValueError(f"values are different numbers in 1..65535, got {taken}")
    free = (value for value in range(1, len(marks) + len(taken) + 2) if value not in taken)
    placed = []
    for one in marks:
        place = _Placer(scan, one.units)
        slices: dict[int, SliceMarks] = {}
        limits = None
        for box in one.boxes:
            first, last, edges = place.box(box)
            middle = (first + last) // 2
            own = slices.setdefault(middle, SliceMarks())
            if own.box is not None:
                raise ValueError(f"{one.name} has two boxes on one slice: name two structures, or draw one box")
            own.box = edges
            if last > first:
                if limits is not None:
                    raise ValueError(f"{one.name} has two boxes that go through several slices: draw one")
                limits = first, last
        for given in one.clicks:
            click = place.understood(given)
            frame, x, y = place.click(click)
            slices.setdefault(frame, SliceMarks()).points.append((x, y, int(click.is_inside)))
        if not slices and one.mask is None and not one.is_sought:
            raise ValueError(f"nothing points at {one.name}: give it a click, a box or a mask")
        value = one.value if one.value is not None else next(free)
        placed.append(PlacedMarks(one.name, value, slices, limits, tuple(place.notes)))
    return placed


def slice_numbers(scan: Scan) -> list[int]:
    """Return what the file calls each frame: its index along the axis that the scan is cut along."""
    if isinstance(scan.space, FileSpace | SeriesSpace):
        return scan.space.numbers()
    return list(range(len(scan.frames)))


def resolve_marks(marks: Sequence[Marks], scan: Scan, values: dict[str, int]) -> list[Marks]:
    """Return marks that stand for themselves: slices put into the coordinates, and the values that were given."""
    resolved = []
    for one in marks:
        place = _Placer(scan, one.units)
        clicks = tuple(place.resolved_click(place.understood(click)) for click in one.clicks)
        boxes = tuple(place.resolved_box(box) for box in one.boxes)
        resolved.append(replace(one, value=values.get(one.name, one.value), clicks=clicks, boxes=boxes))
    return resolved


class _Placer:
    """Converter of a scan's own coordinates to frames."""

    def __init__(self, scan: Scan, units: Units) -> None:
        self.space = scan.space if isinstance(scan.space, FileSpace | SeriesSpace) else None
        self.units = units
        self.notes: list[str] = []
        self.size = tuple(int(side) for side in scan.frames.shape[:3])
        if units != "voxel" and self.space is None:
            raise ValueError("the scan does not say where it lies: give marks in voxels")

    def understood(self, click: ClickMark) -> ClickMark:
        """On an image the third of three numbers is the label; on a single slice it may be either and is refused."""
        if self.size[0] > 1 or click.slice_index is not None or len(click.at) != 3 or self.units != "voxel":
            return click
        if self.space is not None and click.is_inside:
            raise ValueError(f"{_said(click.at)} on a scan of one slice: write X,Y@0 or I,J,K,LABEL, LABEL 1 or 0")
        if self.space is not None:
            return click
        if click.at[2] not in (0, 1):
            raise ValueError(f"{_said(click.at)}: on an image a click is X,Y or X,Y,LABEL, LABEL 1 or 0")
        return ClickMark(click.at[:2], click.at[2] == 1)

    def click(self, click: ClickMark) -> tuple[int, float, float]:
        """Frame, and continuous x and y on it [px]."""
        at = self._whole(click.at, click.slice_index)
        if isinstance(self.space, SeriesSpace) and self.units == "voxel" and round(at[2]) not in self.space.grid:
            raise ValueError(f"the click {_said(click.at)} lies outside the series' slices, or on one that is missing")
        place = self._to_stack(at)
        frame = round(place[0])
        on_it = (place[1:] >= -0.5).all() and (place[1:] <= np.array(self.size[1:]) - 0.5).all()
        if not (0 <= frame < self.size[0] and on_it):
            raise ValueError(f"the click {_said(click.at)} lies outside the scan: {self._extent()}")
        return frame, float(place[2] + 0.5), float(place[1] + 0.5)

    def box(self, box: BoxMark) -> tuple[int, int, tuple[float, float, float, float]]:
        """First and last frame, and edges x1, y1, x2, y2 [px]."""
        low, high = self._whole(box.low, box.slice_index), self._whole(box.high, box.slice_index)
        if self.units == "voxel":
            # From the first index up to, not including, the second: the edges of voxels lie half an index outside.
            low, high = np.minimum(low, high), np.maximum(low, high)
            if box.slice_index is not None or len(box.low) == 2:
                high[self._cut_axis()] += 1
            low, high = low - 0.5, high - 0.5
        one, other = self._to_stack(low), self._to_stack(high)
        near, far = np.minimum(one, other) + 0.5, np.maximum(one, other) + 0.5
        first, last = int(np.ceil(near[0] - 0.5 - 1e-6)), int(np.floor(far[0] - 0.5 + 1e-6))
        if last < first:  # thinner than a slice and between two centres
            first = last = int(np.floor((near[0] + far[0]) / 2))
        limits = np.array(self.size, dtype=float)
        if (near >= limits).any() or (far <= 0).any() or (far[1:] - near[1:] <= 0).any():
            raise ValueError(f"the box {_said((*box.low, *box.high))} covers no voxel of the scan: {self._extent()}")
        if (near < -1e-6).any() or (far > limits + 1e-6).any():
            self.notes.append(f"the box {_said((*box.low, *box.high))} reaches beyond the scan: cut off at its border")
        near, far = np.clip(near, 0, limits), np.clip(far, 0, limits)
        first, last = max(first, 0), min(last, self.size[0] - 1)
        return first, last, (float(near[2]), float(near[1]), float(far[2]), float(far[1]))

    def resolved_click(self, click: ClickMark) -> ClickMark:
        """The click with its slice among the coordinates; on an image as it is."""
        if click.slice_index is None:
            return click
        return ClickMark(tuple(self._whole(click.at, click.slice_index).tolist()), click.is_inside)

    def resolved_box(self, box: BoxMark) -> BoxMark:
        """The box with its slice among the coordinates; on an image as it is."""
        if box.slice_index is None:
            return box
        low, high = (self._whole(corner, box.slice_index) for corner in (box.low, box.high))
        high[self._cut_axis()] += 1
        return BoxMark(tuple(low.tolist()), tuple(high.tolist()))

    def _whole(self, at: tuple[float, ...], slice_index: int | None) -> Float64[np.ndarray, " 3"]:
        """Three coordinates: of an image or a named slice, with the slice put in."""
        if len(at) == 3 and slice_index is None:
            return np.array(at, dtype=np.float64)
        if len(at) != 2:
            raise ValueError(f"{_said(at)} names three coordinates and a slice: leave one out")
        if self.units != "voxel":
            raise ValueError(f"{_said(at)}: in mm a place has three coordinates")
        if self.size[0] > 1 and slice_index is None:
            raise ValueError(f"{_said(at)} lies on which slice? Write {_said(at)}@SLICE or three coordinates")
        return np.insert(np.array(at, dtype=np.float64), self._cut_axis(), float(slice_index or 0))

    def _cut_axis(self) -> int:
        """The scan's own axis along which it is cut into frames."""
        if not isinstance(self.space, FileSpace):
            return 2
        moved = self.space.to_stack(np.vstack([np.zeros(3), np.eye(3)]))
        return int(np.abs(moved[1:, 0] - moved[0, 0]).argmax())

    def _to_stack(self, at: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, " 3"]:
        """(frame, row, column), whole numbers at the centres."""
        if self.space is None:
            return at[::-1].copy()
        if self.units == "voxel":
            return self.space.to_stack(at[None])[0]
        return self.space.locate((at if self.units == "ras" else at * [-1, -1, 1])[None])[0]

    def _extent(self) -> str:
        if self.size[0] == 1 and self.space is None:
            return f"it is an image of {self.size[2]} x {self.size[1]} pixels, and its slice is 0"
        shape = self.space.shape if isinstance(self.space, FileSpace) else self.size[::-1]
        return f"it has {' x '.join(str(n) for n in (shape if self.size[0] > 1 else self.size[:0:-1]))} voxels"


def _said(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{n:g}" for n in numbers)
