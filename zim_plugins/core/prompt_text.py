"""The grammar of prompts as text, one for all commands and lists: pixels, or shares of the image with a percent sign.

A click is "x,y" or "x,y,label", a box "x1,y1,x2,y2"; 40% is two fifths of the image's width or height. An object is
clicks and at most one box, divided by semicolons.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zim_plugins.core.prompt import Prompt

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class PromptText:
    """One object as text names it; `on` makes the prompt once the image's size is known."""

    points: tuple[tuple[Coordinate, Coordinate, int], ...] = ()
    """Clicks x, y, label (1 object, 0 background)."""
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    """Corners x1, y1, x2, y2."""

    def __post_init__(self) -> None:
        if not self.points and self.box is None:
            raise ValueError("no prompt: give --point x,y (repeatable; x,y,0 for background) or --box x1,y1,x2,y2")
        # Faults that do not hang on the image's size are found before one is read.
        self._prompt((1 << 20, 1 << 20))
        values = [c for x, y, _ in self.points for c in (x, y)] + list(self.box or ())
        if (
            not any(c.is_share for c in values)
            and max(c.value for c in values) <= 1
            and any(c.value % 1 for c in values)
        ):
            logger.warning(
                "coordinates are pixels: %s lies in the first one; shares of the image are written 40%%,50%%", self
            )

    def __str__(self) -> str:
        clicks = [f"{x},{y}" + ("" if label else ",0") for x, y, label in self.points]
        return ";".join(clicks + ([",".join(map(str, self.box))] if self.box else []))

    def on(self, size: tuple[int, int]) -> Prompt:
        """Return the prompt on an image of `size` (H, W), in pixels.

        Raises:
            ValueError: it names nothing there.
        """
        prompt = self._prompt(size)
        prompt.check_inside(size)
        return prompt

    def to_json(self) -> dict[str, Any]:
        """Return `points` and `box` as `Prompt.to_json` does, shares as texts such as "40%"."""
        row: dict[str, Any] = {}
        if self.points:
            row["points"] = [[x.to_json(), y.to_json(), label] for x, y, label in self.points]
        if self.box is not None:
            row["box"] = [c.to_json() for c in self.box]
        return row

    @property
    def _is_in_shares(self) -> bool:
        return any(c.is_share for c in [c for x, y, _ in self.points for c in (x, y)] + list(self.box or ()))

    def _prompt(self, size: tuple[int, int]) -> Prompt:
        height, width = size
        xy = np.array([[x.px(width), y.px(height)] for x, y, _ in self.points]).reshape(-1, 2)
        labels = np.array([label for _, _, label in self.points], dtype=np.int64)
        box = None
        if self.box is not None:
            box = np.array([c.px(side) for c, side in zip(self.box, (width, height) * 2, strict=True)])
        return Prompt(points=xy if len(xy) else None, labels=labels if len(xy) else None, box=box)


def parse_point(text: str) -> tuple[Coordinate, Coordinate, int]:
    """Read "x,y" or "x,y,label" (label 1 foreground, 0 background)."""
    parts = text.split(",")
    try:
        if len(parts) not in (2, 3):
            raise ValueError
        x, y = _coordinate(parts[0]), _coordinate(parts[1])
        label = int(parts[2]) if len(parts) == 3 else 1
    except ValueError:
        raise ValueError(
            f"a click is x,y or x,y,label in pixels, for example 320,240 or 10,12,0, or 40%,50%; got {text!r}"
        ) from None
    if label not in (0, 1):
        raise ValueError(f"a click's label is 1 (foreground) or 0 (background); got {text!r}")
    return x, y, label


def parse_box(text: str) -> tuple[Coordinate, Coordinate, Coordinate, Coordinate]:
    """Read "x1,y1,x2,y2"."""
    parts = text.split(",")
    try:
        if len(parts) != 4:
            raise ValueError
        x1, y1, x2, y2 = (_coordinate(part) for part in parts)
    except ValueError:
        raise ValueError(
            f"a box is x1,y1,x2,y2 in pixels, for example 10,20,300,400, or 5%,10%,60%,90%; got {text!r}"
        ) from None
    return x1, y1, x2, y2


def parse_object(text: str) -> PromptText:
    """Read one object: clicks and at most one box, divided by semicolons.

    Raises:
        ValueError: nothing was given, or a text is malformed.
    """
    parts = [part.strip() for part in text.split(";") if part.strip()]
    boxes = [part for part in parts if part.count(",") == 3]
    if len(boxes) > 1:
        raise ValueError(f"an object has one box, got {len(boxes)} in {text!r}")
    return prompt_text([part for part in parts if part not in boxes], boxes[0] if boxes else None)


def parse_objects(points: Sequence[str], boxes: Sequence[str], also: Sequence[str] = ()) -> tuple[PromptText, ...]:
    """Read the objects of a command line: the clicks name one, and so does each box.

    Args:
        points: all of one object; with one box, of what is in the box.
        boxes: one for each object.
        also: further objects, as `parse_object` takes them.

    Raises:
        ValueError: a text is malformed, or clicks stand beside several boxes.
    """
    if points and len(boxes) > 1:
        raise ValueError(
            f"{len(boxes)} boxes name as many objects: which of them do the clicks mean? "
            'Give objects with clicks and a box of their own as --also "x1,y1,x2,y2;x,y"'
        )
    named = [prompt_text((), box) for box in boxes]
    if points:
        named = [prompt_text(points, boxes[0] if boxes else None)]
    return (*named, *(parse_object(text) for text in also))


def prompt_text(points: Sequence[str] = (), box: str | None = None) -> PromptText:
    """Read one object from the texts of its clicks and of its box.

    Raises:
        ValueError: nothing was given, or a text is malformed.
    """
    return PromptText(tuple(map(parse_point, points)), None if box is None else parse_box(box))


def parse_prompt(points: Sequence[str] = (), box: str | None = None, *, size: tuple[int, int] | None = None) -> Prompt:
    """Read one prompt from the command line's texts.

    Args:
        points: as `parse_point` takes them.
        box: as `parse_box` takes it.
        size: of the image (H, W) [px]; needed where coordinates are shares of it.

    Raises:
        ValueError: nothing was given, a text is malformed, or the size is not known.
    """
    text = prompt_text(points, box)
    if size is not None:
        return text.on(size)
    if text._is_in_shares:
        raise ValueError(f"{text} is in shares of the image: give its size")
    return text._prompt((1, 1))


def _coordinate(text: str) -> Coordinate:
    text = text.strip()
    if text.endswith("%"):
        return Coordinate(float(text[:-1]) / 100, is_share=True)
    return Coordinate(float(text))
