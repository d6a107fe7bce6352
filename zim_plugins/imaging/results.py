"""Results and the record of what each was made from; whatever writes images into a folder of the user's uses it.

Beside its results, in the hidden folder `.zim-records`, every image has a small JSON file, which holds for each result
its size and digest, the source (path, size, digest, page) and the recipe (command, prompt, model, options). From it a
later run tells what it may keep, what it may make again, and what is not its own; and folders that are searched for
images leave results out (`own_results`).

The order of calls: `Source.of` for the image, a `Recipe` with all that decides the results, `plan` before any work,
`note_results` when the files are written.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from zim_plugins.errors import ImageError
from zim_plugins.imaging.files import file_digest
from zim_plugins.imaging.sources import SAMPLE_PREFIX, STDIN, check_is_file, sample_path, split_page

RECORDS_FOLDER = ".zim-records"
"""Beside the results."""
Existing = Literal["remake", "keep", "resume", "replace"]
"""What becomes of results that are there already.

remake: those of the same image are made again, whatever else is there is an error. keep: nothing is overwritten; those
whose record agrees are left as they are, others are an error. resume: those whose record agrees are left as they are,
others of the same image are made again. replace: all are written over.
"""
_MAX_NAME_BYTES = 200


class Overwrites(ImageError):
    """A result would be written over something that the user did not ask to lose."""


@dataclass(frozen=True)
class Source:
    """Input that a result is made from."""

    path: str
    """Absolute, or `-`, or `sample:NAME`."""
    size_bytes: int
    sha256: str
    page: int | None = None
    """Counted from 0; None where the file was read without naming one."""

    @classmethod
    def of(cls, source: str | Path, content: bytes | None = None) -> "Source":
        """Describe a source as `read_image` takes it; `content` is what standard input held.

        Raises:
            OSError: it cannot be read.
            ImageError: it is no file.
        """
        text = str(source)
        if content is not None or text == STDIN:
            held = content or b""
            return cls(text, len(held), hashlib.sha256(held).hexdigest())
        if text.startswith(SAMPLE_PREFIX):
            size, digest = measure(sample_path(text))
            return cls(text, size, digest)
        file, page = split_page(text)
        check_is_file(Path(file), file)
        size, digest = measure(Path(file))
        return cls(os.path.abspath(file), size, digest, page)

    def is_same_place(self, other: "Source") -> bool:
        """Return whether both lie in one place, whatever they hold; standard input is a place of its own each time."""
        return self.path != STDIN and (self.path, self.page) == (other.path, other.page)

    def is_same_content(self, other: "Source") -> bool:
        """Return whether both hold the same."""
        return (self.size_bytes, self.sha256, self.page) == (other.size_bytes, other.sha256, other.page)


@dataclass(frozen=True)
class Recipe:
    """All that decides a result."""

    source: Source
    how: Mapping[str, Any]
    """`command`, `prompt`, `model`, `options`: JSON values."""

    def to_json(self) -> dict[str, Any]:
        """Return source and recipe as a record holds them."""
        return json.loads(json.dumps({"source": asdict(self.source), **self.how}))

    def differences(self, row: Mapping[str, Any]) -> list[str]:
        """Return in what a recorded result was made otherwise: `image`, `prompt`, `model`, `options.zoom` and so on."""
        mine = self.to_json()
        found = [] if self.source.is_same_content(_source_of(row)) else ["image"]
        for key in self.how:
            theirs = row.get(key)
            if isinstance(mine[key], dict) and isinstance(theirs, dict) and key == "options":
                names = sorted({*mine[key], *theirs})
                found += [f"{key}.{name}" for name in names if mine[key].get(name) != theirs.get(name)]
            elif mine[key] != theirs:
                found.append(key)
        return found


def measure(path: Path) -> tuple[int, str]:
    """Return size [bytes] and sha256 of a file."""
    return path.stat().st_size, file_digest(path)


def plan(place: Path, files: Mapping[str, Path], recipe: Recipe, existing: Existing) -> set[str]:
    """Return the kinds of results that are to be made; none where all are there and agree.

    Args:
        place: output folder and name, as `output_names` gives it: outputs/a/x.
        files: the results by kind.
        recipe: what they would be made from.
        existing: what becomes of those that are there.

    Raises:
        Overwrites: one of them must not be written over; the message says why and what helps.
    """
    there = {kind: path for kind, path in files.items() if os.path.lexists(path)}
    if existing == "replace" or not there:
        return set(files)
    rows = read_record(place)
    agreeing = set()
    for kind, path in there.items():
        row = rows.get(_relative(path, place))
        if row is None:
            raise Overwrites(f"{path} is there and no record says what it is: choose another --out, or --overwrite")
        differences = recipe.differences(row)
        theirs = _source_of(row)
        if not (recipe.source.is_same_place(theirs) or recipe.source.is_same_content(theirs)):
            raise Overwrites(f"{path} was made from {theirs.path}: choose another --out, or --overwrite")
        if row["sha256"] is None:  # a run ended while it was written
            continue
        if existing == "keep" and differences:
            raise Overwrites(
                f"{path} was made with another {', another '.join(differences)}: leave out --no-overwrite, or choose "
                "another --out"
            )
        if not differences:
            agreeing.add(kind)
        if (
            (existing == "remake" or differences)
            and path.is_file()
            and measure(path) != (row["size_bytes"], row["sha256"])
        ):
            raise Overwrites(f"{path} was changed since it was made: choose another --out, or --overwrite")
    if agreeing == set(files):
        return set() if existing in ("keep", "resume") else set(files)
    return set(files) - agreeing if existing == "keep" else set(files)


@contextmanager
def noted(place: Path, files: Sequence[Path], recipe: Recipe) -> Iterator[None]:
    """Record that files are about to be written: a run that is killed meanwhile leaves no file without a record.

    Such files are made again by any later run of the same image. `note_results` completes the entries; an exception
    brings the earlier ones back.

    Args:
        place: as in `plan`.
        recipe: what they will be made from.
    """
    before = read_record(place)
    made = [folder for folder in (place.parent, *place.parent.parents) if not folder.exists()]
    pending = {_relative(path, place): {"size_bytes": None, "sha256": None, **recipe.to_json()} for path in files}
    _write_record(place, before | pending)
    try:
        yield
    except BaseException:
        with suppress(ImageError, OSError):
            if before:
                _write_record(place, before)
            else:
                _record_path(place).unlink(missing_ok=True)
                for folder in (_record_path(place).parent, *made):  # where nothing else lies
                    folder.rmdir()
        raise


def note_results(place: Path, files: Sequence[Path], recipe: Recipe) -> None:
    """Record what written files were made from; entries of other files stay.

    Args:
        place: as in `plan`.
        files: whole, in the folder of `place` or below it.

    Raises:
        ImageError: the disk refuses.
    """
    rows = {name: row for name, row in read_record(place).items() if os.path.lexists(place.parent / name)}
    for path in files:
        size, digest = measure(path)
        rows[_relative(path, place)] = {"size_bytes": size, "sha256": digest, **recipe.to_json()}
    _write_record(place, rows)


def _write_record(place: Path, rows: Mapping[str, Any]) -> None:
    from zim_plugins.imaging.image import write_whole

    content = json.dumps({"files": rows}, ensure_ascii=False, indent=1).encode("utf-8", "surrogateescape")
    write_whole(_record_path(place), lambda stream: stream.write(content))


def read_record(place: Path) -> dict[str, dict[str, Any]]:
    """Return what is recorded of the results of one name, by file; empty where nothing, or nothing readable, is."""
    return _read(_record_path(place))


def own_results(folder: Path) -> frozenset[Path]:
    """Return the files that the records in a folder call results, as absolute paths."""
    found = set()
    for record in sorted((folder / RECORDS_FOLDER).glob("*.json")):
        found.update(Path(os.path.abspath(folder / name)) for name in _read(record))
    return frozenset(found)


def model_of(path: Path) -> Any:
    """Return the model that the record beside a file names as its maker.

    None where there is no record of the file as it is now, or no model took part: a matte that was edited since is its
    editor's.

    >>> model_of(Path("drawn_by_hand.png")) is None
    True
    """
    for folder in (path.parent, path.parent.parent):
        for end in range(len(path.stem), 0, -1):  # results are called as what they are made from, and more
            row = _read(_record_path(folder / path.stem[:end])).get(_relative(path, folder / "_"))
            if row is not None and row.get("model") is not None and path.is_file():
                return row["model"] if measure(path) == (row["size_bytes"], row["sha256"]) else None
    return None


def check_inputs_are_spared(inputs: Sequence[str | Path], results: Sequence[Path]) -> None:
    """Refuse to write a result over a file that is read.

    Raises:
        Overwrites: naming both.

    >>> check_inputs_are_spared(["a.png"], [Path("b.png")])
    """
    read = {}
    for given in inputs:
        path = Path(split_page(given)[0])
        if str(given) != STDIN and path.is_file():
            read[path.stat().st_dev, path.stat().st_ino] = str(given)
    for path in results:
        if not path.is_symlink() and path.is_file():  # a link is replaced, not what it points to
            about = path.stat()
            if (about.st_dev, about.st_ino) in read:
                raise Overwrites(
                    f"{path} would be written over the input {read[about.st_dev, about.st_ino]}: choose another --out"
                )


def check_writable(folder: Path) -> None:
    """Find out before any work whether a folder can be made and written to, without leaving anything there.

    Raises:
        ImageError: it is a file, lies below one, or the system refuses.
    """
    nearest = folder
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        what = "is a file" if nearest == folder else f"cannot be made: {nearest} is a file"
        raise ImageError(f"--out {folder} {what}: name a folder")
    try:  # permissions alone do not tell: a system's own folders and full disks refuse, too
        with tempfile.TemporaryFile(dir=nearest) as probe:
            probe.write(b"x")
    except OSError as error:
        raise ImageError(f"cannot write into {nearest}: {error.strerror or error}") from error


def _record_path(place: Path) -> Path:
    name = place.name
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return place.parent / RECORDS_FOLDER / f"{name}.json"


def _relative(path: Path, place: Path) -> str:
    return Path(os.path.relpath(path, place.parent)).as_posix()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))["files"]
        return {str(name): row for name, row in rows.items() if _is_row(row)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_row(row: Any) -> bool:
    source = row.get("source") if isinstance(row, dict) else None
    return (
        isinstance(source, dict)
        and {"path", "size_bytes", "sha256"} <= set(source)
        and {"size_bytes", "sha256"} <= set(row)
    )


def _source_of(row: Mapping[str, Any]) -> Source:
    source = row["source"]
    return Source(str(source["path"]), source["size_bytes"], source["sha256"], source.get("page"))
