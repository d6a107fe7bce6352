"""Opening: one scan, whatever it is (a volume file, a DICOM series, a plain image), and a file of labels for it."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from .dicom import Series, find_dicom, group_series
from .errors import ScanFault
from .images import MAX_LABELS, read_values
from .nifti import ITK_SUFFIXES, NIFTI_SUFFIXES, FileSpace, is_volume_file, read_volume
from .pairing import CaseFiles
from .reading import ReadingConfig, quiet_readers, read_dicom_images, read_dicom_labels, read_scan
from .remedies import labels_on_series, mend_labels
from .scan import Scan

_AS_EVER = ReadingConfig()
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".ppm")


@dataclass(frozen=True, eq=False)
class GivenMask:
    """One structure of a file of labels, on the frames of a scan."""

    label: str
    """As the file names it; empty where it has values only."""
    value: int
    """As the file stores it; 0 where it has names only."""
    mask: Bool[np.ndarray, "s h w"]


@dataclass(frozen=True, eq=False)
class OpenedScan:
    """A scan and where it came from.

    >>> OpenedScan(Scan(np.zeros((1, 4, 5, 3), np.uint8), ()), Path("study/head.png"), (), "image").stem
    'head'
    """

    scan: Scan
    path: Path
    """As the user named it."""
    files: tuple[Path, ...]
    """All files that were read, in the order of the frames; they are never written to."""
    kind: str
    """volume, dicom or image."""
    series: Series | None = None
    """Where a DICOM series' own frames lie; without its values."""

    @property
    def stem(self) -> str:
        """Name that results begin with: the file's or folder's own without its suffix."""
        return scan_stem(self.path)


def scan_stem(path: Path) -> str:
    """Return a scan's name without the suffixes that scans have.

    >>> scan_stem(Path("study/head.nii.gz")), scan_stem(Path("study/series.7"))
    ('head', 'series.7')
    """
    name = path.name or path.resolve().name
    for suffix in (*sorted((*NIFTI_SUFFIXES, *ITK_SUFFIXES, *IMAGE_SUFFIXES), key=len, reverse=True), ".dcm"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def open_scan(path: Path, config: ReadingConfig = _AS_EVER, *, series: int | None = None) -> OpenedScan:
    """Read a scan for prompting.

    >>> import tempfile
    >>> from zim_plugins.core import write_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     opened = open_scan(write_image(Path(folder, "ball.png"), np.full((8, 9, 3), 200, np.uint8)))
    >>> opened.kind, opened.scan.frames.shape
    ('image', (1, 8, 9, 3))

    Args:
        path: a volume file, an image, a DICOM file, or a folder that holds DICOM files.
        config: window, axis and limits.
        series: which one, from 1, of a folder that holds several, in the order that the refusal lists them.

    Raises:
        ScanFault: it cannot be read, or a folder holds no series or several and `series` does not say which.
    """
    if path.is_dir():
        files, notes = dicom_files(path, series)
        try:
            scan, frames = read_dicom_images(files, config)
        except ScanFault as fault:
            raise ScanFault(fault.reason, "; ".join((str(fault), *notes))) from None
        return OpenedScan(replace(scan, notes=(*notes, *scan.notes)), path, files, "dicom", frames)
    if not path.is_file():
        raise ScanFault("missing", "there is no such file or folder")
    if is_volume_file(path):
        return OpenedScan(read_scan(CaseFiles("scan", "scan", (path,), ()), config), path, (path,), "volume")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return OpenedScan(read_scan(CaseFiles("scan", "scan", (path,), ()), config), path, (path,), "image")
    scan, frames = read_dicom_images((path,), config)
    return OpenedScan(scan, path, (path,), "dicom", frames)


def read_labels(
    path: Path, opened: OpenedScan, config: ReadingConfig = _AS_EVER
) -> tuple[list[GivenMask], tuple[str, ...]]:
    """Read a file of labels on the frames of a scan, with the same remedies as in evaluations.

    Args:
        path: a volume in the scan's space, an image of an image's size, a segmentation object or structure set of a
            DICOM series.
        opened: the scan.
        config: holds the remedies.

    Returns:
        A mask for each value or name of the file, empty ones left out, and what was done to them.

    Raises:
        ScanFault: it cannot be read, or lies elsewhere; the message names the remedy where there is one.
    """
    if not path.is_file():
        raise ScanFault("missing", f"there is no mask {path}")
    with quiet_readers():
        try:
            return _labels_of(path, opened, config)
        except ScanFault as fault:
            raise ScanFault(fault.reason, f"the mask {path.name}: {fault}") from None


def _labels_of(path: Path, opened: OpenedScan, config: ReadingConfig) -> tuple[list[GivenMask], tuple[str, ...]]:
    scan, series = opened.scan, opened.series
    notes: tuple[str, ...] = ()
    if is_volume_file(path):
        labels, affine, _ = read_volume(path, volume=config.volume, max_values=config.max_values)
        if isinstance(scan.space, FileSpace):
            labels, notes = mend_labels(
                np.asarray(labels), affine, scan.space.affine, scan.space.shape, config.remedies
            )
            values = scan.space.stack(labels)
        elif series is not None:
            values, notes = labels_on_series(np.asarray(labels), affine, series, config.remedies)
        else:
            raise ScanFault("mask", "is a volume, the scan is an image: give an image of its size")
    elif find_dicom([path]):
        return _dicom_labels(path, series, config)
    else:
        values = read_values(path, max_pixels=config.max_pixels)[None]
        if len(scan.frames) > 1:
            raise ScanFault("mask", "is an image, the scan has slices: give a volume in its space" + (
                ", or a DICOM segmentation or structure set" if series is not None else ""))  # fmt: skip
        if values.shape != scan.frames.shape[:3]:
            (height, width), (rows, columns) = values.shape[1:], scan.frames.shape[1:3]
            raise ScanFault("size", f"is {width}x{height} px, the scan {columns}x{rows} px: nothing is resized")
        if len(found := np.unique(values[values > 0])) > MAX_LABELS:
            raise ScanFault("label", f"holds {len(found)} values: give one value to each structure")
    return [GivenMask("", int(v), values == v) for v in np.unique(values[values > 0])], notes


def _dicom_labels(path: Path, series: Series | None, config: ReadingConfig) -> tuple[list[GivenMask], tuple[str, ...]]:
    grouped = group_series([path])
    if grouped.faults:
        raise grouped.faults[0][1]
    if series is None:
        raise ScanFault("mask", "is a DICOM object, the scan is no DICOM series: give a volume in the scan's space")
    if not (grouped.segmentations or grouped.structure_sets):
        raise ScanFault("mask", "is a DICOM object but neither a segmentation nor a structure set")
    notes: list[str] = []
    encoding = "dicom-seg" if grouped.segmentations else "rtstruct"
    found: dict[str, np.ndarray] = {}
    for label, mask in read_dicom_labels(path, encoding, series, config.remedies, notes):
        found[label] = mask if label not in found else found[label] | mask
    return [GivenMask(label, 0, mask) for label, mask in found.items() if mask.any()], tuple(notes)


def dicom_files(folder: Path, number: int | None = None) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the files of the one DICOM series in a folder and below it, and what is left out.

    Raises:
        ScanFault: there is none, or there are several and `number` (from 1) does not say which.
    """
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")
    grouped = group_series(find_dicom(paths))
    listed = sorted(grouped.series.values(), key=lambda files: files[0].as_posix())
    faults = Counter(str(fault) for _, fault in grouped.faults)
    notes = tuple(f"{n} {'file is' if n == 1 else 'files are'} left out: {said}" for said, n in faults.items())
    if not listed:
        seen = "; ".join(("", *notes)) or f" among {len(paths)} files"
        raise ScanFault("empty", f"the folder holds no DICOM image{seen} (a folder of other scans needs --table)")
    if number is None and len(listed) > 1:
        sizes = ", ".join(f"{i}: {len(files)} files" for i, files in enumerate(listed, start=1))
        raise ScanFault("series", f"the folder holds {len(listed)} series ({sizes}): say which with --series N")
    if number is not None and not 1 <= number <= len(listed):
        raise ScanFault("series", f"there is no series {number}: the folder holds 1..{len(listed)}")
    return tuple(listed[(number or 1) - 1]), notes
