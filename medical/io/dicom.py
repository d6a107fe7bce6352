"""DICOM: a series, a multi-frame object or a single image as values in order, with their place in the patient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from .dicom_pixels import functional_group, read_header, read_pixels
from .errors import ScanFault
from .placement import MAX_TURN, Irregular, Planes, SeriesSpace, place_frames, regular_space, resample_frames
from .scan import MAX_VALUES

if TYPE_CHECKING:
    import pydicom

SUFFIXES = (".dcm", ".dicom", ".ima")
SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation and Label Map Segmentation Storage."""
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_OF_OTHER_KINDS = (".nii", ".gz", ".mha", ".mhd", ".nrrd", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif",
                   ".json", ".csv", ".tsv", ".txt", ".md", ".xml", ".html", ".zip", ".py", ".xlsx", ".pdf")  # fmt: skip
"""Names that are not looked into."""
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_TELL_APART = ("AcquisitionNumber", "TemporalPositionIdentifier", "EchoNumbers", "EchoTime", "TriggerTime",
               "DiffusionBValue", "ImageType", "ConvolutionKernel", "AcquisitionTime", "ContentTime")  # fmt: skip
"""Elements by which slices at one place usually differ."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a file, and where it lies."""

    path: Path
    header: "pydicom.Dataset"
    index: int = 0
    """In its file."""
    origin: tuple[float, ...] | None = None
    turn: tuple[float, ...] | None = None
    pixel_mm: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Series:
    """Contents of a DICOM series."""

    values: Shaped[np.ndarray, "s h w *c"]
    """After the modality's rescaling; RGB in [0, 255] where there is a fourth axis."""
    spacing_mm: tuple[float, float, float] | None
    space: SeriesSpace | None
    """None where the files do not say where they lie."""
    is_ct: bool
    is_inverted: bool
    """Whether low values are to be shown white (MONOCHROME1)."""
    windows: tuple[float, float] | None
    """(level, width) that the file proposes."""
    instance_uids: tuple[str, ...]
    """Of the frames' files, in order; for matching labels, never written."""
    frame_numbers: tuple[int, ...]
    """Of the frames in their files, from 1."""
    notes: tuple[str, ...]
    planes: Planes | None = None
    """Where the files' own frames lie, whatever `values` were interpolated to."""
    frame_of_reference: str = ""
    size: tuple[int, int] = (0, 0)
    """Rows and columns of the files' own frames."""

    def fit_labels(self, labels: Shaped[np.ndarray, "n h w"]) -> Shaped[np.ndarray, "s rows columns"]:
        """Labels on the files' own frames as labels on `values`: the same, or the nearest ones where interpolated."""
        if self.space is None or not self.space.is_resampled or self.planes is None:
            return labels
        return resample_frames(labels.astype(np.uint16), self.planes, self.space, nearest=True).astype(labels.dtype)


@dataclass(eq=False)
class Grouped:
    """DICOM files by what they are."""

    series: dict[str, list[Path]] = field(default_factory=dict)
    """Images by series UID."""
    segmentations: list[Path] = field(default_factory=list)
    structure_sets: list[Path] = field(default_factory=list)
    others: list[tuple[Path, str]] = field(default_factory=list)
    """Objects without pixels, and what they are."""
    faults: list[tuple[Path, ScanFault]] = field(default_factory=list)
    instances: dict[str, str] = field(default_factory=dict)
    """Series of each image's instance."""
    references: dict[str, set[str]] = field(default_factory=dict)
    """Series by frame of reference."""
    patients: dict[str, set[str]] = field(default_factory=dict)
    """What the files of each series say of their patient, where they say anything."""

    def patient(self, series: str) -> str | None:
        """Return the one patient that files of a series name; None where none or several are named."""
        found = self.patients.get(series, set())
        return next(iter(found)) if len(found) == 1 else None


def patient_of(header: "pydicom.Dataset") -> str | None:
    """Return what tells a file's patient from others (PatientID and its issuer); None where it is empty."""
    number = str(header.get("PatientID") or "").strip()
    return f"{str(header.get('IssuerOfPatientID') or '').strip()}\x1f{number}" if number else None


def read_series(paths: Sequence[Path], *, max_values: int = MAX_VALUES, irregular: Irregular = "refuse") -> Series:
    """Read the files of one series, ordered by their place in the patient, never by name.

    Args:
        paths: single slices, or one multi-frame object.
        max_values: refuse larger series from their headers.
        irregular: what becomes of series that are tilted, lack slices, or have several distances or pixel sizes: see
            `place_frames`; "resample" interpolates on a regular grid of right angles.

    Raises:
        ScanFault: damaged or truncated, of several series or orientations, two slices at one place, irregular where
            that is to be refused, or too large.
    """
    notes: list[str] = []
    headers = _without_copies([(path, read_header(path)) for path in paths], notes)
    _check_one_series([header for _, header in headers])
    frames = [frame for path, header in headers for frame in _frames(path, header)]
    first = frames[0].header
    rows, columns = int(first.get("Rows") or 0), int(first.get("Columns") or 0)
    values = len(frames) * rows * columns * int(first.get("SamplesPerPixel") or 1)
    if values > max_values:
        raise ScanFault(
            "limit", f"the series holds {values:.3g} values, more than {max_values:g}: --max-values takes more"
        )
    frames, planes = _in_order(frames, notes)
    stack = _stacked(frames)
    space, spacing = None, _spacing(frames[0], notes)
    if planes is not None:
        space, spacing = _placed(frames, planes, irregular, (rows, columns), notes)
        if space.is_resampled:
            stack = resample_frames(stack, planes, space)
    if "YES" in str(first.get("BurnedInAnnotation", "")).upper():
        notes.append("the file says that text is burned into its pixels: look before you publish overlays")
    return Series(
        values=stack,
        spacing_mm=spacing,
        space=space,
        is_ct=str(first.get("Modality", "")) == "CT",
        is_inverted=str(first.get("PhotometricInterpretation", "")) == "MONOCHROME1",
        windows=_proposed_window(first),
        instance_uids=tuple(str(frame.header.get("SOPInstanceUID", "")) for frame in frames),
        frame_numbers=tuple(frame.index + 1 for frame in frames),
        notes=tuple(notes),
        planes=planes,
        frame_of_reference=str(first.get("FrameOfReferenceUID", "")),
        size=(rows, columns),
    )


def find_dicom(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are DICOM by their first bytes, whatever they are called, and those that are named so."""
    return [path for path in paths if path.name.lower().endswith(SUFFIXES) or has_preamble(path)]


def has_preamble(path: Path) -> bool:
    """Return whether a file begins as DICOM files do; names of other kinds of files are not looked into."""
    if path.suffix.lower() in _OF_OTHER_KINDS:
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def group_series(paths: Sequence[Path]) -> Grouped:
    """Sort files into series, segmentations, structure sets, other objects, and what cannot be read."""
    grouped = Grouped()
    for path in paths:
        try:
            header = read_header(path)
        except ScanFault as fault:
            grouped.faults.append((path, fault))
            continue
        kind = str(header.get("SOPClassUID", "") or header.file_meta.get("MediaStorageSOPClassUID", ""))
        modality = str(header.get("Modality", ""))
        if kind == DIRECTORY_CLASS:
            continue
        if kind in SEG_CLASSES or modality == "SEG":
            grouped.segmentations.append(path)
        elif kind == RTSTRUCT_CLASS or modality == "RTSTRUCT":
            grouped.structure_sets.append(path)
        elif not header.get("Rows") or not header.get("Columns"):
            grouped.others.append((path, modality or "of no modality"))
        else:
            series = str(header.get("SeriesInstanceUID", ""))
            grouped.series.setdefault(series, []).append(path)
            if (patient := patient_of(header)) is not None:
                grouped.patients.setdefault(series, set()).add(patient)
            grouped.instances[str(header.get("SOPInstanceUID", ""))] = series
            grouped.references.setdefault(str(header.get("FrameOfReferenceUID", "")), set()).add(series)
    return grouped


def _without_copies(
    headers: "list[tuple[Path, pydicom.Dataset]]", notes: list[str]
) -> "list[tuple[Path, pydicom.Dataset]]":
    """One file for each instance."""
    kept = {str(header.get("SOPInstanceUID", "")) or str(path): (path, header) for path, header in reversed(headers)}
    if len(kept) < len(headers):
        notes.append(f"copies of other files are left out: {len(headers) - len(kept)}")
    return list(reversed(kept.values()))


def _check_one_series(headers: "list[pydicom.Dataset]") -> None:
    for tag, what in (
        ("SeriesInstanceUID", "series"),
        ("Rows", "heights"),
        ("Columns", "widths"),
        ("PhotometricInterpretation", "photometric interpretations"),
    ):
        found = {str(header.get(tag, "")) for header in headers}
        if len(found) > 1:
            raise ScanFault("series", f"the files are of {len(found)} {what}: keep one series to a folder")
    patients = {patient_of(header) for header in headers} - {None}
    if len(patients) > 1:
        raise ScanFault("patient", f"the files of one series name {len(patients)} patients: repair PatientID first")


def _frames(path: Path, header: "pydicom.Dataset") -> Iterator[Frame]:
    """A file's frames; those of multi-frame objects each with a place of its own."""
    count = int(header.get("NumberOfFrames") or 1)
    has_groups = "SharedFunctionalGroupsSequence" in header or "PerFrameFunctionalGroupsSequence" in header
    for index in range(count):
        places: list[pydicom.Dataset | None] = [header if count == 1 else None] * 3
        if has_groups:
            names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
            places = [functional_group(header, index, name) for name in names]
        origin, turn, pixel = (
            None if place is None or place.get(tag) is None else tuple(float(v) for v in place[tag].value)
            for place, tag in zip(
                places, ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"), strict=True
            )
        )
        if pixel is None and not has_groups and header.get("PixelSpacing") is not None:
            pixel = tuple(float(v) for v in header.PixelSpacing)
        if pixel is not None and not (len(pixel) == 2 and min(pixel) > 0):
            raise ScanFault("spacing", "the pixel spacing is 0 or negative: repair the file first")
        yield Frame(path, header, index, origin, turn, None if pixel is None else (pixel[0], pixel[1]))


def _in_order(frames: list[Frame], notes: list[str]) -> tuple[list[Frame], Planes | None]:
    """Frames along their normal, and where they lie; by instance number and None where they do not say."""
    if not all(f.origin is not None and f.turn is not None and f.pixel_mm is not None for f in frames):
        if len(frames) > 1:
            placed = sum(f.origin is not None and f.turn is not None for f in frames)
            lack = f"{len(frames) - placed} of {len(frames)} slices" if placed else "the slices"
            said = f"{lack} do not say where they lie"
            if placed == len(frames):
                said = f"{sum(f.pixel_mm is None for f in frames)} of {len(frames)} slices lack their pixel spacing"
            notes.append(f"{said}: ordered by their instance number")
        return sorted(frames, key=lambda f: (int(f.header.get("InstanceNumber") or 0), f.index)), None
    turns = np.array([frame.turn for frame in frames], dtype=np.float64)
    off = np.abs(turns - turns[0]).max(axis=1)
    if (off > MAX_TURN).any():
        angle = max(_angle(turns[0], turn) for turn in turns)
        raise ScanFault(
            "orientation", f"{int((off > MAX_TURN).sum())} of {len(frames)} slices are turned against the first, "
            f"by up to {angle:.3g} degrees: keep one orientation to a folder",
        )  # fmt: skip
    origins = np.array([frame.origin for frame in frames], dtype=np.float64)
    planes = Planes(origins, turns[0], np.array([frame.pixel_mm for frame in frames], dtype=np.float64))
    order = np.argsort(planes.depths, kind="stable")
    at_one_place = np.flatnonzero(np.diff(planes.depths[order]) < 1e-4)
    if len(at_one_place):
        pairs = [(frames[order[i]], frames[order[i + 1]]) for i in at_one_place]
        raise ScanFault("duplicate", _said_of_doubles(pairs))
    return [frames[i] for i in order], Planes(origins[order], turns[0], planes.pixels_mm[order])


def _said_of_doubles(pairs: list[tuple[Frame, Frame]]) -> str:
    """Return what is seen of slices at one place: how many, and the elements they differ in; never a value."""
    differ = [
        tag for tag in _TELL_APART
        if any(str(one.header.get(tag, "")) != str(other.header.get(tag, "")) for one, other in pairs)
    ]  # fmt: skip
    where = f", which differ in {', '.join(differ[:4])}" if differ else ""
    inside = " of one file" if all(one.path == other.path for one, other in pairs) else ""
    count = "two slices lie" if len(pairs) == 1 else f"{len(pairs)} pairs of slices{inside} lie"
    return f"{count} at one place{where}: keep one of each in the folder"


def _angle(one: np.ndarray, other: np.ndarray) -> float:
    """Between two orientations' normals, or their rows where that is more [degrees]."""
    pairs = ((np.cross(one[:3], one[3:]), np.cross(other[:3], other[3:])), (one[:3], other[:3]))
    return max(float(np.degrees(np.arccos(np.clip(a @ b, -1, 1)))) for a, b in pairs)


def _placed(
    frames: list[Frame], planes: Planes, irregular: Irregular, size: tuple[int, int], notes: list[str]
) -> tuple[SeriesSpace, tuple[float, float, float]]:
    """The space of frames, and the distance of neighbours [mm]."""
    paths = tuple(dict.fromkeys(frame.path for frame in frames))
    thickness = _thickness(frames[0])
    if irregular == "resample" and len(frames) > 1:
        try:
            space, spacing, _ = place_frames(planes, paths, "refuse")
        except ScanFault:
            space, said = regular_space(planes, paths, size)
            notes.append(said)
            row, column = (float(v) for v in space.planes.pixels_mm[0])
            return space, (float(np.linalg.norm(space.affine[:3, 2])), row, column)
        return space, spacing
    space, spacing, told = place_frames(planes, paths, irregular)
    if len(paths) == 1 and len(frames) > 1:
        space = replace(space, frame_numbers=tuple(frame.index for frame in frames))
    notes += told
    if len(frames) == 1 and thickness:
        affine = space.affine.copy()
        affine[:3, 2] *= thickness
        return replace(space, affine=affine), (thickness, *spacing[1:])
    stated = _stated_distance(frames[0])
    if stated is not None and abs(stated - spacing[0]) > 0.01 * spacing[0] and len(frames) > 1:
        notes.append(f"headers say {stated:g} mm between slices, positions {spacing[0]:.4g} mm: positions are taken")
    return space, spacing


def _stacked(frames: list[Frame]) -> np.ndarray:
    """Values of frames in their order; every file is read once."""
    if len(frames) == len({frame.path for frame in frames}):
        return np.concatenate([read_pixels(frame.path)[:1] for frame in frames])
    read = {path: read_pixels(path) for path in dict.fromkeys(frame.path for frame in frames)}
    try:
        return np.stack([read[frame.path][frame.index] for frame in frames])
    except IndexError:
        raise ScanFault("truncated", "a file holds fewer frames than its header says") from None


def _measures(frame: Frame) -> "pydicom.Dataset":
    return functional_group(frame.header, frame.index, "PixelMeasuresSequence") or frame.header


def _thickness(frame: Frame) -> float:
    return abs(float(_measures(frame).get("SliceThickness") or 0))


def _stated_distance(frame: Frame) -> float | None:
    stated = _measures(frame).get("SpacingBetweenSlices")
    return None if stated is None else abs(float(stated))


def _spacing(frame: Frame, notes: list[str]) -> tuple[float, float, float] | None:
    """(frame, row, column) [mm] where positions are not known; DICOM's PixelSpacing is (row, column)."""
    pixel = frame.pixel_mm
    if pixel is None:
        detector = frame.header.get("ImagerPixelSpacing")
        if detector is None:
            return None
        notes.append("spacing is that of the detector (ImagerPixelSpacing): magnification is not taken out")
        pixel = float(detector[0]), float(detector[1])
    if min(pixel) <= 0:
        raise ScanFault("spacing", "the pixel spacing is 0 or negative: repair the file first")
    return _stated_distance(frame) or _thickness(frame) or 1.0, *pixel


def _proposed_window(header: "pydicom.Dataset") -> tuple[float, float] | None:
    holder = functional_group(header, 0, "FrameVOILUTSequence") or header
    level, width = holder.get("WindowCenter"), holder.get("WindowWidth")
    if level is None or width is None:
        return None
    first_level, first_width = (float(np.atleast_1d(np.asarray(v, dtype=np.float64))[0]) for v in (level, width))
    return (first_level, first_width) if first_width >= 1 else None
