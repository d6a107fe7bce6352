"""Labels of a data set: what its masks' values mean and what each label is written with, decided once for all cases."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Integer, UInt16

from .io.dicom_seg import segment_table
from .io.errors import ODD_FILE, ScanFault
from .io.images import LOSSY, MAX_LABELS, read_values
from .io.nifti import is_volume_file, read_volume, whole_numbers
from .io.pairing import CaseFiles, MaskFile
from .io.reading import ReadingConfig
from .io.remedies import mend_values
from .io.rtstruct import structure_names

logger = logging.getLogger(__name__)

MAX_VALUE = int(np.iinfo(np.uint16).max)
_AS_IT_IS = ReadingConfig()
OVERLAP_RULE = (
    "where predictions overlap, a voxel belongs to the label with the fewest predicted voxels in this volume; "
    "of equals, to the one with the larger value"
)


@dataclass(frozen=True)
class LabelTable:
    """Values that a data set's label maps are written with, the same for every case."""

    values: dict[str, int] = field(default_factory=dict)
    """Value of each label: the one that the data set's own files hold wherever they hold one."""
    renumbered: tuple[str, ...] = ()
    """Labels whose own value another label has already, or that have several: they are written with a free one."""

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """The smallest unsigned type that holds every value of the data set."""
        return np.uint8 if max(self.values.values(), default=0) <= np.iinfo(np.uint8).max else np.uint16


def settle_labels(cases: Sequence[CaseFiles], reading: ReadingConfig = _AS_IT_IS) -> tuple[list[CaseFiles], LabelTable]:
    """Decide once, from all files of a data set, what their masks hold; return cases that say so, and the table.

    Masks of encoding "auto" are read for their values: one value besides 0 over all files is one object; several
    small ones are a label map. Files that do not fit what most of them say are left to be refused one by one.

    Raises:
        ValueError: the files contradict one another; the message shows their values and names `--labels`.
    """
    found: dict[tuple[str, bool], _Survey] = {}
    for file in (file for case in cases for file in case.masks):
        if file.encoding == "auto" or (file.encoding == "map" and not file.names):
            survey = found.setdefault(_kind(file), _Survey())
            try:
                survey.add(_values_of(file, reading), lossy=file.path.suffix.lower() in LOSSY)
            except ODD_FILE:  # one odd file ends no run: what is wrong is told when the case is read
                continue
    settled = []
    for case in cases:
        masks = tuple(found[_kind(file)].settle(file) if _kind(file) in found else file for file in case.masks)
        settled.append(replace(case, masks=masks))
    return settled, _table(settled)


def free_text_labels(cases: Sequence[CaseFiles]) -> list[str]:
    """Return labels that somebody typed into DICOM files: of segments and of regions of interest."""
    files = dict.fromkeys(file for case in cases for file in case.masks if file.encoding in ("dicom-seg", "rtstruct"))
    return list(dict.fromkeys(label for file in files for label, _ in _claims(file)))


def rename_table(table: LabelTable, names: Mapping[str, str]) -> LabelTable:
    """Return the table with other names of its labels."""
    values = {names.get(label, label): value for label, value in table.values.items()}
    return LabelTable(values, tuple(names.get(label, label) for label in table.renumbered))


def label_map(
    masks: Iterable[tuple[str, Bool[np.ndarray, "*size"]]], table: LabelTable
) -> tuple[Integer[np.ndarray, "*size"], int]:
    """Join masks into one label map by `OVERLAP_RULE`; return it and how many voxels several masks claimed.

    Raises:
        ValueError: no mask is given, or a label is not in the table.
    """
    masks = [(label, mask) for label, mask in masks]
    if not masks:
        raise ValueError("a label map needs at least one mask")
    if unknown := [label for label, _ in masks if label not in table.values]:
        raise ValueError(f"the data set's table has no value for {', '.join(unknown)}")
    joined = np.zeros(masks[0][1].shape, dtype=table.dtype)
    claims = np.zeros(joined.shape, dtype=np.uint8)
    # Later ones overwrite: the largest first, so that no small structure is buried.
    for label, mask in sorted(masks, key=lambda one: (-int(np.count_nonzero(one[1])), table.values[one[0]])):
        joined[mask] = table.values[label]
        claims += mask & (claims < 2)
    return joined, int(np.count_nonzero(claims > 1))


def class_name(value: int) -> str:
    """Name of a label that no table names."""
    return f"class_{value}"


@dataclass
class _Survey:
    """Values that the files of one kind hold."""

    sets: list[frozenset[int]] = field(default_factory=list)
    lossy: bool = False

    def add(self, values: UInt16[np.ndarray, " n"], *, lossy: bool) -> None:
        self.sets.append(frozenset(int(v) for v in values if v > 0))
        self.lossy = self.lossy or lossy

    def settle(self, file: MaskFile) -> MaskFile:
        if file.encoding == "map":
            values = sorted(frozenset().union(*self.sets))
            return replace(file, names=tuple((v, class_name(v)) for v in values))
        encoding, values = self._decide(is_volume_file(file.path))
        if encoding == "map":
            return replace(file, encoding="map", names=tuple((v, class_name(v)) for v in values))
        return replace(file, encoding=encoding, value=values[0] if len(values) == 1 else None)

    def _decide(self, is_volume: bool) -> tuple[str, list[int]]:
        """The encoding that fits all files, and the values that it is about."""
        if self.lossy:
            return "binary", []
        if is_volume:
            values = sorted(frozenset().union(*self.sets)) if self.sets else []
            return ("map" if len(values) > 1 else "binary"), values
        # Anti-aliased and soft masks hold many greys: each is refused when it is read, and decides nothing here.
        plain = [one for one in self.sets if len(one) <= 1 or max(one) <= MAX_LABELS]
        values = sorted(frozenset().union(*plain)) if plain else []
        if not plain and self.sets:
            return "auto", []
        if len(values) <= 1:
            return "binary", values
        if values[-1] <= MAX_LABELS:
            return "map", values
        listed = ", ".join(str(v) for v in values[:8])
        raise ValueError(
            f"the masks of this data set hold {listed}{', ...' if len(values) > 8 else ''}, no file more than one of "
            "them: say what they are with --labels binary (one object, whatever the value) or map (one class per value)"
        )


def _kind(file: MaskFile) -> tuple[str, bool]:
    """Files of one kind share what their values mean."""
    return f"{file.encoding}/{file.label}", is_volume_file(file.path)


def _values_of(file: MaskFile, reading: ReadingConfig) -> UInt16[np.ndarray, " n"]:
    """Distinct values of a mask file."""
    if is_volume_file(file.path):
        stored, *_ = read_volume(file.path, volume=reading.volume, max_values=reading.max_values)
        array = whole_numbers(mend_values(np.asarray(stored), reading.remedies)[0])
        return np.flatnonzero(np.bincount(array.ravel())).astype(np.uint16)
    values = np.unique(read_values(file.path, max_pixels=reading.max_pixels))
    if len(values) and (values[0] < 0 or values[-1] > MAX_VALUE):
        raise ScanFault("label", f"labels lie in 0..{MAX_VALUE}, these in {values[0]}..{values[-1]}")
    return values.astype(np.uint16)


def _table(cases: Sequence[CaseFiles]) -> LabelTable:
    """A value for each label: its own where it has one that no other label has."""
    claims: dict[str, list[int]] = {}
    for file in dict.fromkeys(_nameless(file) for case in cases for file in case.masks):
        for label, value in _claims(file):
            own = claims.setdefault(label, [])
            if value is not None and value not in own:
                own.append(value)
    values: dict[str, int] = {}
    renumbered = []
    for label, own in claims.items():
        free = [value for value in own if value not in values.values()]
        if free:
            values[label] = free[0]
        if len(own) > 1 or (own and not free):
            renumbered.append(label)
    taken = {value for own in claims.values() for value in own}
    for label in claims:
        if label not in values:
            value = next(v for v in range(1, MAX_VALUE + 1) if v not in taken)
            values[label] = value
            taken.add(value)
    return LabelTable(values, tuple(renumbered))


def _nameless(file: MaskFile) -> MaskFile:
    """Files that claim the same are one; segmentation objects each have a table of their own."""
    return file if file.encoding in ("dicom-seg", "rtstruct") else replace(file, path=type(file.path)("."))


def _claims(file: MaskFile) -> list[tuple[str, int | None]]:
    if file.encoding == "dicom-seg":
        try:
            return [(label, number) for number, label in segment_table(file.path).items()]
        except ScanFault:
            return []
    if file.encoding == "rtstruct":
        try:
            return [(name, None) for name in structure_names(file.path).values()]
        except ScanFault:
            return []
    if file.encoding == "map":
        return [(name, value) for value, name in file.names]
    return [(file.label, file.value)]
