"""Structures by words: what a detector finds on a scan's slices, as marks in the scan's own voxels."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..io.nifti import FileSpace
from ..io.placement import SeriesSpace
from ..io.scan import Scan
from ..protocol.text_prompts import FoundBox, TextFinder, Wanted
from .marks import BoxMark, Marks
from .placing import slice_numbers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Search:
    """Search for one structure by its words, and all that it found."""

    wanted: Wanted
    n_slices: int
    """That were looked at."""
    found: tuple[tuple[int, FoundBox], ...]
    """Slice, by the file's own number, and box."""

    def described(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        boxes = [{"slice": number, "box": list(one.edges), "score": round(one.score, 4)} for number, one in self.found]
        return {"words": self.wanted.words, "slices": self.n_slices, "found": boxes}


def search(finder: TextFinder, scan: Scan, where: str = "") -> tuple[list[Marks], list[Search]]:
    """Look for structures, each on all slices or on the one that is named, and log what was found.

    The best box of a slice is its prompt; where every instance is wanted, which only makes sense on one slice, each is
    a structure. A structure that is not found has no mark, only `Marks.is_sought`. Messages begin with `where`.

    Raises:
        ValueError: a slice is named that the scan lacks, or every instance is wanted on several slices.
    """
    numbers = slice_numbers(scan)
    marks: list[Marks] = []
    searches = []
    for wanted in finder.wanted:
        frames = range(len(scan.frames))
        if wanted.slice_index is not None:
            if wanted.slice_index not in numbers:
                raise ValueError(f"{wanted.words}@{wanted.slice_index}: the scan has slices {_span(numbers)}")
            frames = [numbers.index(wanted.slice_index)]
        if finder.every and len(frames) > 1:
            raise ValueError("--text-all takes every instance of one slice: name it, as in WORDS@25")
        found = [(frame, one) for frame in frames for one in finder.find(scan.frames[frame], wanted.words)]
        told = Search(wanted, len(frames), tuple((numbers[frame], one) for frame, one in found))
        searches.append(told)
        _tell(told, where)
        name = wanted.name or wanted.words
        if not found:
            marks.append(Marks(name, is_sought=True))
        elif finder.every:
            marks += [
                Marks(name if i == 1 else f"{name} {i}", boxes=(box_on(scan, frame, one),))
                for i, (frame, one) in enumerate(found, start=1)
            ]
        else:
            marks.append(Marks(name, boxes=tuple(box_on(scan, frame, one) for frame, one in found)))
    return marks, searches


def box_on(scan: Scan, frame: int, found: FoundBox) -> BoxMark:
    """Return a box of a frame in the scan's own voxels, one slice thick; in pixels where the scan is an image."""
    x1, y1, x2, y2 = found.edges
    if isinstance(scan.space, SeriesSpace):
        number = float(scan.space.grid[frame])
        return BoxMark((x1, y1, number), (x2, y2, number + 1))
    if not isinstance(scan.space, FileSpace):
        return BoxMark((x1, y1), (x2, y2)) if len(scan.frames) == 1 else BoxMark((x1, y1, frame), (x2, y2, frame + 1))
    # The stack is the file's array with its axes in another order and direction: so is the way back.
    start = scan.space.to_stack(np.zeros((1, 3)))[0]
    turn = scan.space.to_stack(np.eye(3)) - start
    corners = np.array([[frame, y1, x1], [frame + 1, y2, x2]]) - 0.5  # the edges of voxels lie half an index outside
    voxels = (corners - start) @ np.linalg.inv(turn) + 0.5
    low, high = np.round(voxels.min(axis=0), 6), np.round(voxels.max(axis=0), 6)
    return BoxMark(tuple(low.tolist()), tuple(high.tolist()))


def _tell(one: Search, where: str) -> None:
    begin = f"{where}: " if where else ""
    words, slices = one.wanted.words, f"{one.n_slices} slice{'s' if one.n_slices > 1 else ''}"
    if not one.found:
        logger.warning(
            "%snothing that is %r is found on %s: give a box or a click, other words, or a lower --text-threshold",
            begin, words, slices,
        )  # fmt: skip
        return
    scores = [found.score for _, found in one.found]
    best_slice, best = max(one.found, key=lambda entry: entry[1].score)
    logger.info(
        "%s%r is found on %d of %s, scores %.2f to %.2f, best on slice %d: box %s",
        begin, words, len({number for number, _ in one.found}), slices, min(scores), max(scores), best_slice,
        ",".join(f"{side:g}" for side in best.edges),
    )  # fmt: skip


def _span(numbers: Sequence[int]) -> str:
    return f"{min(numbers)}..{max(numbers)}"
