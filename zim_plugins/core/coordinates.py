"""The one grammar of an object's clicks and box, as text and as JSON, in pixels or in shares of the image (40%).

A click is "x,y" or "x,y,label", a box "x1,y1,x2,y2"; 40% is two fifths of the image's width or height. As text, an
object is clicks and at most one box, divided by semicolons; as JSON it is {"points": [[x, y], [x, y, label]], "box":
[x1, y1, x2, y2]}, where any number may be such a text. Boxes are exclusive at the far edge.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from zim_plugins.imaging.ranges import one_line

KEYS = ("points", "labels", "box", "salient")
"""What names an object in JSON."""
POINT_FORM = "a click is x,y or x,y,label in pixels, for example 320,240 or 10,12,0, or 40%,50%"
BOX_FORM = "a box is x1,y1,x2,y2 in pixels, for example 10,20,300,400, or 5%,10%,60%,90%"


@dataclass(frozen=True)
class Coordinate:
    """A position along one side of an image."""

    value: float
    """In pixels, or as a share of the side."""
    is_share: bool = False
    """Whether `value` is a share: 0 and 1 are the two ends."""

    def px(self, side_px: int) -> float:
        """Return the position on a side of so many pixels [px]."""
        return self.value * side_px if self.is_share else self.value

    def to_json(self) -> float | str:
        """Return the number of pixels, or the share as text such as "40%"."""
        return str(self) if self.is_share else self.value

    def __str__(self) -> str:
        return f"{self.value * 100:g}%" if self.is_share else f"{self.value:g}"


ClickWords = tuple[Coordinate, Coordinate, int]
"""x, y, label (1 object, 0 background)."""
BoxWords = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
"""x1, y1, x2, y2."""


@dataclass(frozen=True)
class ObjectWords:
    """One object as text or JSON names it, before the image's size is known."""

    points: tuple[ClickWords, ...] = ()
    box: BoxWords | None = None
    is_salient: bool = False
    """Whether the salient object is meant, which nothing points at."""

    @property
    def coordinates(self) -> list[Coordinate]:
        """All coordinates, clicks first."""
        return [c for x, y, _ in self.points for c in (x, y)] + list(self.box or ())

    def px(
        self, size: tuple[int, int] | None
    ) -> tuple[Float[np.ndarray, "_ 2"] | None, Int[np.ndarray, " _"] | None, Float[np.ndarray, " 4"] | None]:
        """Return clicks, labels and box in pixels of an image of `size` (H, W); None for what is not given.

        Raises:
            ValueError: a coordinate is a share, and the size is not given.
        """
        if size is None and any(c.is_share for c in self.coordinates):
            raise ValueError(f"{self} is in shares of the image: give its size")
        height, width = size or (1, 1)
        points, labels, box = None, None, None
        if self.points:
            points = np.array([[x.px(width), y.px(height)] for x, y, _ in self.points])
            labels = np.array([label for _, _, label in self.points], dtype=np.int64)
        if self.box is not None:
            box = np.array([c.px(side) for c, side in zip(self.box, (width, height) * 2, strict=True)])
        return points, labels, box

    def to_json(self) -> dict[str, Any]:
        """Return `points` and `box` as `Prompt.to_json` does, shares as texts such as "40%"."""
        row: dict[str, Any] = {}
        if self.points:
            row["points"] = [[x.to_json(), y.to_json(), label] for x, y, label in self.points]
        if self.box is not None:
            row["box"] = [c.to_json() for c in self.box]
        return {"salient": True} if self.is_salient else row

    def __str__(self) -> str:
        clicks = [f"{x},{y}" + ("" if label else ",0") for x, y, label in self.points]
        return ";".join(clicks + ([",".join(map(str, self.box))] if self.box else []))


def parse_point(text: str) -> ClickWords:
    """Read "x,y" or "x,y,label" (label 1 foreground, 0 background).

    >>> str(parse_point("40%,12.5")[0])
    '40%'

    Raises:
        ValueError: it is malformed; the message shows how a click is written.
    """
    return _click(text.split(","), text)


def parse_box(text: str) -> BoxWords:
    """Read "x1,y1,x2,y2".

    >>> [c.px(200) for c in parse_box("10,20,50%,40")]
    [10.0, 20.0, 100.0, 40.0]

    Raises:
        ValueError: it is malformed; the message shows how a box is written.
    """
    return _box(text.split(","), text)


def object_from_text(text: str) -> ObjectWords:
    """Read one object: clicks and at most one box, divided by semicolons.

    >>> object_from_text("10,20;30,40,0;5%,5%,90%,95%").to_json()["box"]
    ['5%', '5%', '90%', '95%']

    Raises:
        ValueError: it is malformed, names nothing, or has two boxes.
    """
    parts = [part.strip() for part in text.split(";") if part.strip()]
    boxes = [part for part in parts if part.count(",") == 3]
    if len(boxes) > 1:
        raise ValueError(f"an object has one box, got {len(boxes)} in {text!r}")
    if not parts:
        raise ValueError(f"no prompt in {text!r}: give clicks and a box, such as 320,240;10,20,300,400")
    points = tuple(parse_point(part) for part in parts if part not in boxes)
    return ObjectWords(points, parse_box(boxes[0]) if boxes else None)


def object_from_json(row: Any) -> ObjectWords:
    """Read one object of a JSON file: a text as `object_from_text` takes it, or a table with the keys `KEYS`.

    `labels` may stand beside points that have none; what is None or empty counts as not given.

    >>> object_from_json({"points": [[10, "40%"], [5, 6, 0]]}).to_json()
    {'points': [[10.0, '40%', 1], [5.0, 6.0, 0]]}

    Raises:
        ValueError: it is malformed or names nothing; the message names the key and shows the form.
    """
    if isinstance(row, str):
        return object_from_text(row)
    if not isinstance(row, Mapping):
        raise ValueError(
            f'an object is {{"points": [[x, y, label], ...], "box": [x1, y1, x2, y2]}}, or a text such as '
            f'"320,240;10,20,300,400"; got {one_line(row)}'
        )
    given = {key: value for key, value in row.items() if not (value is None or value is False or _is_empty(value))}
    if unknown := sorted(map(str, set(given) - set(KEYS))):
        raise ValueError(f"unknown key {unknown[0]!r}: an object has {', '.join(KEYS)}")
    if "salient" in given:
        if given["salient"] is not True or len(given) > 1:
            raise ValueError("salient is true and stands alone: leave out points and box, or salient")
        return ObjectWords(is_salient=True)
    points = _points(given.get("points", ()))
    if "labels" in given:
        points = _labelled(points, given["labels"], given.get("points", ()))
    box = given.get("box")
    if box is not None:
        with_key = box.split(",") if isinstance(box, str) else box
        box = _box(_listed(with_key, "box", BOX_FORM), box, "box: ")
    if not points and box is None:
        raise ValueError('no prompt: give points, such as [[320, 240]], or a box, such as "box": [10, 20, 300, 400]')
    return ObjectWords(points, box)


def _points(given: Any) -> tuple[ClickWords, ...]:
    if isinstance(given, str):
        given = [part.strip() for part in given.split(";") if part.strip()]
    found = []
    for number, one in enumerate(_listed(given, "points", "points are [[x, y], [x, y, label]]")):
        key = f"points[{number}]: "
        if not isinstance(one, str | Sequence):
            raise ValueError(f"{key}{POINT_FORM}, in a list of its own: [[x, y]]; got {one_line(one)}")
        found.append(_click(one.split(",") if isinstance(one, str) else one, one, key))
    return tuple(found)


def _labelled(points: tuple[ClickWords, ...], labels: Any, rows: Any) -> tuple[ClickWords, ...]:
    """The points with the labels of a list of their own."""
    labels = _listed(labels, "labels", "labels are a list of 1 (object) and 0 (background)")
    if len(labels) != len(points):
        raise ValueError(f"labels: {len(labels)} of them do not match {len(points)} points: give one for each")
    rows = rows.split(";") if isinstance(rows, str) else rows
    if any(len(row.split(",") if isinstance(row, str) else row) > 2 for row in rows):
        raise ValueError("labels: the points have labels of their own: leave one of the two out")
    return tuple((x, y, _label(label, label, "labels: ")) for (x, y, _), label in zip(points, labels, strict=True))


def _click(parts: Sequence[Any], given: Any, key: str = "") -> ClickWords:
    try:
        if len(parts) not in (2, 3):
            raise ValueError
        x, y = _coordinate(parts[0]), _coordinate(parts[1])
        label: Any = 1
        if len(parts) == 3:
            label = parts[2] if isinstance(parts[2], bool) else float(parts[2])
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{key}{POINT_FORM}; got {_quoted(given)}") from None
    return x, y, _label(label, given, key)


def _label(label: Any, given: Any, key: str) -> int:
    if isinstance(label, bool) or not isinstance(label, int | float) or label not in (0, 1):
        raise ValueError(f"{key}a click's label is 1 (foreground) or 0 (background); got {_quoted(given)}")
    return int(label)


def _box(parts: Sequence[Any], given: Any, key: str = "") -> BoxWords:
    try:
        if len(parts) != 4:
            raise ValueError
        x1, y1, x2, y2 = (_coordinate(part) for part in parts)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{key}{BOX_FORM}; got {_quoted(given)}") from None
    return x1, y1, x2, y2


def _coordinate(given: Any) -> Coordinate:
    """Read a number of pixels, or a share as text.

    Raises:
        ValueError: it is neither, or not finite.
    """
    if isinstance(given, bool) or not isinstance(given, str | int | float | np.number):
        raise ValueError
    text = given.strip() if isinstance(given, str) else ""
    value = float(text[:-1]) / 100 if text.endswith("%") else float(given)
    if not math.isfinite(value):
        raise ValueError
    return Coordinate(value, is_share=text.endswith("%"))


def _listed(values: Any, key: str, form: str) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{key}: {form}; got {_quoted(values)}")
    return values


def _quoted(given: Any) -> str:
    return repr(given) if isinstance(given, str) else one_line(given)


def _is_empty(value: Any) -> bool:
    return isinstance(value, str | Sequence) and len(value) == 0
