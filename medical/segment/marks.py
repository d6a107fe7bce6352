"""Marks: clicks and boxes in a scan's own voxels or in mm, read from text, JSON and tables, and put on its slices."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64

from zim_plugins.core import Prompt

from ..io.nifti import FileSpace
from ..io.placement import SeriesSpace
from ..io.scan import Scan

Units = Literal["voxel", "ras", "lps"]
UNITS = ("voxel", "ras", "lps")
DEFAULT_NAME = "object"
_MARK = re.compile(r"^(?:(?P<name>[^=@]+)=)?(?P<numbers>[^=@]+?)(?:@(?P<slice>\d+))?$")


@dataclass(frozen=True)
class ClickMark:
    """One click.

    >>> ClickMark((30.0, 42.0), slice_index=7).is_inside
    True
    """

    at: tuple[float, ...]
    """Voxel indices or mm, three of them; (x, y) where a slice is named or the scan is an image."""
    is_inside: bool = True
    """Whether the structure is there; False corrects."""
    slice_index: int | None = None
    """Slice along the scan's cutting axis that (x, y) lie on."""


@dataclass(frozen=True)
class BoxMark:
    """One box, on a slice or through several.

    >>> BoxMark((100.0, 80.0), (140.0, 120.0), slice_index=14).high
    (140.0, 120.0)
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    """In voxels the first indices that are outside, in mm the opposite corner."""
    slice_index: int | None = None


@dataclass(frozen=True)
class Marks:
    """All that points at one structure.

    >>> Marks("cord", clicks=(ClickMark((30.0, 42.0, 7.0)),)).units
    'voxel'
    """

    name: str = DEFAULT_NAME
    value: int | None = None
    """Value in the label map; None takes the next free one."""
    clicks: tuple[ClickMark, ...] = ()
    boxes: tuple[BoxMark, ...] = ()
    mask: Path | None = None
    """File of a rough mask on one slice or several."""
    units: Units = "voxel"
    is_sought: bool = False
    """Whether it was looked for by words and not found: an empty structure."""


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


def parse_mark(text: str, kind: Literal["point", "box"]) -> tuple[str, ClickMark | BoxMark]:
    """Read a mark as the command line writes it: [NAME=]NUMBERS[@SLICE].

    >>> parse_mark("cord=30,42,0@7", "point")
    ('cord', ClickMark(at=(30.0, 42.0), is_inside=False, slice_index=7))
    >>> parse_mark("10,20,3,60,70,12", "box")[1].high
    (60.0, 70.0, 12.0)

    Raises:
        ValueError: it cannot be read; the message shows how marks are written.
    """
    found = _MARK.match(text.strip())
    how = (
        "a click is X,Y[,0]@SLICE or I,J,K[,0], such as 120,96@14 or 120,96,14" if kind == "point"
        else "a box is X1,Y1,X2,Y2@SLICE or I1,J1,K1,I2,J2,K2, such as 100,80,140,120@14"
    )  # fmt: skip
    try:
        if found is None:
            raise ValueError
        numbers = tuple(float(part) for part in re.split(r"[,\s]+", found["numbers"].strip()))
        on = None if found["slice"] is None else int(found["slice"])
        mark = _click(numbers, on) if kind == "point" else _box(numbers, on)
    except ValueError:
        raise ValueError(f"{how}, with NAME= before it for one of several structures; got {text!r}") from None
    return (found["name"] or DEFAULT_NAME).strip(), mark


def gather_marks(
    points: Sequence[str] = (), boxes: Sequence[str] = (), masks: Sequence[str] = (), units: Units = "voxel"
) -> list[Marks]:
    """Join the marks of a command line by structure, in order of appearance.

    >>> [one.name for one in gather_marks(["cord=30,42@7", "lung=9,8@7"], ["cord=20,30,40,50@7"])]
    ['cord', 'lung']

    Args:
        points: clicks, [NAME=]X,Y[,0]@SLICE or [NAME=]I,J,K[,0]; a 0 says that it lies outside.
        boxes: [NAME=]X1,Y1,X2,Y2@SLICE or [NAME=]I1,J1,K1,I2,J2,K2.
        masks: files of rough masks, [NAME=]FILE.
        units: of all numbers: voxel indices, or mm as RAS or LPS.

    Raises:
        ValueError: a mark cannot be read, or a structure has two masks.
    """
    found: dict[str, Marks] = {}
    for name, mark in (*(parse_mark(t, "box") for t in boxes), *(parse_mark(t, "point") for t in points)):
        known = found.get(name, Marks(name, units=units))
        if isinstance(mark, BoxMark):
            found[name] = replace(known, boxes=(*known.boxes, mark))
        else:
            found[name] = replace(known, clicks=(*known.clicks, mark))
    for text in masks:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = "", text
        known = found.get(name or DEFAULT_NAME, Marks(name or DEFAULT_NAME, units=units))
        if known.mask is not None:
            raise ValueError(f"{known.name} has two masks: join them into one file")
        found[known.name] = replace(known, mask=Path(path))
    return list(found.values())


def marks_from_json(table: Any, folder: Path = Path()) -> list[Marks]:
    """Read the structures of a prompts file.

    Args:
        table: {"units": "voxel", "structures": [{"name", "value", "points": [[i, j, k, label]], "boxes":
            [[i1, j1, k1, i2, j2, k2]], "mask": FILE}]}; on images points are [x, y, label], boxes [x1, y1, x2, y2].
        folder: that masks are named from.

    Raises:
        ValueError: it is of another form; the message says where.
    """
    if not isinstance(table, dict) or not isinstance(table.get("structures"), list):
        raise ValueError('a prompts file is {"units": "voxel", "structures": [{"name": ..., "points": ...}]}')
    units = table.get("units", "voxel")
    if units not in UNITS:
        raise ValueError(f"units are {', '.join(UNITS)}, got {units!r}")
    found = []
    for number, entry in enumerate(table["structures"], start=1):
        if not isinstance(entry, dict):
            raise ValueError(f"structure {number} is no table")
        if unknown := sorted(set(entry) - {"name", "value", "points", "boxes", "mask"}):
            raise ValueError(f"structure {number}: {', '.join(unknown)} is not read: name, value, points, boxes, mask")
        try:
            clicks = tuple(_click(tuple(map(float, row)), None) for row in entry.get("points", ()))
            boxes = tuple(_box(tuple(map(float, row)), None) for row in entry.get("boxes", ()))
            value = None if entry.get("value") is None else _whole_number(entry["value"])
        except (TypeError, ValueError):
            raise ValueError(
                f"structure {number}: points are [i, j, k, label], boxes [i1, j1, k1, i2, j2, k2], the value a number"
            ) from None
        if not all(isinstance(entry.get(key, ""), str | None) for key in ("name", "mask")):
            raise ValueError(f"structure {number}: name and mask are texts")
        mask = folder / entry["mask"] if entry.get("mask") else None
        found.append(Marks(entry.get("name") or DEFAULT_NAME, value, clicks, boxes, mask, units))
    if len({marks.name for marks in found}) < len(found):
        raise ValueError("two structures of the prompts file have one name: join them")
    return found


def marks_to_json(marks: Sequence[Marks]) -> dict[str, Any]:
    """Write structures as `marks_from_json` reads them; slices are part of the numbers where that can be said."""
    structures = []
    for one in (one for one in marks if not one.is_sought):
        entry: dict[str, Any] = {"name": one.name, "value": one.value}
        if one.clicks:
            entry["points"] = [[*click.at, int(click.is_inside)] for click in one.clicks]
        if one.boxes:
            entry["boxes"] = [[*box.low, *box.high] for box in one.boxes]
        if one.mask is not None:
            entry["mask"] = str(one.mask)
        structures.append(entry)
    return {"units": marks[0].units if marks else "voxel", "structures": structures}


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


def _click(numbers: tuple[float, ...], on: int | None) -> ClickMark:
    """Two coordinates on a named slice or an image, else three, each with a label or without."""
    if on is not None and len(numbers) in (2, 3):
        at, rest = numbers[:2], numbers[2:]
    elif on is None and len(numbers) in (2, 3, 4):
        at, rest = numbers[:3], numbers[3:]
    else:
        raise ValueError
    if any(label not in (0, 1) for label in rest) or not np.isfinite(numbers).all():
        raise ValueError
    return ClickMark(at, not rest or rest[0] == 1, on)


def _box(numbers: tuple[float, ...], on: int | None) -> BoxMark:
    if len(numbers) not in ((4,) if on is not None else (4, 6)) or not np.isfinite(numbers).all():
        raise ValueError
    half = len(numbers) // 2
    return BoxMark(numbers[:half], numbers[half:], on)


def _whole_number(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError
    return int(value)


def _said(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{n:g}" for n in numbers)
