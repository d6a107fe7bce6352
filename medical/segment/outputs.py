"""Outputs of a segmentation in the scan's own space: all files of a scan, or none of them."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from zim_plugins.core import ImageError, write_image

from ..deidentify import make_salt
from ..io.association import Kept
from ..io.errors import ScanFault
from ..io.nifti import FileSpace, write_nifti
from ..io.opening import OpenedScan
from ..io.placement import SeriesSpace
from ..labelling import OVERLAP_RULE
from .overlays import draw_sheet
from .scans import Segmented

FORMATS = ("nifti", "dicom-seg", "rtstruct", "png")
SUFFIXES = {"nifti": "_seg.nii.gz", "dicom-seg": "_seg.dcm", "rtstruct": "_rtstruct.dcm", "png": "_seg.png"}
OF_KIND = {"volume": ("nifti",), "dicom": ("nifti", "dicom-seg", "rtstruct"), "image": ("png",)}
"""What a kind of scan can be written as, the default first."""


def choose_formats(asked: Sequence[str], opened: OpenedScan) -> tuple[str, ...]:
    """Return the formats to write: those asked for, or the scan's own.

    Raises:
        ValueError: a format is unknown, or the scan cannot carry it.
    """
    if unknown := [name for name in asked if name not in FORMATS]:
        raise ValueError(f"formats are {', '.join(FORMATS)}, got {', '.join(unknown)}")
    possible = OF_KIND[opened.kind]
    space = opened.scan.space
    if opened.kind == "dicom" and not isinstance(space, SeriesSpace):
        possible = ("png",) if len(opened.scan.frames) == 1 else ()
    elif isinstance(space, SeriesSpace) and space.is_resampled:
        possible = ("nifti", "rtstruct")  # a segmentation object lies on the files' own slices
    if not possible:
        raise ValueError(
            "the slices lack their position, orientation or pixel spacing: no format can hold their labels in place, "
            "repair the files first"
        )
    if impossible := [name for name in asked if name not in possible]:
        needed = {"png": "an image", "nifti": "a volume"}.get(impossible[0], "a DICOM series")
        raise ValueError(f"{impossible[0]} needs {needed}: this scan can be written as {', '.join(possible)}")
    return tuple(dict.fromkeys(asked)) or possible[:1]


def plan_files(folder: Path, stem: str, formats: Sequence[str]) -> dict[str, Path]:
    """Return the files of one scan's results by kind."""
    files = {name: folder / f"{stem}{SUFFIXES[name]}" for name in formats}
    return files | {"overlay": folder / f"{stem}_overlay.png", "record": folder / f"{stem}_seg.json"}


def check_free(files: dict[str, Path], opened: OpenedScan, *, overwrite: bool) -> None:
    """Raise ValueError where a result would replace a file of the scan, or another one unasked."""
    inputs = {path.resolve() for path in opened.files}
    for path in files.values():
        if path.resolve() in inputs:
            raise ValueError(f"{path} is the scan itself: name another --out")
        if path.exists() and not overwrite:
            raise ValueError(f"{path} is there already: give --overwrite, or another --out")


def write_outputs(
    files: dict[str, Path], opened: OpenedScan, result: Segmented, record: dict[str, Any], *,
    model: str, kept: Kept = "references",
) -> None:  # fmt: skip
    """Write all files of a scan's results under other names, and rename them when all are complete.

    Args:
        files: of `plan_files`.
        record: goes into the JSON file, with the table of values.
        model: what made the masks.
        kept: what of the scan DICOM results name.

    Raises:
        ImageError: the disk refuses.
        ScanFault: the scan cannot carry a format.
    """
    folder = next(iter(files.values())).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".zim-", dir=folder))
    except OSError as error:
        raise ImageError(f"cannot write into {folder}: {error.strerror or error}") from error
    try:
        for kind, path in files.items():
            _write(kind, staging / path.name, opened, result, record, model, kept)
        moved: list[Path] = []
        try:
            for path in files.values():
                if not path.exists():
                    moved.append(path)
                os.replace(staging / path.name, path)
        except OSError:
            for path in moved:
                path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ImageError(f"cannot write into {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(
    kind: str, path: Path, opened: OpenedScan, result: Segmented, record: dict[str, Any], model: str,
    kept: Kept,
) -> None:  # fmt: skip
    space = opened.scan.space
    if kind == "record":
        table = {"labels": result.table.values, "overlap_rule": OVERLAP_RULE}
        path.write_text(json.dumps(record | table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    elif kind == "overlay":
        write_image(path, draw_sheet(opened.scan.frames, result.structures, result.numbers, opened.scan.spacing_mm))
    elif kind == "png":
        PIL.Image.fromarray(result.labels[0]).save(path)
    elif kind == "nifti" and isinstance(space, FileSpace | SeriesSpace):
        stored = space.stored if isinstance(space, FileSpace) else None
        write_nifti(path, space.restore(result.labels), space.affine, stored)
    elif isinstance(space, SeriesSpace):
        _write_dicom(kind, path, space, result, model, kept)
    else:
        raise ScanFault("format", f"this scan cannot be written as {kind}")


def _write_dicom(kind: str, path: Path, space: SeriesSpace, result: Segmented, model: str, kept: Kept) -> None:
    from ..io.dicom_seg import write_segmentation
    from ..io.rtstruct import write_structures

    masks = [(one.name, result.mask(one.name)) for one, _ in result.structures]
    if not any(mask.any() for _, mask in masks):
        raise ScanFault("empty", f"nothing was found, and a {kind} file cannot be empty: --format nifti can")
    write = write_segmentation if kind == "dicom-seg" else write_structures
    write(path, masks, space, model=model, case_id="", salt=make_salt(), kept=kept)
