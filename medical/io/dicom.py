"""DICOM: a series, a multi-frame object or a single picture as values in order, with their place in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Shaped

from zim_plugins.core import MissingExtra

from .errors import ScanFault
from .scan import MAX_VALUES

if TYPE_CHECKING:
    import pydicom

SUFFIXES = (".dcm", ".dicom", ".ima")
SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
GAP_TOLERANCE = 0.01
"""Share by which the distance of neighbouring slices may vary before it is told."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class SeriesSpace:
    """The frames of a DICOM series, ordered along their normal."""

    affine: Float64[np.ndarray, "4 4"]
    """From (column, row, frame) indices to RAS+ [mm]."""
    paths: tuple[Path, ...]
    """The files in the order of the frames; one where a file holds all of them."""

    def restore(self, stack: Shaped[np.ndarray, "s h w"]) -> Shaped[np.ndarray, "i j k"]:
        """A stack of frames as NIfTI holds it: (column, row, frame)."""
        return np.ascontiguousarray(stack.transpose(2, 1, 0))

    def to_stack(self, voxels: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Places (frame, row, column) in the stack of voxel indices (column, row, frame)."""
        return voxels[:, ::-1].copy()


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
    """Of the files, in order; for matching labels, never written."""
    notes: tuple[str, ...]


def import_pydicom() -> Any:
    """The pydicom module; MissingExtra names the remedy where it is absent."""
    try:
        import pydicom
        import pydicom.errors
        import pydicom.pixels
    except ImportError as error:
        raise MissingExtra("pydicom", "medical") from error
    return pydicom


def read_header(path: Path) -> "pydicom.Dataset":
    """A file's elements but the pixels.

    Raises:
        ScanFault: no DICOM, or damaged; the fault's text quotes no element.
    """
    pydicom = import_pydicom()
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except pydicom.errors.InvalidDicomError:
        raise ScanFault("not-dicom", "no DICOM file (its preamble is missing)") from None
    except (OSError, EOFError, ValueError, AttributeError, KeyError, TypeError, NotImplementedError) as error:
        raise ScanFault("damaged", f"the DICOM header cannot be read ({type(error).__name__})") from None


def patient_of(path: Path) -> str | None:
    """Return what tells a file's patient from others (PatientID and its issuer); None where it is empty."""
    header = read_header(path)
    number = str(header.get("PatientID") or "").strip()
    return f"{str(header.get('IssuerOfPatientID') or '').strip()}\x1f{number}" if number else None


def read_series(paths: Sequence[Path], *, max_values: int = MAX_VALUES) -> Series:
    """Read the files of one series, ordered by their place in the patient, never by name.

    Raises:
        ScanFault: damaged or truncated, of several series or orientations, two slices at one place, or too large.
    """
    notes: list[str] = []
    headers = _without_copies([(path, read_header(path)) for path in paths], notes)
    _check_one_series([header for _, header in headers])
    ordered, gap_mm = _ordered(headers, notes)
    first = ordered[0][1]
    frames = sum(int(header.get("NumberOfFrames") or 1) for _, header in ordered)
    values = frames * int(first.get("Rows") or 0) * int(first.get("Columns") or 0)
    values *= int(first.get("SamplesPerPixel") or 1)
    if values > max_values:
        raise ScanFault("limit", f"the series holds {values:.3g} values, more than {max_values:g}")
    stack = np.concatenate([_pixels(path) for path, _ in ordered])
    spacing = _spacing(first, gap_mm, notes)
    if "YES" in str(first.get("BurnedInAnnotation", "")).upper():
        notes.append("the file says that text is burned into its pixels: look before you publish overlays")
    return Series(
        values=stack,
        spacing_mm=spacing,
        space=_space(ordered, spacing, len(stack)),
        is_ct=str(first.get("Modality", "")) == "CT",
        is_inverted=str(first.get("PhotometricInterpretation", "")) == "MONOCHROME1",
        windows=_proposed_window(first),
        instance_uids=tuple(str(header.get("SOPInstanceUID", "")) for _, header in ordered),
        notes=tuple(notes),
    )


def group_series(paths: Sequence[Path]) -> tuple[dict[str, list[Path]], list[Path], list[tuple[Path, ScanFault]]]:
    """Files by series UID, segmentation objects, and files that cannot be read."""
    series: dict[str, list[Path]] = {}
    segmentations: list[Path] = []
    faults: list[tuple[Path, ScanFault]] = []
    for path in paths:
        try:
            header = read_header(path)
        except ScanFault as fault:
            faults.append((path, fault))
            continue
        if str(header.get("SOPClassUID", "")) == SEG_CLASS or header.get("Modality") == "SEG":
            segmentations.append(path)
        else:
            series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(path)
    return series, segmentations, faults


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


def _ordered(
    headers: "list[tuple[Path, pydicom.Dataset]]", notes: list[str]
) -> "tuple[list[tuple[Path, pydicom.Dataset]], float | None]":
    """Files along their slices' normal, and the distance of neighbours [mm] where they say where they lie."""
    placed = [h.get("ImagePositionPatient") is not None and h.get("ImageOrientationPatient") is not None
              for _, h in headers]  # fmt: skip
    if len(headers) == 1:
        return headers, None
    if not all(placed):
        notes.append("the slices do not say where they lie: ordered by their instance number")
        return sorted(headers, key=lambda item: int(item[1].get("InstanceNumber") or 0)), None
    turn = np.array([[float(v) for v in h.ImageOrientationPatient] for _, h in headers])
    if np.abs(turn - turn[0]).max() > 1e-3:
        raise ScanFault("orientation", "the slices are turned against one another: they are no volume")
    normal = np.cross(turn[0][:3], turn[0][3:])
    depth = np.array([float(normal @ [float(v) for v in h.ImagePositionPatient]) for _, h in headers])
    order = np.argsort(depth, kind="stable")
    gaps = np.diff(depth[order])
    if (gaps < 1e-4).any():
        raise ScanFault("duplicate", "two slices lie at one place: several acquisitions are mixed")
    typical = float(np.median(gaps))
    if (np.abs(gaps - typical) > GAP_TOLERANCE * typical).any():
        notes.append(f"slices are {gaps.min():g} to {gaps.max():g} mm apart: some may be missing")
    return [headers[i] for i in order], typical


def _has_decoder(path: Path) -> bool:
    """Return whether a decoder for the file's compression is installed."""
    pydicom = import_pydicom()
    try:
        return pydicom.pixels.get_decoder(read_header(path).file_meta.TransferSyntaxUID).is_available
    except (NotImplementedError, AttributeError):  # a compression that pydicom does not know, or none that is named
        return False


def _pixels(path: Path) -> np.ndarray:
    """One file's frames (s, h, w[, 3]), after its modality's rescaling."""
    pydicom = import_pydicom()
    try:
        dataset = pydicom.dcmread(path)
        array = pydicom.pixels.pixel_array(dataset)
        is_colour = int(dataset.get("SamplesPerPixel") or 1) == 3
        if not is_colour:
            array = pydicom.pixels.apply_modality_lut(array, dataset)
    except (OSError, EOFError, ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
        raise ScanFault(
            "truncated", f"the pixels cannot be read ({type(error).__name__}): cut off or damaged"
        ) from None
    except (NotImplementedError, RuntimeError) as error:
        if _has_decoder(path):  # it failed on these bytes
            raise ScanFault("truncated", "the compressed pixels cannot be decoded: cut off or damaged") from None
        raise ScanFault(
            "compression", f"no decoder for this compression is installed ({type(error).__name__}): "
            "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg",
        ) from None  # fmt: skip
    planes = 3 if is_colour else 2
    if array.ndim == planes:
        array = array[None]
    if array.ndim != planes + 1 or 0 in array.shape:
        raise ScanFault("size", f"pixels of {array.ndim} dimensions are no pictures")
    if is_colour:
        bits = int(dataset.get("BitsStored") or 8)
        return (
            array.astype(np.uint8) if bits <= 8 else (array.astype(np.float32) / (2**bits - 1) * 255).astype(np.uint8)
        )
    return array.astype(np.float32)


def _spacing(header: "pydicom.Dataset", gap_mm: float | None, notes: list[str]) -> tuple[float, float, float] | None:
    """(frame, row, column) [mm]; DICOM's PixelSpacing is (row, column)."""
    holder = header
    pixel = header.get("PixelSpacing")
    if pixel is None and header.get("SharedFunctionalGroupsSequence"):
        measures = header.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence")
        if measures:
            holder, pixel = measures[0], measures[0].get("PixelSpacing")
    if pixel is None:
        pixel = header.get("ImagerPixelSpacing")
        if pixel is None:
            return None
        notes.append("spacing is that of the detector (ImagerPixelSpacing): magnification is not taken out")
    row, column = (float(v) for v in pixel)
    between = gap_mm or float(holder.get("SpacingBetweenSlices") or holder.get("SliceThickness") or 1.0)
    if not (row > 0 and column > 0 and between > 0):
        raise ScanFault("spacing", "the pixel spacing is 0 or negative: repair the file first")
    return between, row, column


def _space(
    ordered: "list[tuple[Path, pydicom.Dataset]]", spacing: tuple[float, float, float] | None, frames: int
) -> SeriesSpace | None:
    first = ordered[0][1]
    if spacing is None or first.get("ImagePositionPatient") is None or first.get("ImageOrientationPatient") is None:
        return None
    if frames != len(ordered):  # frames of one file may lie anywhere
        return None
    turn = np.array([float(v) for v in first.ImageOrientationPatient])
    affine = np.eye(4)
    affine[:3, 0] = turn[:3] * spacing[2]
    affine[:3, 1] = turn[3:] * spacing[1]
    affine[:3, 2] = np.cross(turn[:3], turn[3:]) * spacing[0]
    affine[:3, 3] = [float(v) for v in first.ImagePositionPatient]
    return SeriesSpace(LPS_TO_RAS @ affine, tuple(path for path, _ in ordered))


def _proposed_window(header: "pydicom.Dataset") -> tuple[float, float] | None:
    level, width = header.get("WindowCenter"), header.get("WindowWidth")
    if level is None or width is None:
        return None
    first_level, first_width = (float(np.atleast_1d(np.asarray(v, dtype=np.float64))[0]) for v in (level, width))
    return (first_level, first_width) if first_width >= 1 else None
