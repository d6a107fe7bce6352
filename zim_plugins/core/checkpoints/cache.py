"""One file from the network to the disk: resumed where it was interrupted, verified, written whole or not at all."""

import http.client
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from zim_plugins.errors import CheckpointError
from zim_plugins.imaging.files import BLOCK_BYTES, file_digest

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""Silence after which a connection counts as broken."""
MAX_STALLED_ATTEMPTS = 4
"""Connections in a row that may bring nothing before the download gives up."""
OFFLINE_VARIABLES = ("ZIM_PLUGINS_OFFLINE", "HF_HUB_OFFLINE")


def is_offline() -> bool:
    """Return whether ZIM_PLUGINS_OFFLINE or HF_HUB_OFFLINE (1, true, yes or on) forbids the network."""
    return any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in OFFLINE_VARIABLES)


def check_file(path: Path, *, size_bytes: int, digests: Mapping[str, str]) -> None:
    """Compare a file with what is known of it.

    Args:
        digests: algorithm -> hexadecimal digest, or the beginning of it where no more is known.

    Raises:
        CheckpointError: the file differs.
    """
    found_bytes = path.stat().st_size
    if found_bytes != size_bytes:
        raise CheckpointError(f"{path} is damaged: {found_bytes} bytes where {size_bytes} are expected")
    for algorithm, expected in digests.items():
        found = file_digest(path, algorithm)
        if not found.startswith(expected.lower()):
            raise CheckpointError(f"{path} is damaged: its {algorithm} is {found}, expected {expected}")


def download(url: str, path: Path, *, size_bytes: int, digests: Mapping[str, str], progress: bool = True) -> None:
    """Fetch `url` to `path`, continuing an earlier attempt's `<path>.part`.

    A file that arrives whole but wrong is deleted; one that arrives in part is kept for the next attempt.

    Args:
        url: http or https address.
        path: where the verified file is put, in one rename.
        size_bytes: exact size of the file.
        digests: algorithm -> hexadecimal digest, or the beginning of it.
        progress: draw a bar on stderr.

    Raises:
        CheckpointError: no connection, no room on the disk, or the file is not the expected one.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with FileLock(path.with_name(path.name + ".lock")):  # a second process waits, then finds the file
        if path.exists() and path.stat().st_size == size_bytes:
            return
        if part.exists() and part.stat().st_size > size_bytes:
            part.unlink()
        have_bytes = part.stat().st_size if part.exists() else 0
        free_bytes = shutil.disk_usage(path.parent).free
        if free_bytes < size_bytes - have_bytes:
            raise CheckpointError(
                f"{path.parent} has {free_bytes / 1e6:.0f} MB free, {path.name} needs "
                f"{(size_bytes - have_bytes) / 1e6:.0f} MB: make room or set ZIM_PLUGINS_HOME to another folder"
            )
        _receive(url, part, size_bytes, progress)
        try:
            check_file(part, size_bytes=size_bytes, digests=digests)
        except CheckpointError as error:
            part.unlink()
            raise CheckpointError(f"what {url} sent is not the expected file and was deleted: {error}") from None
        os.replace(part, path)


def _receive(url: str, part: Path, size_bytes: int, progress: bool) -> None:
    """Append to `part` until it has `size_bytes`, connecting again after interruptions."""
    from tqdm import tqdm

    have_bytes = part.stat().st_size if part.exists() else 0
    name = part.name.removesuffix(".part")
    with tqdm(
        total=size_bytes, initial=have_bytes, unit="B", unit_scale=True, desc=name, disable=not progress, leave=False
    ) as bar:
        stalled = 0
        reason = "the server closed the connection"
        while have_bytes < size_bytes:
            if stalled == MAX_STALLED_ATTEMPTS:
                raise CheckpointError(
                    f"{url} could not be fetched ({reason}); {have_bytes} of {size_bytes} bytes are kept, "
                    "the same command continues from there"
                )
            before_bytes = have_bytes
            try:
                _append(url, part, have_bytes, size_bytes, bar)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 416 and part.exists():  # the server has less than we hold: begin anew
                    part.unlink()
                elif error.code < 500 and error.code != 429:
                    raise CheckpointError(f"{url} answers {error.code} {error.reason}") from error
                reason = f"{error.code} {error.reason}"
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
            have_bytes = part.stat().st_size if part.exists() else 0
            bar.update(have_bytes - bar.n)
            stalled = 0 if have_bytes > before_bytes else stalled + 1
            if have_bytes < size_bytes:
                logger.info("%s: interrupted at %d of %d bytes (%s)", name, have_bytes, size_bytes, reason)


def _append(url: str, part: Path, have_bytes: int, size_bytes: int, bar) -> None:
    """One connection: ask for what is missing and append it as it comes."""
    request = urllib.request.Request(url, headers={"User-Agent": "zim-plugins"})
    if have_bytes:
        request.add_header("Range", f"bytes={have_bytes}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        resumed = response.status == 206 and (response.headers.get("Content-Range") or "").startswith(
            f"bytes {have_bytes}-"
        )
        with part.open("ab" if resumed else "wb") as stream:
            have_bytes = stream.tell()
            bar.n = have_bytes
            while have_bytes <= size_bytes and (block := response.read(BLOCK_BYTES)):
                stream.write(block)
                have_bytes += len(block)
                bar.update(len(block))
