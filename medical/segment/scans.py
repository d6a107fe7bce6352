"""One scan from marks to labels: rough masks are read, every structure is followed, labels are joined by one rule."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from zim_plugins.core import Predictor

from ..deidentify import public_labels
from ..io.nifti import FileSpace
from ..io.opening import GivenMask, OpenedScan, read_labels
from ..io.placement import SeriesSpace
from ..io.reading import ReadingConfig
from ..labelling import LabelTable, class_name, label_map
from ..protocol.models import PromptedModel
from .following import Followed, Follower
from .marks import DEFAULT_NAME, Marks
from .placing import PlacedMarks, SliceMarks, place_marks, slice_numbers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentConfig:
    """Options of turning marks into labels.

    >>> SegmentConfig(reach=0).keep_masks
    False
    """

    reach: int | None = None
    """Slices that a prompt reaches beyond its own, both ways; None until the structure ends, 0 for none."""
    keep_masks: bool = False
    """Given masks stand as they are."""
    keep_labels: bool = False
    """Names that somebody typed into DICOM files stay as they are; else only words of anatomy do."""
    reading: ReadingConfig = ReadingConfig()
    """How masks are read, with the remedies for those that do not fit."""


@dataclass(frozen=True, eq=False)
class Segmented:
    """The structures of one scan.

    >>> Segmented(np.array([[[0, 2]]], np.uint8), LabelTable({"cord": 2}), (), 0, (7,), ()).table.values
    {'cord': 2}
    """

    labels: Integer[np.ndarray, "s h w"]
    """Values by frame; 0 where there is no structure."""
    table: LabelTable
    structures: tuple[tuple[PlacedMarks, Followed], ...]
    claimed_twice: int
    """Voxels that several structures claimed."""
    numbers: tuple[int, ...]
    """What the file calls each frame."""
    notes: tuple[str, ...]

    def mask(self, name: str) -> Bool[np.ndarray, "s h w"]:
        """A structure whole, whatever else claims its voxels."""
        stack = np.zeros(self.labels.shape, dtype=bool)
        for one, found in self.structures:
            if one.name == name:
                for frame, mask in found.masks.items():
                    stack[frame] |= mask
        return stack


def segment_scan(
    opened: OpenedScan, marks: Sequence[Marks], predictor: Predictor, config: SegmentConfig = SegmentConfig(),
    tick: Callable[[], object] | None = None,
) -> Segmented:  # fmt: skip
    """Segment the structures that marks point at, on each slice that they reach.

    >>> from pathlib import Path
    >>> from medical.io.scan import Scan
    >>> from medical.protocol.rivals import FilledBox
    >>> from medical.segment.marks import gather_marks
    >>> image = OpenedScan(Scan(np.zeros((1, 20, 30, 3), np.uint8), ()), Path("image.png"), (), "image")
    >>> found = segment_scan(image, gather_marks(boxes=["organ=5,4,15,12"]), FilledBox())
    >>> found.table.values, int(found.mask("organ").sum()), found.labels.max().item()
    ({'organ': 1}, 80, 1)

    Args:
        opened: the scan, from `open_scan`.
        marks: what points at each structure.
        predictor: answers each slice.
        config: how far masks are followed, and how given masks are read.
        tick: called at each slice that the predictor has answered.

    Raises:
        ValueError: a mark lies outside the scan, or does not name a structure.
        ScanFault: a rough mask cannot be read or lies elsewhere.
        UnsupportedPrompt: the model does not take such prompts.
    """
    placed, mask_notes = place_structures(opened, marks, config)
    scan = opened.scan
    numbers = slice_numbers(scan)
    model = PromptedModel(predictor, name="")
    follower = Follower(model, scan.frames, numbers, reach=config.reach, keep_masks=config.keep_masks, tick=tick)
    structures = [(one, follower.follow(one)) for one in placed]
    table = LabelTable({one.name: one.value for one in placed})
    masks = []
    for one, found in structures:
        stack = np.zeros(scan.frames.shape[:3], dtype=bool)
        for frame, mask in found.masks.items():
            stack[frame] = mask
        masks.append((one.name, stack))
    labels, claimed_twice = label_map(masks, table)
    of_prompts = (f"{one.name}: {note}" for one in placed for note in one.notes)
    notes = [*scan.notes, *mask_notes, *of_prompts, *(note for _, found in structures for note in found.notes)]
    return Segmented(labels, table, tuple(structures), claimed_twice, tuple(numbers), tuple(notes))


def place_structures(
    opened: OpenedScan, marks: Sequence[Marks], config: SegmentConfig = SegmentConfig()
) -> tuple[list[PlacedMarks], tuple[str, ...]]:
    """Put marks and rough masks on the frames of a scan; return them, and what was done to the masks.

    Raises:
        ValueError: as `place_marks`, or a mask is empty or does not hold the structure.
        ScanFault: a mask cannot be read or lies elsewhere.
    """
    whole: list[Marks] = []
    stacks: dict[str, Bool[np.ndarray, "s h w"]] = {}
    notes: dict[str, None] = {}
    for one in marks:
        if one.mask is None:
            whole.append(one)
            continue
        given, said = read_labels(one.mask, opened, config.reading)
        notes |= dict.fromkeys(f"{one.mask.name}: {note}" for note in said)
        if not given:
            raise ValueError(f"the mask of {one.name} is empty")
        for named, mask in _structures_of(one, given, keep_labels=config.keep_labels):
            whole.append(named)
            stacks[named.name] = mask
    names = [one.name for one in whole]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{', '.join(twice)} is named by a mask and by another prompt: write {twice[0]}=FILE for the mask"
        )
    placed = []
    for one in place_marks(whole, opened.scan):
        if one.name in stacks:
            slices = dict(one.slices)
            for frame in np.flatnonzero(stacks[one.name].any(axis=(1, 2))).tolist():
                slices.setdefault(frame, SliceMarks()).mask = stacks[one.name][frame]
            one = replace(one, slices=slices)
        placed.append(one)
    return placed, tuple(notes)


def _structures_of(
    one: Marks, given: Sequence[GivenMask], *, keep_labels: bool
) -> list[tuple[Marks, Bool[np.ndarray, "s h w"]]]:
    """Structures that a file of labels stands for: all of them where none is named, else the one that is named."""
    is_unnamed = one.name == DEFAULT_NAME and not one.clicks and not one.boxes
    has_names = any(mask.label for mask in given)
    if is_unnamed and has_names:  # what was typed into DICOM files may hold anything
        shown = {mask.label: mask.label for mask in given}
        shown = shown if keep_labels else public_labels(shown)
        return [(Marks(shown[mask.label], mask=one.mask), mask.mask) for mask in given]
    if is_unnamed and len(given) > 1:  # a label map: each of its values is a structure and keeps it
        return [(Marks(class_name(mask.value), mask.value, mask=one.mask), mask.mask) for mask in given]
    same = [mask for mask in given if mask.label and mask.label.casefold() == one.name.casefold()]
    if has_names and len(given) > 1 and not same:
        raise ValueError(
            f"the mask of {one.name} holds {len(given)} structures and none of this name: name it as the file does, or "
            "leave the name out for all"
        )
    return [(one, np.logical_or.reduce([mask.mask for mask in same or given]))]


def describe(result: Segmented, opened: OpenedScan) -> dict[str, Any]:
    """Figures of a segmentation, ready for JSON: per structure its value, slices, voxels and volume."""
    space = opened.scan.space
    voxel_mm3 = abs(float(np.linalg.det(space.affine[:3, :3]))) if isinstance(space, FileSpace | SeriesSpace) else None
    structures = []
    for one, found in result.structures:
        voxels = int(np.count_nonzero(result.labels == one.value))
        slices = sorted(result.numbers[frame] for frame in found.masks)
        entry: dict[str, Any] = {
            "name": one.name, "value": one.value, "voxels": voxels,
            "volume_ml": None if voxel_mm3 is None else round(voxels * voxel_mm3 / 1000, 4),
            "slices": [slices[0], slices[-1]] if slices else [],
            "prompted_slices": sorted(result.numbers[frame] for frame in found.prompted),
        }  # fmt: skip
        if opened.scan.is_volume:
            entry["ends"] = found.ends
        structures.append(entry)
    return {
        "structures": structures, "overlap_voxels": result.claimed_twice, "window": opened.scan.intensity,
        "notes": list(result.notes),
    }  # fmt: skip
