"""Files that appear whole or not at all."""

import glob
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zim_plugins.errors import ImageError

BLOCK_BYTES = 1 << 20
"""What is read of a file at once where it is only gone through."""
MAX_NAME_BYTES = 200  # of a file's own name within its temporary one; file systems allow 255


@contextmanager
def atomic_write(path: Path, *, durable: bool = False, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file to write that bears its name only once it is complete.

    Missing folders are made; a file of that name is replaced in one step, and stays as it was if writing fails.

    Args:
        path: where the file appears.
        durable: wait until the file and its name are on the disk, so that they outlast a power cut.
        mode: permissions of the file, less those that the process's umask withholds.

    Raises:
        OSError: the file system refuses.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new" / "notes.txt"
        >>> with atomic_write(path) as stream:
        ...     _ = stream.write(b"whole")
        ...     path.exists()
        False
        >>> path.read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable and os.name == "posix":  # the new name itself must outlast a power cut, too
        number = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def atomic_path(path: Path, *, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary name with the suffixes of `path` for libraries that open files themselves.

    The file that was written there gets its own name when the block ends; an exception removes it.

    Args:
        path: where the file appears; missing folders are made.
        folder: where it lies until then, on the same file system; by default the folder of `path`.

    Raises:
        OSError: the file system refuses, or nothing was written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as name:
    ...         _ = name.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name((folder or path.parent) / path.name)
    temporary = temporary.with_name(temporary.name + "".join(path.suffixes[-2:]))
    try:
        yield temporary
        os.replace(temporary, path)
    except (ImageError, OSError) as error:  # who writes under a hidden name knows no other, the user no hidden one
        if isinstance(error, OSError):
            error.filename = str(path) if error.filename == str(temporary) else error.filename
        error.args = tuple(
            one.replace(str(temporary), str(path)).replace(temporary.name, path.name) if isinstance(one, str) else one
            for one in error.args
        )
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all, and return its path.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "a.txt", "whole").read_text()
    'whole'
    """
    with atomic_write(path) as stream:
        stream.write(text.encode())
    return path


def temporary_name(path: Path) -> Path:
    """Return a hidden name in the folder of `path` that nobody else uses; `leftovers` finds those of killed runs."""
    return path.with_name(f".{_short(path.name)}.{uuid.uuid4().hex}.tmp")


def leftovers(path: Path) -> list[Path]:
    """Return the temporary files that killed runs left in the place of `path`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     leftovers(Path(folder) / "a.png")
    []
    """
    digits = "[0-9a-f]" * 32
    return sorted(path.parent.glob(f".{glob.escape(_short(path.name))}.{digits}.tmp*"))


def _short(name: str) -> str:
    """The name itself, or a digest of one so long that a temporary name with it would be refused."""
    return name if len(os.fsencode(name)) <= MAX_NAME_BYTES else hashlib.sha256(os.fsencode(name)).hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return a file's digest in hexadecimal digits.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file_digest(write_text(Path(folder) / "a.txt", ""))[:8]
    'e3b0c442'
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
