"""Claims: of several runs over one folder, only one at a time works on a unit, be it a shard or an image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from filelock import FileLock, Timeout

from zim_plugins.data.conversion.shard_job import Convert, Tick
from zim_plugins.errors import ZimError


@runtime_checkable
class Job(Protocol):
    """A unit of work: its result is there as a whole or not at all. It is picklable."""

    @property
    def name(self) -> str:
        """Unlike that of any other unit of the run; `/` parts folders."""
        ...

    @property
    def out(self) -> Path:
        """Folder of the results of the run."""
        ...

    def input_bytes(self) -> int:
        """Size of the input [bytes]: what the time left is told by."""
        ...

    def is_done(self) -> bool:
        """Return whether the result is there, and made in this way.

        Raises:
            DataError: a result is there that was made in another way.
        """
        ...

    def convert(self, convert: Convert, tick: Tick | None = None) -> dict[str, Any]:
        """Make the result and answer with its counts: `images`, `mattes`, `equal_to_mask`, `faults`..."""
        ...


MakeConverter = Callable[[int], Convert]
"""Builds the converter in the process that uses it, from that worker's number (0, 1...); it must be picklable."""
Outcome = tuple[Literal["converted", "done before", "elsewhere", "failed"], dict[str, Any]]
"""What became of a unit: its counts, or `error`, why it failed."""

CLAIMS = ".claims"
"""Folder of the locks, beside the results; it goes when all is done."""
_FAILURES = (ZimError, OSError, ValueError, RuntimeError, MemoryError)


def convert_claimed(job: Job, convert: Convert, tick: Tick | None = None) -> Outcome:
    """Claim a unit and convert it, unless another run holds it or has done it."""
    lock = FileLock(job.out / CLAIMS / f"{job.name}.lock", timeout=0)
    try:
        with lock:
            if job.is_done():
                return "done before", {}
            return "converted", job.convert(convert, tick)
    except Timeout:
        return "elsewhere", {}
    except _FAILURES as error:
        return "failed", {"error": " ".join(str(error).split()) or type(error).__name__}
