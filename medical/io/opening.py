"""Opening: one scan without labels, whatever it is: a volume file, a DICOM series or a plain image."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from .dicom import find_dicom, group_series
from .errors import ScanFault
from .nifti import ITK_SUFFIXES, NIFTI_SUFFIXES, is_volume_file
from .pairing import CaseFiles
from .reading import ReadingConfig, read_dicom_images, read_scan
from .scan import Scan

_AS_EVER = ReadingConfig()
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".ppm")


@dataclass(frozen=True, eq=False)
class OpenedScan:
    """A scan and where it came from."""

    scan: Scan
    path: Path
    """As the user named it."""
    files: tuple[Path, ...]
    """All files that were read, in the order of the frames; they are never written to."""
    kind: str
    """volume, dicom or image."""

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
            scan = read_dicom_images(files, config)
        except ScanFault as fault:
            raise ScanFault(fault.reason, "; ".join((str(fault), *notes))) from None
        return OpenedScan(replace(scan, notes=(*notes, *scan.notes)), path, files, "dicom")
    if not path.is_file():
        raise ScanFault("missing", "there is no such file or folder")
    if is_volume_file(path):
        return OpenedScan(read_scan(CaseFiles("scan", "scan", (path,), ()), config), path, (path,), "volume")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return OpenedScan(read_scan(CaseFiles("scan", "scan", (path,), ()), config), path, (path,), "image")
    return OpenedScan(read_dicom_images((path,), config), path, (path,), "dicom")


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
