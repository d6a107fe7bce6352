"""Pairing: which files of a folder make a case, and which of them have no partner."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .association import source_instances, source_series
from .dicom import Grouped, find_dicom, group_series
from .errors import ScanFault
from .layouts import Encoding, Layout, MaskRule
from .nifti import is_volume_file

MAX_FILES = 500_000
_HIDDEN = re.compile(r"^(?:\.|__MACOSX$|Thumbs\.db$|desktop\.ini$|ClinicalReadings$)")
_LABEL_ENDING = re.compile(r"[-_.](?:seg|mask|labels?|gt)$", re.IGNORECASE)
MAX_JSON_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class MaskFile:
    """One file of labels."""

    path: Path
    encoding: Encoding | str
    label: str
    names: tuple[tuple[int, str], ...] = ()
    value: int | None = None
    """The one value besides 0 that the files of a data set hold, where that was looked at."""


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case."""

    key: str
    """Unique in its data set; may be a patient's name, so it never leaves this process unasked."""
    group: str | None
    """The patient; None where nobody says who it is. Cases of one group are resampled together."""
    images: tuple[Path, ...]
    """One image or volume, or the slices of a DICOM series."""
    masks: tuple[MaskFile, ...]
    pixel_mm: tuple[float, float] | None = None
    """(row, column) where a sidecar says so."""
    aliases: tuple[tuple[str, str], ...] = ()
    """What labels of the files are called in results, where that is something else."""
    series_uid: str = ""
    """Of DICOM series: for finding the case in a user's own table, never written."""


@dataclass(frozen=True)
class Problem:
    """Something about a data set's files that its user should mend or know."""

    where: str
    """The path below the data set's folder."""
    what: str


def find_cases(
    root: Path, layout: Layout, *, follow_links: bool = False, labels: Encoding | None = None
) -> tuple[list[CaseFiles], list[Problem]]:
    """The cases below a folder, in the order of their keys, and what is wrong with the others.

    Args:
        root: the data set's folder, or one above it.
        layout: where the files are.
        follow_links: read through symbolic links too, wherever they lead.
        labels: what a plain folder's masks hold; overrides "auto".

    Raises:
        ValueError: the folder is absent or holds too many files.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is no folder")
    links: list[Problem] = []
    files = list(_walk(root, follow_links, links))
    if layout.name == "dicom":
        cases, problems = _find_dicom(root, files)
        return cases, links + problems
    if labels is not None:
        layout = replace(layout, masks=tuple(
            replace(rule, encoding=labels) if rule.encoding == "auto" else rule for rule in layout.masks
        ))  # fmt: skip
    cases, problems = _pair(root, layout, files)
    return cases, links + problems


def _pair(root: Path, layout: Layout, files: list[str]) -> tuple[list[CaseFiles], list[Problem]]:
    problems: list[Problem] = []
    masks: dict[str, list[MaskFile]] = {}
    tables = _names_by_folder(root, layout, files)
    taken = set()
    firsts: dict[tuple[str, str], str] = {}
    # Masks first: a file that is a mask is no image.
    for rule in layout.masks:
        pattern = re.compile(f"(?:^|.*/){rule.pattern}$")
        for name in files:
            found = pattern.match(name)
            if found:
                taken.add(name)
                first = firsts.setdefault((rule.pattern, _twin_key(name)), name)
                if first != name:
                    problems.append(Problem(name, f"a second mask of the case that {first} is of: left out"))
                    continue
                masks.setdefault(_pairing_key(found["key"]), []).append(_mask_file(root, name, rule, found, tables))
    # Images, one for each key.
    images: dict[str, str] = {}
    pattern = re.compile(f"(?:^|.*/){layout.image}$")
    for name in files:
        found = pattern.match(name) if name not in taken else None
        if not found:
            continue
        key = _pairing_key(found["key"])
        if key in images:
            problems.append(Problem(name, f"a second image of the case that {images[key]} is of: left out"))
        else:
            images[key] = name
    # Pair both by key.
    cases = []
    for key in sorted(images):
        if key not in masks:
            if not layout.may_lack_mask:
                problems.append(Problem(images[key], "has no mask"))
            continue
        group = re.search(layout.group, "/" + key) or re.search(layout.group, key) if layout.group else None
        image = root / images[key]
        try:
            pixel_mm = _sidecar_mm(image)
        except ScanFault as fault:
            problems.append(Problem(images[key], f"its sidecar was not read: {fault}"))
            pixel_mm = None
        cases.append(CaseFiles(key, group[1] if group else None, (image,), tuple(masks[key]), pixel_mm))
    for key in sorted(set(masks) - set(images)):
        problems += [Problem(m.path.relative_to(root).as_posix(), "is a mask without its image") for m in masks[key]]
    return cases, problems


def _mask_file(
    root: Path, name: str, rule: MaskRule, found: "re.Match[str]", tables: dict[Path, dict[int, str]]
) -> MaskFile:
    path, label = root / name, found.groupdict().get("label") or rule.label
    names = next((tables[folder] for folder in path.parents if folder in tables), rule.names)
    return MaskFile(path, rule.encoding, label, tuple(sorted(names.items())))


def _twin_key(name: str) -> str:
    """Path of a mask without its format, and whether its folder is called masks or labels: twins say the same twice."""
    stem = re.sub(r"\.(?:nii\.gz|[^./]+)$", "", name, flags=re.IGNORECASE)
    return re.sub(r"(^|/)(?:masks|labels)/", r"\1*/", stem)


def _pairing_key(key: str) -> str:
    """The key without the folder names in which images and masks differ."""
    return re.sub(r"/(?:images|masks|labels|Images|Masks)/", "/", key)


def _walk(root: Path, follow_links: bool, links: list[Problem]) -> Iterator[str]:
    """Paths of the files below a folder, POSIX, sorted, without hidden ones; links go to `links` unless followed."""
    count = 0
    for folder, folders, names in os.walk(root, followlinks=follow_links):
        folders[:] = sorted(f for f in folders if not _HIDDEN.match(f))
        for name in sorted((*names, *folders)):
            path = Path(folder, name)
            if _HIDDEN.match(name):
                continue
            if path.is_symlink() and not follow_links:
                links.append(Problem(path.relative_to(root).as_posix(), "is a symbolic link: see --follow-links"))
                continue
            if name in folders:
                continue
            count += 1
            if count > MAX_FILES:
                raise ValueError(f"{root} holds more than {MAX_FILES} files: name the data set's own folder")
            yield path.relative_to(root).as_posix()


def _names_by_folder(root: Path, layout: Layout, files: list[str]) -> dict[Path, dict[int, str]]:
    """The names of values that a data set's own tables give, by the folder whose masks they are of."""
    if layout.names_from == "dataset.json":
        tables = [root / name for name in files if Path(name).name == "dataset.json"]
        return {table.parent: _json_labels(_read_json(table).get("labels", {})) for table in tables}
    if layout.names_from == "data_infor_json":  # one for each task
        tasks = {Path(name).parents[1] for name in files if Path(name).parent.name == "labels"}
        return {root / task: _cosmos_names(root, task.name) for task in tasks}
    return {}


def _json_labels(labels: object) -> dict[int, str]:
    """Names by value, whether the table is {"1": "liver"} (Decathlon) or {"liver": 1} (nnU-Net)."""
    names: dict[int, str] = {}
    for one, other in labels.items() if isinstance(labels, dict) else ():
        value, name = (one, other) if str(one).isdigit() else (other, one)
        if str(value).isdigit() and int(value) > 0:
            names[int(value)] = str(name)
    return names


def _cosmos_names(root: Path, task: str) -> dict[int, str]:
    found = sorted(root.rglob(f"data_infor_json/{task}.json"))
    if not found:
        return {}
    table = _read_json(found[0])
    colours, names = table.get("color"), table.get("info")
    if not isinstance(colours, dict) or not isinstance(names, dict):
        return {}
    return {int(grey): str(names[key]) for key, grey in colours.items() if key in names}


def _read_json(path: Path) -> dict[str, object]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ScanFault("limit", "a table of the data set is too large to be one")
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        raise ScanFault("table", "a JSON table of the data set is damaged") from None
    return table if isinstance(table, dict) else {}


def _sidecar_mm(image: Path) -> tuple[float, float] | None:
    """BIDS microscopy: the pixel size beside the image, or one for all samples of a subject."""
    shared = image.with_name(re.sub(r"_sample-[^_]+", "", image.stem) + ".json")
    for sidecar in (image.with_suffix(".json"), shared):
        if sidecar.is_file() and not sidecar.is_symlink():
            table = _read_json(sidecar)
            size = table.get("PixelSize")
            unit = {"um": 1e-3, "mm": 1.0, "nm": 1e-6}.get(str(table.get("PixelSizeUnits")))
            if isinstance(size, list) and len(size) >= 2 and unit and all(isinstance(v, int | float) for v in size):
                return float(size[1]) * unit, float(size[0]) * unit
    return None


def _find_dicom(root: Path, files: list[str]) -> tuple[list[CaseFiles], list[Problem]]:
    """A case for each series that a segmentation, a structure set or a volume of labels belongs to."""
    grouped = group_series(find_dicom([root / name for name in files]))
    problems = [Problem(_below(root, path), str(fault)) for path, fault in grouped.faults]
    problems += [Problem(_below(root, path), f"holds no image ({what})") for path, what in grouped.others]
    masks: dict[str, list[MaskFile]] = {}
    for encoding, paths in (("dicom-seg", grouped.segmentations), ("rtstruct", grouped.structure_sets)):
        for path in paths:
            what = "a segmentation" if encoding == "dicom-seg" else "a structure set"
            meant, why = _series_meant(path, grouped)
            if not meant:
                problems.append(Problem(_below(root, path), f"is {what} without its series: {why}"))
            for uid in meant:
                masks.setdefault(uid, []).append(MaskFile(path, encoding, "object"))
    for name in files:
        if is_volume_file(Path(name)):
            meant, why = _series_beside(root, root / name, grouped)
            if not meant:
                problems.append(Problem(name, f"is a volume without its series: {why}"))
            for uid in meant:
                masks.setdefault(uid, []).append(MaskFile(root / name, "auto", "object"))
    cases = []
    for number, (uid, members) in enumerate(sorted(grouped.series.items()), start=1):
        if uid in masks:
            patient = grouped.patient(uid)
            cases.append(CaseFiles(f"series_{number:04d}", patient, tuple(members), tuple(masks[uid]), series_uid=uid))
        else:
            more = f" of {len(members)} files" if len(members) > 1 else ""
            problems.append(Problem(_below(root, members[0]), f"no segmentation refers to its series{more}"))
    return cases, problems


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _series_meant(path: Path, grouped: Grouped) -> tuple[list[str], str]:
    """Series that a segmentation or structure set refers to, by instance, by series, or by their common space."""
    meant = {grouped.instances[uid] for uid in source_instances(path) if uid in grouped.instances}
    named, reference = source_series(path)
    meant = meant or named & set(grouped.series)
    if meant:
        return sorted(meant), ""
    sharing = grouped.references.get(reference, set()) if reference else set()
    if len(sharing) == 1:
        return sorted(sharing), ""
    if sharing:
        return [], f"it names none, and {len(sharing)} series share its frame of reference"
    if named:
        return [], f"it names {len(named)} series that {'is' if len(named) == 1 else 'are'} not in this folder"
    return [], "it names none, and no series has its frame of reference" if reference else "it names none"


def _series_beside(root: Path, path: Path, grouped: Grouped) -> tuple[list[str], str]:
    """The series whose folder bears a volume's name, or the only one beside or below it."""
    folders = {uid: _common_folder(members) for uid, members in grouped.series.items()}
    stem = _LABEL_ENDING.sub("", re.sub(r"\.(?:nii|nii\.gz|mha|mhd|nrrd)$", "", path.name, flags=re.IGNORECASE))
    same = [uid for uid, folder in folders.items() if stem in folder.relative_to(root).parts]
    if len(same) == 1:
        return same, ""
    for parent in path.parents:
        below = [uid for uid, folder in folders.items() if folder.is_relative_to(parent)]
        if len(below) == 1:
            return below, ""
        if below or parent == root:
            break
    return [], f"the folder holds {len(folders)} series: call it by its series' folder"


def _common_folder(members: list[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in members]))
