"""Marks: clicks and boxes in a scan's own voxels or in mm, read from text and JSON."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

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
