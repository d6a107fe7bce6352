"""Claims: of several runs over one folder, only one at a time works on a shard."""

from collections.abc import Callable
from typing import Any, Literal

from filelock import FileLock, Timeout

from zim_plugins.core.errors import ZimError
from zim_plugins.data.shards import Convert, ShardJob, Tick, convert_shard, is_done

MakeConverter = Callable[[int], Convert]
"""Builds the converter in the process that uses it, from that worker's number (0, 1...); it must be picklable."""
Outcome = tuple[Literal["converted", "done before", "elsewhere", "failed"], dict[str, Any]]
"""What became of a shard: its counts, or `error`, why it failed."""

CLAIMS = ".claims"
"""Folder of the locks, beside the shards; it goes when all is done."""
_FAILURES = (ZimError, OSError, ValueError, RuntimeError, MemoryError)


def convert_claimed(job: ShardJob, convert: Convert, tick: Tick | None = None) -> Outcome:
    """Claim a shard and convert it, unless another run holds it or has done it."""
    lock = FileLock(job.out / CLAIMS / f"{job.name}.lock", timeout=0)
    try:
        with lock:
            if is_done(job):
                return "done before", {}
            return "converted", convert_shard(job, convert, tick)["counts"]
    except Timeout:
        return "elsewhere", {}
    except _FAILURES as error:
        return "failed", {"error": " ".join(str(error).split()) or type(error).__name__}
