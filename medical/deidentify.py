"""Names that may leave this process: numbers for cases, safe ones for files, nothing of patients."""

import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import atomic_write

from .io.pairing import CaseFiles
from .protocol.evaluate_scan import Place

MAX_NAME = 120
_ANATOMY_CIDS = (4, 4009, 4030, 4031, 6202, 8134, *range(7150, 7200))
"""Context groups of DICOM PS3.16 that name anatomy, tissues and lesions."""
_PLAIN_WORDS = {"left", "right", "first", "second", "third", "segment", "structure", "region", "object", "class", "roi"}
"""Words that say nothing of anybody and may stand beside anatomy, or alone."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe_name(text: str) -> str:
    """Text as part of a file's name: ASCII letters, digits, dot, underscore, hyphen; never hidden, never long."""
    name = _UNSAFE.sub("_", text).strip("_").lstrip(".-")[:MAX_NAME]
    return name or "unnamed"


def name_places(dataset: str, cases: Sequence[CaseFiles], *, keep_names: bool = False) -> list[Place]:
    """Return how each case is called: by running numbers in the order of the keys, or by its own name on request.

    The patient is empty where nobody says who it is.
    """
    known = dict.fromkeys(case.group for case in cases if case.group is not None)
    groups = {group: f"patient_{number:04d}" for number, group in enumerate(known, start=1)}
    places, taken = [], set()
    for number, case in enumerate(cases, start=1):
        patient, own = groups[case.group] if case.group is not None else "", f"case_{number:04d}"
        if keep_names:
            patient, own = safe_name(case.group) if case.group else patient, safe_name(case.key)
            while own in taken:
                own = f"{own[: MAX_NAME - 6]}_{number:05d}"
        taken.add(own)
        places.append(Place(dataset, patient, own))
    return places


def public_labels(labels: Iterable[str]) -> dict[str, str]:
    """Return what to call labels that come from DICOM's free text, where anybody may have typed a name.

    A label stays as it is where it is made of words of DICOM's own lists of anatomy and lesions, with a side or a
    number of at most two digits; every other one becomes `segment_001` and so on.

    >>> public_labels(["Left Kidney", "liver_2", "Doe Jane, tumour"])
    {'Doe Jane, tumour': 'segment_001', 'Left Kidney': 'Left Kidney', 'liver_2': 'liver_2'}
    """
    known, names, number = _anatomy(), {}, 0
    for label in sorted(set(labels)):
        words = [word.lower() for word in re.findall(r"[^\W_0-9]+|[0-9]+", label)]
        plain = "".join(word for word in words if word not in _PLAIN_WORDS and not re.fullmatch(r"[0-9]{1,2}", word))
        if (words and not plain and not words[0].isdigit()) or plain in known or plain.removesuffix("s") in known:
            names[label] = label
        else:
            number += 1
            names[label] = f"segment_{number:03d}"
    return names


def _anatomy() -> set[str]:
    try:
        from pydicom.sr.codedict import codes
    except ImportError as error:
        raise MissingExtra("pydicom", "medical") from error
    found: set[str] = set()
    for number in _ANATOMY_CIDS:
        try:
            found |= {keyword.lower() for keyword in getattr(codes, f"CID{number}").dir()}
        except (AttributeError, KeyError):  # not every number is a list
            continue
    return found


def write_id_map(path: Path, entries: Sequence[tuple[Place, CaseFiles]]) -> None:
    """Write which case is which, and which label, for the owner of the data alone (mode 0600)."""
    lines = ["dataset\tcase\tpatient\tkey\n"]
    aliases = dict.fromkeys(
        (p.dataset, own, label) for p, case in entries for label, own in case.aliases if label != own
    )
    lines += [f"{dataset}\t{own}\t(label)\t{label}\n" for dataset, own, label in aliases]
    lines += [f"{place.dataset}\t{place.case}\t{place.patient}\t{case.key}\n" for place, case in entries]
    with atomic_write(path, mode=0o600) as out:
        out.write("".join(lines).encode())


def make_salt() -> bytes:
    """Return a salt for the hashes that replace UIDs; it is new for each run and kept nowhere."""
    return secrets.token_bytes(16)


def inside(root: Path, *parts: str) -> Path:
    """A path below a folder.

    Raises:
        ValueError: it would leave the folder.
    """
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{'/'.join(parts)} leads out of {root.name}")
    return path
