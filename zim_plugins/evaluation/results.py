"""Results of a run: one file for each unit of work, taken up by the same run and by no other.

`run.json` says what the results depend on. A run that finds other options there is refused and told which; one that was
killed goes on; units that failed, that are damaged or whose files have changed are done again.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from zim_plugins.errors import ZimError
from zim_plugins.imaging import atomic_write
from zim_plugins.imaging.files import file_digest

FORMAT = 2
"""Version of the files' layout."""
ROWS, RUN, LOCK = "rows", "run.json", ".lock"
"""Folder of the units' files, the file of what they depend on, and what keeps a second run out."""
MAX_NAMED = 4
"""Differences that a refusal names."""
MAX_VALUE_CHARS = 60
_FORMER = "parts"  # where zim-medseg kept its units before format 2

Row = dict[str, Any]
"""Names and scores of one measurement, or its `failure`: a kind and a message."""
State = Literal["new", "done", "failed", "changed", "damaged"]

logger = logging.getLogger(__name__)


class ResultsError(ZimError):
    """A folder's results cannot be used: they are another run's, another version's, or damaged."""


@dataclass(frozen=True)
class Record:
    """Results of one unit, such as an image or a scan: the content of one file."""

    rows: list[Row]
    inputs: str = ""
    """Digest of the files that they were made from."""
    failed: bool = False
    """Whether the unit is to be tried again by the next run."""
    more: dict[str, Any] = field(default_factory=dict)
    """Values that a command keeps besides its rows."""

    @classmethod
    def of(cls, rows: list[Row], inputs: str = "") -> "Record":
        """Return a record of rows, which has failed where one of them has.

        >>> Record.of([{"iou": 0.5, "failure": None}]).failed
        False
        """
        return cls(rows, inputs, any(row.get("failure") for row in rows))


@dataclass(frozen=True)
class ResultStore:
    """Finished units of one series of a run, such as those of one model.

    Args:
        series: folder of the units below `rows`, unlike those of other series; empty for a run with one series.
        source: what units are made from, for the message that it has changed.
        columns: names without which a row is damaged.

    Example:
        >>> import tempfile
        >>> store = ResultStore(Path(tempfile.mkdtemp()), "model_a")
        >>> with open_results({store: {"seed": 0}}):
        ...     store.write("photo", Record([{"iou": 0.9, "failure": None}]))
        ...     store.find("photo")[0], store.find("other")[0]
        ('done', 'new')
    """

    out: Path
    series: str = ""
    source: str = "an image or mask"
    columns: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Return the folder of the units' files."""
        return self.out / ROWS / self.series

    def path(self, unit: str) -> Path:
        """Return the file of a unit; `/` in its name parts folders."""
        return self.folder / f"{unit}.json"

    def find(self, unit: str, inputs: str = "") -> tuple[State, Record | None]:
        """Look for the results of a unit; whatever is to be done again for a reason is logged in one line.

        Args:
            inputs: digest of the files that it is made from now.

        Returns:
            Its state, and the record where that is "done".
        """
        if not self.path(unit).exists():
            return "new", None
        try:
            record = self.read(unit)
        except ResultsError as error:
            logger.warning("%s", error)
            return "damaged", None
        if record.failed:
            return "failed", None
        if record.inputs != inputs:
            logger.warning("%s: %s has changed since it was done: it is done again", unit, self.source)
            return "changed", None
        return "done", record

    def read(self, unit: str) -> Record:
        """Return the record of a unit as a run left it, failed or not.

        Raises:
            ResultsError: there is none, or it is damaged.
        """
        path = self.path(unit)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            rows, inputs, failed = stored.pop("rows"), stored.pop("inputs"), stored.pop("failed")
            if not all(row.keys() >= set(self.columns) for row in rows) or not isinstance(failed, bool):
                raise ValueError("it lacks columns")
            return Record(list(rows), str(inputs), failed, stored)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            why = " ".join(str(error).split())
            raise ResultsError(f"{path} is damaged ({why}): the same command does this unit again") from error

    def write(self, unit: str, record: Record) -> None:
        """Write the file of a unit, whole or not at all."""
        content = {"inputs": record.inputs, "failed": record.failed, "rows": record.rows, **record.more}
        with atomic_write(self.path(unit), durable=True) as stream:
            stream.write((json.dumps(content) + "\n").encode())


@contextmanager
def open_results(signatures: Mapping[ResultStore, Mapping[str, Any]]) -> Iterator[None]:
    """Hold the folder of a run, and make sure that what it holds is of the same run.

    Args:
        signatures: all that the rows of each store depend on, by the options' names; all stores share one folder.

    Raises:
        ResultsError: the folder holds results of other options (the message names them) or of an earlier version, or
            another run is writing to it.
    """
    from filelock import FileLock, Timeout

    (out,) = {store.out for store in signatures}
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ResultsError(f"another run is writing to {out}: wait until it ends, or give another --out") from error
    try:
        _begin(out, signatures)
        yield
    finally:
        lock.release()


def _begin(out: Path, signatures: Mapping[ResultStore, Mapping[str, Any]]) -> None:
    """Note what each series depends on; nothing is written where one of them is refused."""
    runs = _read_runs(out)
    for store, signature in signatures.items():
        now, is_begun = plain(dict(signature)), any(store.folder.rglob("*.json"))
        before = runs.get(store.series)
        if before is not None and is_begun:
            if changed := differences(before, now):
                more = f" and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
                named = "; ".join(changed[:MAX_NAMED]) + more
                raise ResultsError(f"{out} holds another run ({named}): give another --out, or the same options")
        elif is_begun or (out / _FORMER / RUN).exists():
            raise ResultsError(
                f"{out} holds results of an earlier version, which new ones are not mixed with: give another --out"
            )
        runs[store.series] = now
    with atomic_write(out / RUN, durable=True) as stream:
        stream.write((json.dumps({"format": FORMAT, "series": runs}, indent=1) + "\n").encode())


def _read_runs(out: Path) -> dict[str, Any]:
    path = out / RUN
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format"] != FORMAT:
            raise ResultsError(f"{path} is of format {stored['format']}, not {FORMAT}: give another --out")
        return dict(stored["series"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ResultsError(f"{path} is damaged, so that nobody knows whose results these are: "
                           "give another --out") from error  # fmt: skip


def files_digest(files: Iterable[Path], *about: Any) -> str:
    """Return the SHA-256 over the contents of files, in order, so that edited ones are noticed.

    Args:
        files: one that cannot be read counts as such.
        about: JSON values that the digest depends on besides.
    """
    whole = hashlib.sha256(json.dumps(about).encode())
    for path in files:
        try:
            stat = path.stat()
            whole.update(_file_sha256(path, stat.st_size, stat.st_mtime_ns))
        except OSError:
            whole.update(b"cannot be read")
    return whole.hexdigest()


@lru_cache(maxsize=4096)  # many images may lie in one file
def _file_sha256(path: Path, size: int, mtime_ns: int) -> bytes:
    return bytes.fromhex(file_digest(path))


def plain(value: Any) -> Any:
    """Return a value as JSON gives it back: tuples become lists, dataclasses objects.

    >>> plain({"a": (1, 2), "b": None})
    {'a': [1, 2], 'b': None}
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    return json.loads(json.dumps(value, default=str))


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Name what differs between two descriptions, with both values.

    >>> differences({"seed": 0, "models": {"a": {"zoom": True}}}, {"seed": 0, "models": {"a": {"zoom": False}}})
    ['models.a.zoom: True then, False now']
    >>> differences({"n": [1]}, {"n": [1, 2]}, "x")
    ['x.n: [1] then, [1, 2] now']
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for key in [*before, *(key for key in now if key not in before)]:
            found += differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
        return found
    return [] if before == now else [f"{name}: {_short(before)} then, {_short(now)} now"]


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 3]}..."
