"""One scan from marks to labels: rough masks are read, every structure is followed, labels are joined by one rule."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from ..io.errors import ScanFault
from ..io.images import read_values
from ..io.nifti import FileSpace, check_same_space, is_volume_file, read_volume, whole_numbers
from ..io.opening import OpenedScan
from ..io.placement import SeriesSpace
from ..labelling import LabelTable, label_map
from ..protocol.models import PromptedModel
from .following import Followed, Follower
from .marks import DEFAULT_NAME, Marks, SlicePrompts, StructurePrompts, place_marks, slice_numbers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentConfig:
    """Options of turning marks into labels."""

    reach: int | None = None
    """Slices that a prompt reaches beyond its own, both ways; None until the structure ends, 0 for none."""
    keep_masks: bool = False
    """Given masks stand as they are."""


@dataclass(frozen=True, eq=False)
class Segmented:
    """The structures of one scan."""

    labels: Integer[np.ndarray, "s h w"]
    """Values by frame; 0 where there is no structure."""
    table: LabelTable
    structures: tuple[tuple[StructurePrompts, Followed], ...]
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


def segment(
    opened: OpenedScan, marks: Sequence[Marks], model: PromptedModel, config: SegmentConfig = SegmentConfig()
) -> Segmented:
    """Segment the structures that marks point at.

    Raises:
        ValueError: a mark lies outside the scan, or does not name a structure.
        ScanFault: a rough mask cannot be read or lies elsewhere.
        UnsupportedPrompt: the model does not take such prompts.
    """
    scan = opened.scan
    numbers = slice_numbers(scan)
    placed = place_structures(opened, marks)
    follower = Follower(model, scan.frames, numbers, reach=config.reach, keep_masks=config.keep_masks)
    structures = [(one, follower.follow(one)) for one in placed]
    model.forget()
    table = LabelTable({one.name: one.value for one in placed})
    masks = []
    for one, found in structures:
        stack = np.zeros(scan.frames.shape[:3], dtype=bool)
        for frame, mask in found.masks.items():
            stack[frame] = mask
        masks.append((one.name, stack))
    labels, claimed_twice = label_map(masks, table)
    notes = [*scan.notes, *(note for _, found in structures for note in found.notes)]
    return Segmented(labels, table, tuple(structures), claimed_twice, tuple(numbers), tuple(notes))


def place_structures(opened: OpenedScan, marks: Sequence[Marks]) -> list[StructurePrompts]:
    """Put marks and rough masks on the frames of a scan.

    Raises:
        ValueError: as `place_marks`, or a mask is empty.
        ScanFault: a mask cannot be read or lies elsewhere.
    """
    whole: list[Marks] = []
    stacks: dict[str, Bool[np.ndarray, "s h w"]] = {}
    for one in marks:
        if one.mask is None:
            whole.append(one)
            continue
        values = _read_mask(one.mask, opened)
        found = [int(v) for v in np.unique(values) if v > 0]
        if not found:
            raise ValueError(f"the mask of {one.name} is empty")
        if len(found) > 1 and one.name == DEFAULT_NAME and not one.clicks and not one.boxes:
            for value in found:  # a label map: each of its values is a structure and keeps it
                whole.append(Marks(f"class_{value}", value, mask=one.mask))
                stacks[f"class_{value}"] = values == value
        else:
            whole.append(one)
            stacks[one.name] = values > 0
    placed = []
    for one in place_marks(whole, opened.scan):
        if one.name in stacks:
            slices = dict(one.slices)
            for frame in np.flatnonzero(stacks[one.name].any(axis=(1, 2))).tolist():
                slices.setdefault(frame, SlicePrompts()).mask = stacks[one.name][frame]
            one = replace(one, slices=slices)
        placed.append(one)
    return placed


def _read_mask(path: Path, opened: OpenedScan) -> Integer[np.ndarray, "s h w"]:
    """Values of a mask file on the frames of a scan."""
    scan = opened.scan
    if is_volume_file(path):
        if not isinstance(scan.space, FileSpace | SeriesSpace):
            raise ScanFault("mask", f"{path.name} is a volume, the scan is not: give the mask in the scan's own format")
        array, affine, _ = read_volume(path)
        height, width = scan.frames.shape[1:3]
        shape = scan.space.shape if isinstance(scan.space, FileSpace) else (width, height, scan.space.grid[-1] + 1)
        if tuple(array.shape) != shape:
            raise ScanFault("size", f"the mask is {array.shape}, the scan {shape}: nothing is resampled")
        check_same_space(scan.space.affine, affine)
        return scan.space.stack(whole_numbers(np.asarray(array)))
    if opened.kind == "dicom" and len(scan.frames) > 1:
        raise ScanFault(
            "mask", f"{path.name}: the mask of a series is a volume in its space, such as an earlier NAME_seg.nii.gz"
        )
    values = read_values(path)
    if values.shape != scan.frames.shape[1:3] or len(scan.frames) > 1:
        raise ScanFault("size", f"the mask is {values.shape}, the scan {scan.frames.shape[:3]}: nothing is resized")
    return values[None]


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
