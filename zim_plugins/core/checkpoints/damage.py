"""Reasons why a file holds no weights, in words of this project; no library's advice is passed on."""

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    ImportError,
    MemoryError,
    RuntimeError,
    SystemError,
    pickle.PickleError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What torch, safetensors and our own networks raise on damaged files: mutated ones raised each of these."""
MAX_CONFIG_NUMBER = 4096
"""Largest number in a network's configuration that is believed; larger ones would fill the memory first."""


def why_unreadable(path: Path) -> str:
    """Describe what a file that was taken for weights is instead, by its first bytes.

    >>> import tempfile; folder = tempfile.TemporaryDirectory(); path = Path(folder.name) / "sam.pth"
    >>> _ = path.write_text("<!DOCTYPE html><html><body>404</body></html>"); print(why_unreadable(path))
    it is a web page saved under this name: download the file itself
    >>> folder.cleanup()
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
        size = path.stat().st_size
    except OSError as error:
        return error.strerror or "it cannot be opened"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return "it is empty: copy or download it again"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "it is a web page saved under this name: download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the weights: run `git lfs pull`, or download the file itself"
    if start.startswith((b"{", b"[")) and b"\0" not in head:
        return "it is text, perhaps a server's message: download the file itself"
    if not any(byte < 9 for byte in head) and head.isascii():
        return "it is text, not weights"
    return f"it is damaged or no such file ({size} bytes): copy or download it again"


def check_config(values: Any) -> None:
    """Raise ValueError where a configuration read from a file holds numbers that no network of ours has."""
    if isinstance(values, dict):
        for value in values.values():
            check_config(value)
    elif isinstance(values, list):
        for value in values:
            check_config(value)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        if not abs(values) <= MAX_CONFIG_NUMBER:
            raise ValueError(f"{values} in its configuration")
