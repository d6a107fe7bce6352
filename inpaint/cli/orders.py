"""Orders: what is to be done with each image, from the command line or from a list file."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.cli.lists import read_csv_rows, read_json_list
from zim_plugins.core import Image, Mask, Prompt, PromptText, mask_path

COLUMNS = ("image", "points", "box", "mask", "text", "also", "objects", "prompt", "background")
"""What a list's rows may hold."""
SAMPLE_PREFIX = "sample:"


@dataclass(frozen=True)
class Order:
    """The objects of one image, and what shall take their place."""

    prompts: tuple[PromptText, ...] = ()
    """One per object that a model finds."""
    masks: tuple[str, ...] = ()
    """Files of mattes or masks, one per object."""
    words: tuple[str, ...] = ()
    """Names of objects, which a detector finds."""
    prompt: str | None = None
    """What a diffusion model shall paint."""
    background: str | None = None
    """A file or a colour."""
    missing: str = ""
    """What is missing for this image, in words."""

    def check(self, image: Image) -> None:
        """Raise ValueError where a prompt lies outside the image, or something is missing."""
        if self.missing:
            raise ValueError(self.missing)
        for prompt in self.prompts:
            prompt.on(image.size)

    def target(self, image: Image) -> tuple[list[Prompt | Float32[np.ndarray, "h w"]], list[str]]:
        """The objects, with the masks read, and what was done to read them.

        Raises:
            ImageError: a mask cannot be read.
            ValueError: it has another size than the image, or a prompt lies outside it.
        """
        masks = {path: _read_mask(path, image) for path in self.masks}
        notes = [f"{path}: {note}" for path, mask in masks.items() for note in mask.notes]
        return [*(mask.alpha for mask in masks.values()), *(one.on(image.size) for one in self.prompts)], notes

    def model_masks(self) -> list[str]:
        """Return the masks that a model made, by the record that lies beside them."""
        from zim_plugins.imaging import model_of

        return [mask for mask in self.masks if model_of(Path(mask_path(mask))) is not None]

    def in_full(self) -> dict[str, Any]:
        """All that the order says, with the digests of the files that it names."""
        named = [*(mask_path(mask) for mask in self.masks), *([self.background] if self.background else [])]
        digests = {name: sha256(Path(name).read_bytes()).hexdigest() for name in named if Path(name).is_file()}
        named_in_words = {"words": list(self.words)} if self.words else {}
        said = {"objects": self.to_json(), "text": self.prompt, "background": self.background, "files": digests}
        return said | named_in_words

    def with_more(self, other: "Order") -> "Order":
        """Return the order with the objects of another one of the same image.

        Raises:
            ValueError: the two say different things of what takes the objects' place.
        """
        for column in ("prompt", "background"):
            mine, its = getattr(self, column), getattr(other, column)
            if None not in (mine, its) and mine != its:
                raise ValueError(f"column {column}: {its!r}, where an earlier row of the same image has {mine!r}")
        return dataclasses.replace(
            self,
            prompts=self.prompts + other.prompts,
            masks=self.masks + other.masks,
            words=self.words + other.words,
            prompt=self.prompt if other.prompt is None else other.prompt,
            background=self.background if other.background is None else other.background,
        )

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
        raise ValueError(f"the mask {path} is {w}x{h} px, the image {image.name} is {width}x{height} px{hint}")
    return mask


def read_objects(path: str | Path) -> tuple[PromptText, ...]:
    """Objects from a JSON file: one, or a list of them, as `Prompt.from_json` takes them.

    Raises:
        ValueError: the file is not such a list, or cannot be read.
    """
    found = read_json_list(Path(path), lines=False)
    try:
        prompts = tuple(PromptText.from_json(row) for row in (found if isinstance(found, list) else [found]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not prompts:
        raise ValueError(f"{path} names no object")
    return prompts


def read_list(path: str | Path) -> dict[str, Order]:
    """Images and their orders from a list: .csv with a header, .json (a list of objects), or .jsonl (one per line).

    Paths are relative to the list's folder. See `COLUMNS`; `points`, `also` are texts as `Prompt.from_text` takes them,
    `text` names objects in words; several of `also`, `mask` and `text` are divided by |, or in JSON also nested lists.
    Rows of one image name several objects of it.

    Raises:
        ValueError: a row does not fit; it is named by its number, and its column by name.
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
    orders: dict[str, Order] = {}
    for number, row in enumerate(rows, 1):
        try:
            image, order = _order_from_row(row, path.parent)
            orders[image] = orders[image].with_more(order) if image in orders else order
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
    return orders


def _order_from_row(row: Any, folder: Path) -> tuple[str, Order]:
    if not isinstance(row, Mapping):
        raise ValueError(f"a row is an object with the key image, got {row!r}")
    given = {key: value for key, value in row.items() if value not in (None, "", [])}
    if unknown := sorted(map(str, set(given) - set(COLUMNS))):
        raise ValueError(f"unknown key {unknown[0]!r}: known are {', '.join(COLUMNS)}")
    texts = {column: _one_text(given, column) for column in ("image", "prompt", "background")}
    image, background = texts["image"], texts["background"]
    if image is None:
        raise ValueError("the key image is missing")
    prompts = []
    if "points" in given or "box" in given:
        with _of_column("points" if "points" in given else "box"):
            prompts.append(PromptText.from_json({key: given[key] for key in ("points", "box") if key in given}))
    for column in ("also", "objects"):
        with _of_column(column):
            prompts += [PromptText.from_json(one) for one in _several(given.get(column))]
    with _of_column("mask"):
        masks = _texts(given.get("mask"))
        if masks and ("points" in given or "box" in given):
            raise ValueError("a mask is the matte itself: give it without points and box, further objects by also")
    with _of_column("text"):
        words = _texts(given.get("text"))
    if not masks and not prompts and not words:
        raise ValueError("no object: give points, box, mask or text")
    if background is not None and (folder / background).is_file():
        background = str(folder / background)
    return (
        image if image.startswith(SAMPLE_PREFIX) else str(folder / image),
        Order(tuple(prompts), tuple(str(folder / one) for one in masks), words, texts["prompt"], background),
    )


@contextmanager
def _of_column(name: str) -> "Iterator[None]":
    """Name the column in what is wrong with its value."""
    try:
        yield
    except (ValueError, TypeError) as error:
        said = str(error)
        raise ValueError(
            f"column {said}" if said.startswith(("points", "box: ")) else f"column {name}: {said}"
        ) from error


def _one_text(given: Mapping[str, Any], column: str) -> str | None:
    value = given.get(column)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"column {column}: expected a text, got {value!r}")
    return value


def _several(value: Any) -> Sequence[Any]:
    """The values of a cell that may hold several."""
    if isinstance(value, Mapping):
        return [value]
    return value.split("|") if isinstance(value, str) else _listed(value)


def _texts(value: Any) -> tuple[str, ...]:
    texts = _several(value)
    if wrong := [one for one in texts if not isinstance(one, str) or not one.strip()]:
        raise ValueError(f"expected texts, got {wrong[0]!r}")
    return tuple(one.strip() for one in texts)


def _listed(points: Any) -> Sequence[Any]:
    if points is None:
        return []
    if not isinstance(points, Sequence):
        raise ValueError(f"expected a list, such as points [[x, y], [x, y, label]], got {points!r}")
    return points
