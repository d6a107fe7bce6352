"""Check: what a folder's files are, which lack a partner, and which cannot be used, by name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .io.dicom import has_preamble
from .io.errors import ODD_FILE, ScanFault
from .io.layouts import LAYOUTS, Encoding, Layout
from .io.pairing import CaseFiles, Problem, find_cases
from .io.reading import ReadingConfig, read_scan
from .labelling import settle_labels

SMALL_OBJECT_PX = 100
"""MedSAM drops smaller objects; here they are counted."""


@dataclass(frozen=True)
class CaseCheck:
    """Contents of a case, or the reason why it cannot be used."""

    where: str
    size: tuple[int, ...] = ()
    """Frames, rows and columns."""
    labels: tuple[str, ...] = ()
    small_objects: int = 0
    notes: tuple[str, ...] = ()
    fault: str = ""


def guess_layout(root: Path) -> Layout:
    """The layout under which most files of a folder make cases, and fewest are left over.

    Raises:
        ValueError: none fits.
    """
    scored = []
    for place, layout in enumerate(LAYOUTS.values()):
        if layout.name == "dicom" and not _holds_dicom(root):
            continue
        cases, problems = find_cases(root, layout)
        masks = sum(len(case.masks) for case in cases)
        # Several sets keep images/ beside masks/: the folder's own name tells them apart, a plain folder is as good.
        named = layout.name != "folder" and _letters(layout.name) in _letters(str(root.resolve()))
        if cases:
            scored.append((len(cases) + masks - len(problems), named, -place, layout))
    if not scored and _holds_dicom(root):
        return LAYOUTS["dicom"]  # what is wrong with its files is said one by one
    if not scored:
        raise ValueError(
            f"{root} is of no known layout (zim-medseg check --list): put images into images/ and masks of the same "
            "stems into masks/, or name the layout with --as"
        )
    return max(scored, key=lambda entry: entry[:3])[3]


def check_cases(root: Path, cases: list[CaseFiles], reading: ReadingConfig) -> Iterator[CaseCheck]:
    """Read each case and tell what it holds."""
    for case in cases:
        where = case.images[0].relative_to(root).as_posix()
        try:
            scan = read_scan(case, reading)
        except ScanFault as fault:
            yield CaseCheck(where, fault=str(fault))
            continue
        except ODD_FILE as error:  # one odd file does not hide the others
            yield CaseCheck(where, fault=f"cannot be read ({type(error).__name__})")
            continue
        objects = [int(np.count_nonzero(t.mask)) for frame in range(len(scan.frames)) for t in scan.targets(frame)]
        notes = scan.notes if objects else (*scan.notes, "no object: the labels are empty")
        small = sum(area < SMALL_OBJECT_PX for area in objects)
        yield CaseCheck(where, tuple(scan.frames.shape[:3]), tuple(scan.labels), small, notes)


def check_folder(
    root: Path, layout: Layout, reading: ReadingConfig, labels: Encoding | None = None, *, follow_links: bool = False
) -> tuple[list[CaseCheck], list[Problem]]:
    """All cases of a folder, and the files that make none."""
    cases, problems = find_cases(root, layout, labels=labels, follow_links=follow_links)
    cases, _ = settle_labels(cases, reading)
    return list(check_cases(root, cases, reading)), problems


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _holds_dicom(root: Path) -> bool:
    return any(path.is_file() and (path.suffix == ".dcm" or has_preamble(path)) for path in root.rglob("*"))
