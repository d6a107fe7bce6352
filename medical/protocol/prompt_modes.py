"""Prompts from a reference: Mazurowski's five modes, and the file that gives all models the same.

Modes (Mazurowski et al., Medical Image Analysis 89, 2023): 1 a click in the centre of the largest component; 2 one in
each of at most three; 3 a tight box round the largest; 4 one round each of at most three, predictions joined; 5 one box
round all. Boxes are exclusive at the far edge, as everywhere.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from zim_plugins import imaging
from zim_plugins.core import Prompt

from .clickers import Clicker, PixelClick

MODES = ("mode1", "mode2", "mode3", "mode4", "mode5")
CLICKS = "clicks"
TEXT = "text"
ALIASES = {"point": ("mode1",), "box": ("mode5",), "modes": MODES, CLICKS: (CLICKS,), TEXT: (TEXT,),
           **{m: (m,) for m in MODES}}  # fmt: skip
"""What `--prompts` takes."""
MEANINGS = {
    "mode1": "a click in the largest component",
    "mode2": "a click in each of at most 3 components",
    "mode3": "a box round the largest component",
    "mode4": "a box round each of at most 3 components",
    "mode5": "a box round all",
    TEXT: "boxes that a detector finds by words",
    CLICKS: "clicks on the error, one after the other",
}
MAX_COMPONENTS = 3
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PixelPrompt:
    """A prompt as the protocol counts and stores it: clicks on whole pixels, or boxes; equal ones are asked once.

    `prompts` gives what a model takes. Several boxes are several predictions, joined.
    """

    clicks: tuple[PixelClick, ...] = ()
    boxes: tuple[Box, ...] = ()
    """x1, y1, x2, y2 [px], exclusive at the far edge."""

    @classmethod
    def from_prompts(cls, prompts: Sequence[Prompt]) -> "PixelPrompt":
        """Return what gave these prompts: the inverse of `prompts`.

        >>> PixelPrompt.from_prompts([Prompt.from_box(1, 2, 5, 6)]).boxes
        ((1, 2, 5, 6),)

        Raises:
            ValueError: they are neither clicks nor boxes of whole pixels.
        """
        if not prompts:
            return cls()
        boxes = [prompt.box for prompt in prompts if prompt.box is not None and prompt.points is None]
        if len(boxes) == len(prompts):
            return cls(boxes=tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in boxes))
        if len(prompts) != 1 or prompts[0].box is not None or prompts[0].points is None or prompts[0].labels is None:
            raise ValueError("a prompt of the protocol is clicks, or boxes")
        pairs = zip(prompts[0].points, prompts[0].labels, strict=True)
        return cls(tuple(PixelClick(int(x), int(y), bool(label)) for (x, y), label in pairs))

    def prompts(self) -> tuple[Prompt, ...]:
        """As the models take them, in continuous coordinates of the image."""
        if self.boxes:
            return tuple(Prompt.from_box(*box) for box in self.boxes)
        if not self.clicks:  # words that found nothing
            return ()
        return (Prompt.from_points([(c.x + 0.5, c.y + 0.5, int(c.positive)) for c in self.clicks]),)


def parse_prompts(names: Sequence[str]) -> tuple[str, ...]:
    """Names of modes, and `clicks`, without repeats.

    Raises:
        ValueError: an unknown name, or none.
    """
    unknown = [name for name in names if name not in ALIASES]
    if unknown or not names:
        raise ValueError(f"prompts are {', '.join(ALIASES)}, got {', '.join(unknown) or 'none'}")
    return tuple(dict.fromkeys(mode for name in names for mode in ALIASES[name]))


def components(mask: Bool[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "h w"]]:
    """The largest components that touch by edge or corner, at most three; of equals the later in raster order first."""
    from skimage.measure import label

    numbered = np.asarray(label(mask, connectivity=2))
    areas = np.bincount(numbered.ravel())[1:]
    order = np.argsort(areas, kind="stable")[::-1][:MAX_COMPONENTS]
    return [numbered == i + 1 for i in order.tolist()]


def tight_box(mask: Bool[np.ndarray, "h w"]) -> Box:
    """x1, y1, x2, y2 round the pixels inside, exclusive at the far edge.

    Raises:
        ValueError: the mask is empty.
    """
    box = imaging.tight_box(mask)
    if box is None:
        raise ValueError("an empty mask has no box")
    return box


def point_at(mask: Bool[np.ndarray, "h w"], mode: str, clicker: Clicker) -> PixelPrompt:
    """The prompt of one mode; for `clicks`, the first one.

    Raises:
        ValueError: the mask is empty, or there is no such mode.
    """
    if not mask.any():
        raise ValueError("an empty mask gets no prompt")
    if mode not in (*MODES, CLICKS):
        raise ValueError(f"a mode is {', '.join(MODES)} or {CLICKS}, got {mode!r}")
    rows, columns = imaging.window_of(mask)
    left, top = columns.start, rows.start
    parts = [mask[rows, columns]] if mode in ("mode5", CLICKS) else components(mask[rows, columns])
    if mode in ("mode1", "mode3"):
        parts = parts[:1]
    if mode in ("mode1", "mode2", CLICKS):
        centres = [clicker.centre(part) for part in parts]
        return PixelPrompt(clicks=tuple(PixelClick(x + left, y + top, True) for x, y in centres))
    boxes = [tight_box(part) for part in parts]
    return PixelPrompt(boxes=tuple((x1 + left, y1 + top, x2 + left, y2 + top) for x1, y1, x2, y2 in boxes))


@dataclass(frozen=True)
class PromptRecord:
    """One line of the file of prompts."""

    dataset: str
    case: str
    frame: int
    label: str
    instance: int
    prompt: str
    model: str
    """Whose errors were clicked; empty where the prompt comes from the reference alone."""
    area: int
    """Of the reference [px]: prompts of other masks are refused."""
    given: PixelPrompt

    @property
    def key(self) -> tuple[object, ...]:
        """Return the key that a prompt is found by."""
        return self.dataset, self.case, self.frame, self.label, self.instance, self.prompt, self.model


class PromptBook:
    """Prompts read from an earlier run's file."""

    def __init__(self, records: Iterable[PromptRecord] = ()) -> None:
        self._records = {record.key: record for record in records}

    def __len__(self) -> int:
        return len(self._records)

    def find(
        self, dataset: str, case: str, frame: int, label: str, instance: int, prompt: str, model: str, area: int
    ) -> PixelPrompt | None:
        """The saved prompt of an object: the model's own clicks first, else any model's.

        Raises:
            ValueError: the file's mask had another area.
        """
        place = (dataset, case, frame, label, instance, prompt)
        record = self._records.get((*place, model)) or self._records.get((*place, ""))
        if record is None:
            record = next((r for key, r in self._records.items() if key[:-1] == place), None)
        if record is not None and record.area != area:
            raise ValueError(
                f"the saved prompt of {case}, {label}, frame {frame} belongs to a mask of {record.area} px, "
                f"this one has {area}: the data differ from those of the prompts' file"
            )
        return None if record is None else record.given


def encode_record(record: PromptRecord) -> str:
    """A record as one line of JSON."""
    fields = {
        "dataset": record.dataset, "case": record.case, "frame": record.frame, "label": record.label,
        "instance": record.instance, "prompt": record.prompt, "model": record.model, "area": record.area,
        "prompts": [prompt.to_json() for prompt in record.given.prompts()],
    }  # fmt: skip
    return json.dumps(fields, ensure_ascii=False)


def pop_prompt(fields: dict[str, Any]) -> PixelPrompt:
    """Take a line's prompts out of its fields: a list as `Prompt.from_json` reads it; of runs before 0.2 pixel indices.

    >>> pop_prompt({"clicks": [], "boxes": [[1, 2, 3, 4]]}).boxes  # the outermost pixels inside
    ((1, 2, 4, 5),)
    """
    if "prompts" in fields:
        return PixelPrompt.from_prompts([Prompt.from_json(row) for row in fields.pop("prompts")])
    clicks = tuple(PixelClick(int(x), int(y), bool(label)) for x, y, label in fields.pop("clicks"))
    boxes = tuple((int(a), int(b), int(c) + 1, int(d) + 1) for a, b, c, d in fields.pop("boxes"))
    return PixelPrompt(clicks, boxes)


def read_prompts(path: Path) -> PromptBook:
    """Prompts that an earlier run wrote.

    Raises:
        ValueError: a line is not one of ours; the message says which.
    """
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            fields = json.loads(line)
            records.append(PromptRecord(given=pop_prompt(fields), **fields))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"{path}, line {number}, is no prompt that zim-medseg wrote") from None
    return PromptBook(records)
