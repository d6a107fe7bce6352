"""Orders: what is to be done with each picture, from the command line or from a list file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.cli.lists import read_csv_rows, read_json_list
from zim_plugins.core import Image, Mask, Prompt, PromptText, mask_path, parse_objects

COLUMNS = ("image", "points", "box", "mask", "also", "prompt", "background")
"""What a list's rows may hold."""
SAMPLE_PREFIX = "sample:"


@dataclass(frozen=True)
class Order:
    """The objects of one picture, and what shall take their place."""

    prompts: tuple[PromptText, ...] = ()
    """One per object that a model finds."""
    masks: tuple[str, ...] = ()
    """Files of mattes or masks, one per object."""
    prompt: str | None = None
    """What a diffusion model shall paint."""
    background: str | None = None
    """A file or a colour."""
    missing: str = ""
    """What is missing for this image, in words."""

    def check(self, image: Image) -> None:
        """Raise ValueError where a prompt lies outside the picture, or something is missing."""
        if self.missing:
            raise ValueError(self.missing)
        for prompt in self.prompts:
            prompt.on(image.size)

    def target(self, image: Image) -> tuple[list[Prompt | Float32[np.ndarray, "h w"]], list[str]]:
        """The objects, with the masks read, and what was done to read them.

        Raises:
            ImageError: a mask cannot be read.
            ValueError: it has another size than the picture, or a prompt lies outside it.
        """
        masks = {path: _read_mask(path, image) for path in self.masks}
        notes = [f"{path}: {note}" for path, mask in masks.items() for note in mask.notes]
        return [*(mask.alpha for mask in masks.values()), *(one.on(image.size) for one in self.prompts)], notes

    def in_full(self) -> dict[str, Any]:
        """All that the order says, with the digests of the files that it names."""
        named = [*(mask_path(mask) for mask in self.masks), *([self.background] if self.background else [])]
        digests = {name: sha256(Path(name).read_bytes()).hexdigest() for name in named if Path(name).is_file()}
        return {"objects": self.to_json(), "text": self.prompt, "background": self.background, "files": digests}

    def to_json(self) -> dict[str, Any]:
        """One object as the keys `points` and `box`, or `mask`; several as a list under `objects`."""
        objects: list[dict[str, Any]] = [{"mask": mask} for mask in self.masks]
        objects += [prompt.to_json() for prompt in self.prompts]
        return objects[0] if len(objects) == 1 else {"objects": objects}


def _read_mask(path: str, image: Image) -> Mask:
    from zim_plugins.core import read_mask

    mask = read_mask(path)
    if mask.alpha.shape != image.size:
        (height, width), (h, w) = image.size, mask.alpha.shape
        turned = (h, w) == (width, height) and h != w
        hint = ": the image was turned by its EXIF data, draw the mask on the upright one" if turned else ""
        raise ValueError(f"the mask {path} is {w}x{h} px, the picture {image.name} is {width}x{height} px{hint}")
    return mask


def parse_object(text: str) -> PromptText:
    """One object from "x,y;x,y,0" (clicks), "x1,y1,x2,y2" (a box), or both, divided by semicolons."""
    (named,) = parse_objects((), (), [text])
    return named


def object_from_json(row: Any) -> PromptText:
    """One object from text as `parse_object` takes it, or from {"points": [[x, y, label], ...], "box": [...]}."""
    if isinstance(row, str):
        return parse_object(row)
    if not isinstance(row, Mapping) or not set(row) <= {"points", "box"}:
        raise ValueError(f'an object is {{"points": [[x, y, label], ...], "box": [x1, y1, x2, y2]}}, got {row!r}')
    return _object(row.get("points"), row.get("box"))


def read_objects(path: str | Path) -> tuple[PromptText, ...]:
    """Objects from a JSON file: one, or a list of them, as `object_from_json` takes them.

    Raises:
        ValueError: the file is not such a list, or cannot be read.
    """
    found = read_json_list(Path(path), lines=False)
    try:
        prompts = tuple(object_from_json(row) for row in (found if isinstance(found, list) else [found]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not prompts:
        raise ValueError(f"{path} names no object")
    return prompts


def read_list(path: str | Path) -> list[tuple[str, Order]]:
    """Pictures and their orders from a list: .csv with a header, .json (a list of objects), or .jsonl (one per line).

    Paths are relative to the list's folder. See `COLUMNS`; `points` and `also` are texts as `parse_object` takes them,
    several further objects divided by |, or in JSON also nested lists.

    Raises:
        ValueError: a row does not fit; it is named by its number.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        rows = read_csv_rows(path)
    elif path.suffix.lower() in (".json", ".jsonl"):
        rows = read_json_list(path, lines=path.suffix.lower() == ".jsonl")
    else:
        raise ValueError(f"{path}: a list is a .csv, .json or .jsonl file")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} holds no rows")
    orders = []
    for number, row in enumerate(rows, 1):
        try:
            orders.append(_order_from_row(row, path.parent))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
    return orders


def _order_from_row(row: Any, folder: Path) -> tuple[str, Order]:
    if not isinstance(row, Mapping):
        raise ValueError(f"a row is an object with the key image, got {row!r}")
    given = {key: value for key, value in row.items() if value not in (None, "", [])}
    if unknown := sorted(map(str, set(given) - set(COLUMNS))):
        raise ValueError(f"unknown key {unknown[0]!r}: known are {', '.join(COLUMNS)}")
    if "image" not in given:
        raise ValueError("the key image is missing")
    prompts = [_object(given.get("points"), given.get("box"))] if "points" in given or "box" in given else []
    also = given.get("also", [])
    prompts += [object_from_json(one) for one in (also.split("|") if isinstance(also, str) else also)]
    mask = given.get("mask", [])
    masks = mask.split("|") if isinstance(mask, str) else _listed(mask)
    if masks and ("points" in given or "box" in given):
        raise ValueError("mask is the matte itself: give it without points and box")
    if not masks and not prompts:
        raise ValueError("no object: give points, box or mask")
    background = given.get("background")
    if background is not None and (folder / background).is_file():
        background = str(folder / background)
    image = str(given["image"])
    return (
        image if image.startswith(SAMPLE_PREFIX) else str(folder / image),
        Order(tuple(prompts), tuple(str(folder / one) for one in masks), given.get("prompt"), background),
    )


def _object(points: Any, box: Any) -> PromptText:
    """One object from a list's two columns, in either of their forms."""
    if isinstance(points, str):
        points = [part for part in points.split(";") if part.strip()]
    texts = [one if isinstance(one, str) else _joined(one) for one in _listed(points)]
    boxes = [] if box is None else [box if isinstance(box, str) else _joined(box)]
    named = parse_objects(texts, boxes)
    if not named:
        raise ValueError("no prompt: give points or a box")
    return named[0]


def _listed(points: Any) -> Sequence[Any]:
    if points is None:
        return []
    if not isinstance(points, Sequence):
        raise ValueError(f"points are a list of [x, y] or [x, y, label], got {points!r}")
    return points


def _joined(numbers: Any) -> str:
    if not isinstance(numbers, Sequence):
        raise ValueError(f"expected a list of numbers, got {numbers!r}")
    return ",".join(str(int(n) if i == 2 and len(numbers) == 3 else n) for i, n in enumerate(numbers))
