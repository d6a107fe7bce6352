"""Files that are there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, beside: Path | None = None) -> None:
    """Let `write` fill a file of another name, and give it its own when it is complete.

    Args:
        path: missing folders are made; a file that is there is replaced.
        write: gets the open file.
        beside: folder of the unfinished file, on the same disk; by default that of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = (beside or path.parent) / f".{path.name}-{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as stream:
            write(stream)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
