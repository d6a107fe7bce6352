"""Patients of cases: from PatientID, a data set's own names, or a file of the user's; never guessed."""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .io.layouts import Layout
from .io.pairing import CaseFiles

EACH_CASE = "cases"
PATTERN = "pattern:"
GROUPS_REMEDY = (
    "say it with --groups FILE (a line for each case: case,patient), --groups pattern:REGEX (its first group is the "
    "patient) or --groups cases (you know that each case is another patient)"
)
_HEADS = ({"case", "file", "image", "name"}, {"patient", "subject", "group", "participant_id", "patient_id"})


def group_cases(cases: Sequence[CaseFiles], how: str | None, *, root: Path, dataset: str) -> list[CaseFiles]:
    """Return the cases with their patients.

    Args:
        cases: of one data set; each knows what its layout or PatientID says.
        how: None leaves it at that; `cases`, `pattern:REGEX`, or the path of a CSV or TSV file with the columns case
            and patient, and dataset where names repeat among data sets: those that such a file does not name keep
            what their layout says. A case is named by its key, by its file with or without suffix, or by its path
            (DICOM: its folder) below the data set's folder. A pattern is searched in the key, then in that path.
        root: the data set's folder.
        dataset: its title.

    Raises:
        ValueError: the pattern or the file does not cover every case, or contradicts itself.
    """
    if how is None:
        return list(cases)
    if how == EACH_CASE:
        return [replace(case, group=case.key) for case in cases]
    if how.startswith(PATTERN):
        return _by_pattern(cases, how.removeprefix(PATTERN), root)
    groups = read_groups(Path(how))
    if not _names(groups, dataset):
        return list(cases)
    table = groups.get(dataset) or groups.get("", {})
    grouped = []
    for number, case in enumerate(cases, start=1):
        found = {table[alias] for alias in _aliases(case, root) if alias in table}
        if len(found) != 1:
            said = "has several patients" if found else "is missing"
            raise ValueError(f"{dataset}: case {number} of {len(cases)} {said} in {how}: every case needs one line")
        grouped.append(replace(case, group=found.pop()))
    return grouped


def read_groups(path: Path) -> dict[str, dict[str, str]]:
    """Return patients by data set (empty where the file names none) and case.

    Raises:
        ValueError: the file cannot be read, lacks a column, or gives a case two patients.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--groups {path}: cannot be read ({type(error).__name__}); {GROUPS_REMEDY}") from None
    lines = list(csv.reader(text.splitlines(), delimiter="\t" if "\t" in text.split("\n", 1)[0] else ","))
    lines = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)]
    columns = _columns(lines[0]) if lines else None
    groups: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, start=1):
        if columns is not None and number == 1:
            continue
        at = columns or {"case": 0, "patient": 1}
        if max(at.values()) >= len(line) or not line[at["case"]] or not line[at["patient"]]:
            raise ValueError(f"--groups {path}, line {number}: a case and its patient are needed")
        own = groups.setdefault(line[at["dataset"]] if "dataset" in at else "", {})
        if own.setdefault(line[at["case"]], line[at["patient"]]) != line[at["patient"]]:
            raise ValueError(f"--groups {path}, line {number}: this case has another patient above")
    return groups


def grouping_note(cases: Sequence[CaseFiles], layout: Layout, how: str | None, dataset: str) -> str:
    """Say where the patients of a data set come from, or that nobody knows them."""
    if how is not None and how != EACH_CASE and not how.startswith(PATTERN):
        how = how if _names(read_groups(Path(how)), dataset) else None
    unknown = sum(case.group is None for case in cases)
    if unknown:
        of = f"{unknown} of {len(cases)} cases name" if unknown < len(cases) else "neither names nor files say"
        return f"patients unknown: {of} {'no patient' if unknown < len(cases) else 'whose cases these are'}"
    source = "PatientID" if layout.name == "dicom" else f"file names, by the pattern {layout.group}"
    if how is not None:
        source = {EACH_CASE: "the user: each case is another patient"}.get(
            how, "a pattern of the user's" if how.startswith(PATTERN) else "a file of the user's"
        )
    return f"patients from {source}"


def _names(groups: dict[str, dict[str, str]], dataset: str) -> bool:
    """Return whether a file of groups speaks of this data set: it names it, or names none at all."""
    return dataset in groups or "" in groups or not groups


def _by_pattern(cases: Sequence[CaseFiles], text: str, root: Path) -> list[CaseFiles]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"--groups pattern:{text} is no regular expression: {error}") from None
    if pattern.groups < 1:
        raise ValueError(f"--groups pattern:{text}: put what names the patient into brackets, such as (sub-[0-9]+)_")
    grouped = []
    for number, case in enumerate(cases, start=1):
        found = next((m for name in (case.key, _below(case, root)) if (m := pattern.search(name)) and m[1]), None)
        if found is None:
            raise ValueError(f"--groups pattern:{text} finds no patient in case {number} of {len(cases)}")
        grouped.append(replace(case, group=found[1]))
    return grouped


def _columns(head: Sequence[str]) -> dict[str, int] | None:
    """Places of the columns where the first line names them."""
    lowered = [cell.lower() for cell in head]
    places = {name: next((i for i, cell in enumerate(lowered) if cell in known), None)
              for name, known in zip(("case", "patient"), _HEADS, strict=True)}  # fmt: skip
    if places["case"] is None or places["patient"] is None:
        return None
    found = {name: place for name, place in places.items() if place is not None}
    return found | ({"dataset": lowered.index("dataset")} if "dataset" in lowered else {})


def _below(case: CaseFiles, root: Path) -> str:
    """Path of a case's first file below the data set's folder, POSIX."""
    first = case.images[0]
    return first.relative_to(root).as_posix() if first.is_relative_to(root) else first.name


def _aliases(case: CaseFiles, root: Path) -> list[str]:
    """Names by which a file of groups may call a case."""
    first, below = case.images[0], _below(case, root)
    stem = re.sub(r"\.(?:nii\.gz|[^.]+)$", "", first.name)
    names = [case.key, below, first.name, stem]
    if len(case.images) > 1 or case.series_uid:
        names = [case.key, str(Path(below).parent.as_posix()), case.series_uid or case.key, below]
    return list(dict.fromkeys(names))
