"""Lists: many images, each with objects of its own, from a .csv, .json or .jsonl file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zim_plugins.cli.lists import read_csv_rows, read_json_list
from zim_plugins.cli.matting.targets import Target
from zim_plugins.core.prompt_text import PromptText, parse_object
from zim_plugins.imaging.sources import SAMPLE_PREFIX, check_is_file

COLUMNS = ("image", "points", "box", "mask", "scribble", "also", "objects")
"""What a row may hold: points as "x,y;x,y,0", a box as "x1,y1,x2,y2", files, and further objects."""
OBJECT_KEYS = ("points", "box", "mask", "scribble")
"""What names one object."""


def read_list(path: str | Path) -> dict[str, tuple[Target, ...]]:
    """Read the images of a list with their objects; rows of one image name several objects of it.

    Paths are relative to the list's folder. In CSV, `points` and `box` are texts as options take them, and `also` holds
    further objects divided by |; in JSON, numbers may stand in lists, and `objects` holds several of them. A row
    without any names the salient object.

    Raises:
        ValueError: the file or a row does not fit; the row is named by its number.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".csv", ".json", ".jsonl"):
        raise ValueError(f"{path}: a list is a .csv, .json or .jsonl file")
    check_is_file(path, str(path))
    rows = read_csv_rows(path) if kind == ".csv" else read_json_list(path, lines=kind == ".jsonl")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} holds no rows")
    found: dict[str, tuple[Target, ...]] = {}
    for number, row in enumerate(rows, 1):
        try:
            image, targets = _row(row, path.parent)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, row {number}: {error}") from error
        found[image] = found.get(image, ()) + targets
    return found


def _row(row: Any, folder: Path) -> tuple[str, tuple[Target, ...]]:
    if not isinstance(row, Mapping):
        raise ValueError(f"a row is an object with the key image, got {row!r}")
    given = _known(row, COLUMNS)
    if "image" not in given:
        raise ValueError("the key image is missing")
    targets = []
    if any(key in given for key in OBJECT_KEYS):
        targets.append(_target({key: given[key] for key in OBJECT_KEYS if key in given}, folder))
    also = given.get("also", [])
    targets += [_target(one, folder) for one in (also.split("|") if isinstance(also, str) else _listed(also))]
    targets += [_target(one, folder) for one in _listed(given.get("objects", []))]
    image = str(given["image"])
    return image if image.startswith(SAMPLE_PREFIX) else str(folder / image), tuple(targets or [Target()])


def _known(row: Mapping[Any, Any], keys: Sequence[str]) -> dict[str, Any]:
    given = {key: value for key, value in row.items() if value not in (None, "", [])}
    if unknown := sorted(map(str, set(given) - set(keys))):
        raise ValueError(f"unknown key {unknown[0]!r}: known are {', '.join(keys)}")
    return given


def _target(row: Any, folder: Path) -> Target:
    if isinstance(row, str):
        return Target(parse_object(row))
    if not isinstance(row, Mapping):
        raise ValueError(f"an object has the keys {', '.join(OBJECT_KEYS)}, got {row!r}")
    given = _known(row, OBJECT_KEYS)
    files = {key: str(folder / str(given[key])) for key in ("mask", "scribble") if key in given}
    named = {key: given[key] for key in ("points", "box") if key in given}
    return Target(PromptText.from_json(named) if named else None, **files)


def _listed(values: Any) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"expected a list, got {values!r}")
    return values
