"""Prompts that wait for the image: objects named by a command line or a list, in the grammar of `coordinates`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zim_plugins.core.coordinates import BoxWords, ClickWords, ObjectWords, parse_box, parse_point
from zim_plugins.core.coordinates import object_from_json as words_from_json
from zim_plugins.core.coordinates import object_from_text as words_from_text
from zim_plugins.core.prompt import Prompt

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptText:
    """One object as text names it; `on` makes the prompt once the image's size is known.

    >>> PromptText.from_json({"points": [["40%", "50%"]]}).on((100, 200)).points.tolist()
    [[80.0, 50.0]]
    """

    points: tuple[ClickWords, ...] = ()
    """Clicks x, y, label (1 object, 0 background)."""
    box: BoxWords | None = None
    """Corners x1, y1, x2, y2."""

    def __post_init__(self) -> None:
        if not self.points and self.box is None:
            raise ValueError("no prompt: give --point x,y (repeatable; x,y,0 for background) or --box x1,y1,x2,y2")
        # Faults that do not hang on the image's size are found before one is read.
        self._prompt((1 << 20, 1 << 20))
        values = self._words.coordinates
        if (
            not any(c.is_share for c in values)
            and max(c.value for c in values) <= 1
            and any(c.value % 1 for c in values)
        ):
            logger.warning(
                "coordinates are pixels: %s lies in the first one; shares of the image are written 40%%,50%%", self
            )

    @classmethod
    def from_text(cls, text: str) -> "PromptText":
        """Read one object as `Prompt.from_text` takes it.

        Raises:
            ValueError: it is malformed or names nothing.
        """
        words = words_from_text(text)
        return cls(words.points, words.box)

    @classmethod
    def from_json(cls, row: Any) -> "PromptText":
        """Read one object as `Prompt.from_json` takes it, but for the salient one, which nothing points at.

        Raises:
            ValueError: it is malformed or names nothing; the message names the key.
        """
        words = words_from_json(row)
        if words.is_salient:
            raise ValueError("salient: nothing points at the salient object: give no object at all for it")
        return cls(words.points, words.box)

    def __str__(self) -> str:
        return str(self._words)

    def on(self, size: tuple[int, int]) -> Prompt:
        """Return the prompt on an image of `size` (H, W), in pixels.

        Raises:
            ValueError: it names nothing there.
        """
        prompt = self._prompt(size)
        prompt.check_inside(size)
        return prompt

    def sized(self, size: tuple[int, int]) -> Prompt:
        """Return the prompt in pixels of an image of `size` (H, W), without a look at whether it lies there.

        >>> PromptText.from_text("50%,50%,0").sized((10, 20)).points.tolist()
        [[10.0, 5.0]]
        """
        return self._prompt(size)

    def to_json(self) -> dict[str, Any]:
        """Return `points` and `box` as `Prompt.to_json` does, shares as texts such as "40%"."""
        return self._words.to_json()

    @property
    def _words(self) -> ObjectWords:
        return ObjectWords(self.points, self.box)

    def _prompt(self, size: tuple[int, int] | None) -> Prompt:
        points, labels, box = self._words.px(size)
        return Prompt(points=points, labels=labels, box=box)


def parse_object(text: str) -> PromptText:
    """Read one object: clicks and at most one box, divided by semicolons.

    >>> parse_object("9,9;1,1,0").to_json()
    {'points': [[9.0, 9.0, 1], [1.0, 1.0, 0]]}

    Raises:
        ValueError: nothing was given, or a text is malformed.
    """
    return PromptText.from_text(text)


def parse_objects(points: Sequence[str], boxes: Sequence[str], also: Sequence[str] = ()) -> tuple[PromptText, ...]:
    """Read the objects of a command line: the clicks name one, and so does each box.

    Args:
        points: all of one object; with one box, of what is in the box.
        boxes: one for each object.
        also: further objects, as `parse_object` takes them.

    Raises:
        ValueError: a text is malformed, or clicks stand beside several boxes.

    >>> [str(one) for one in parse_objects(["9,9"], ["1,2,30,40"])]
    ['9,9;1,2,30,40']
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

    >>> parse_prompt(["40%,50%"], size=(10, 20)).points.tolist()
    [[8.0, 5.0]]
    """
    text = prompt_text(points, box)
    return text._prompt(None) if size is None else text.on(size)
