"""Names that may leave this process: numbers for cases, safe ones for files, nothing of patients."""

import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from zim_plugins.imaging import atomic_write

from .io.pairing import CaseFiles
from .protocol.evaluate_scan import Place

MAX_NAME = 120
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


def write_id_map(path: Path, entries: Sequence[tuple[Place, CaseFiles]]) -> None:
    """Write which case is which, for the owner of the data alone (mode 0600)."""
    lines = ["dataset\tcase\tpatient\tkey\n"]
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
