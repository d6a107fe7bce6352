"""Frames: numbered sequences of files, and the pages of one file, chosen by ranges of numbers."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from zim_plugins.errors import ImageError
from zim_plugins.imaging.formats import is_image

_PLACE = re.compile(r"%0?(\d*)d|(#+)")
_NUMBER = re.compile(r"(\d+)$")
MAX_FRAMES = 1_000_000


def parse_frames(text: str) -> list[int] | None:
    """Read "0-9", "1001-1100x5" (every fifth), several of these divided by commas, or "all", which is None.

    >>> parse_frames("1-3,10-20x5")
    [1, 2, 3, 10, 15, 20]

    Raises:
        ValueError: not of that form, or a range that runs backwards.
    """
    if text.strip().lower() == "all":
        return None
    frames: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+)(?:x(\d+))?)?\s*", part, flags=re.ASCII)
        first, last, step = match.groups() if match else (None, None, None)
        numbers = range(int(first or 0), int(last or first or 0) + 1, int(step or 1) or 1)
        if match is None or not numbers or step == "0" or len(numbers) > MAX_FRAMES:
            raise ValueError(f"frames are numbers and ranges, as 1-50 or 1001-1100x5 or 3,5,9, or all; got {text!r}")
        frames |= dict.fromkeys(numbers)
    return list(frames)


def expand_frames(inputs: Sequence[str], frames: Sequence[int] | None) -> list[str]:
    """Turn inputs into single frames.

    A pattern with `####` or `%04d` gives the files of these numbers; a folder those of its files whose names end in one
    of them; a file of several pages these pages, counted from 0, as `scan.tif[2]`; a file of one page itself.

    Args:
        inputs: as the user gave them.
        frames: their numbers; None takes all that are there.

    Raises:
        ImageError: nothing is there.
    """
    found: list[str] = []
    for given in inputs:
        if Path(given).is_dir():
            members = sorted(p for p in Path(given).iterdir() if is_image(p) and p.is_file() and p.name[0] != ".")
            chosen = [p for p in members if _number(p) is not None and (frames is None or _number(p) in frames)]
            if not chosen:
                raise ImageError(f"the folder {given} holds none of these frames: names end in their numbers")
            found += map(str, sorted(chosen, key=lambda p: (_number(p) or 0, p.name)))
        elif not Path(given).exists() and _PLACE.search(Path(given).name):
            found += _sequence(given, frames)
        else:
            found += _pages(given, frames)
    return found


def _number(path: Path) -> int | None:
    match = _NUMBER.search(path.stem)
    return int(match[1]) if match else None


def _sequence(pattern: str, frames: Sequence[int] | None) -> list[str]:
    folder, name = Path(pattern).parent, Path(pattern).name
    match = _PLACE.search(name)
    assert match is not None
    width = len(match[2]) if match[2] else int(match[1] or 1)
    before, after = name[: match.start()], name[match.end() :]
    if frames is not None:
        return [str(folder / f"{before}{number:0{width}d}{after}") for number in frames]
    there = {}
    for path in folder.glob(glob.escape(before) + "*" + glob.escape(after)):
        digits = path.name[len(before) : len(path.name) - len(after)]
        if digits.isascii() and digits.isdigit() and (len(digits) == width or (len(digits) > width and width)):
            there[int(digits)] = str(path)
    if not there:
        raise ImageError(f"no file matches {pattern}")
    return [there[number] for number in sorted(there)]


def _pages(given: str, frames: Sequence[int] | None) -> list[str]:
    from zim_plugins.imaging.decode import page_count

    count = page_count(given)
    if count == 1:
        return [given]
    return [f"{given}[{number}]" for number in (range(count) if frames is None else frames)]
