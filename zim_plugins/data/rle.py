"""COCO's run-length encoding of masks, as SA-1B stores it.

Runs go down the columns, the first one is background. In the compressed form each run is the difference to the run
two before it (from the fourth on), cut into groups of 5 bits, lowest first, one character of code 48..111 each, whose
sixth bit says that another follows (https://github.com/cocodataset/cocoapi, MIT).

pycocotools, the reference, is not used to decode: on damaged text it answers with masks of other values than 0 and 1,
and on damaged sizes it writes where it should not. Here damaged text raises. It does rasterise polygons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from zim_plugins.core.outlines import compress_runs, runs_of
from zim_plugins.data.faults import DataError
from zim_plugins.errors import MissingExtra
from zim_plugins.imaging.image import MAX_PIXELS


@dataclass(frozen=True)
class Rle:
    """A mask as COCO's compressed run-length text."""

    size: tuple[int, int]
    """(H, W) [px]."""
    counts: str
    """The compressed runs."""

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.size[0] * self.size[1] > MAX_PIXELS:
            raise DataError(f"a run-length mask has a size of 1 to {MAX_PIXELS} pixels, got {list(self.size)}")

    @classmethod
    def from_json(cls, segmentation: Any) -> "Rle":
        """Take {"size": [h, w], "counts": text, or a list of runs} as found in files.

        Raises:
            DataError: it is anything else.
        """
        if not isinstance(segmentation, Mapping):
            raise DataError(f"a run-length mask is an object with size and counts, got {type(segmentation).__name__}")
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if not (isinstance(size, list | tuple) and len(size) == 2 and all(type(side) is int for side in size)):
            raise DataError(f"a run-length mask's size is [height, width], got {size!r}")
        if isinstance(counts, str):
            return cls((size[0], size[1]), counts)
        if isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts):
            if sum(counts) != size[0] * size[1]:
                raise DataError(f"the runs cover {sum(counts)} pixels of {size[0] * size[1]}")
            return cls((size[0], size[1]), compress_runs(np.array(counts, dtype=np.int64)))
        raise DataError("a run-length mask's counts are text or a list of runs")

    @classmethod
    def from_mask(cls, mask: Bool[np.ndarray, "h w"]) -> "Rle":
        """Encode a mask."""
        return cls((mask.shape[0], mask.shape[1]), compress_runs(runs_of(mask)))

    @property
    def runs(self) -> Int[np.ndarray, " runs"]:
        """Lengths of background and foreground in turn [px].

        Raises:
            DataError: the text is damaged: it does not cover the mask exactly.
        """
        runs = _decompress(self.counts)
        pixels = self.size[0] * self.size[1]
        if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
            raise DataError(f"broken RLE: its runs do not cover the mask's {pixels} pixels")
        return runs

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(self.runs[1::2].sum())

    def decode(self) -> Bool[np.ndarray, "h w"]:
        """The mask.

        Raises:
            DataError: the text is damaged.
        """
        runs = self.runs
        values = np.zeros(len(runs), dtype=bool)
        values[1::2] = True
        return np.ascontiguousarray(np.repeat(values, runs).reshape(self.size[1], self.size[0]).T)

    def to_json(self) -> dict[str, Any]:
        """COCO's own words."""
        return {"size": list(self.size), "counts": self.counts}


def rle_of_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Rle:
    """Rasterise COCO polygons, [x1, y1, x2, y2...] [px] each, as COCO does.

    Raises:
        DataError: a polygon has fewer than three corners, or an odd number of values.
        MissingExtra: pycocotools is not installed.
    """
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2 or not all(isinstance(v, int | float) for v in polygon):
            raise DataError(f"a polygon has three corners or more, x and y in turn, got {len(polygon)} values")
    if not polygons:
        raise DataError("an object without polygons")
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise MissingExtra("pycocotools", "train") from error
    corners: Any = [[float(value) for value in polygon] for polygon in polygons]
    merged: Any = coco_mask.merge(coco_mask.frPyObjects(corners, size[0], size[1]))
    return Rle(size, merged["counts"].decode("ascii"))


def _decompress(text: str) -> Int[np.ndarray, " runs"]:
    codes = np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63:
        raise DataError("broken RLE: it is empty, or holds characters that no run-length text has")
    last = (codes & 32) == 0
    if not last[-1]:
        raise DataError("broken RLE: it ends within a run")
    ends = np.flatnonzero(last)
    starts = np.r_[0, ends[:-1] + 1]
    if (ends - starts).max() > 7:
        raise DataError("broken RLE: a run longer than any image")
    place = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    runs = np.add.reduceat((codes & 31) << place, starts)
    negative = (codes[ends] & 16) != 0
    runs[negative] -= np.int64(1) << (5 * (ends - starts + 1))[negative]
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs
