"""Faults of a scan, worded so that they do not say whose it is."""

import struct
import zlib

from zim_plugins.core import ZimError


class ScanFault(ZimError):
    """A scan or its labels cannot be used; neither part of it holds a file's name or the value of a tag.

    Args:
        reason: a word for it, for counting: `truncated`, `size`, `label`, `affine`, `limit`...
        explanation: one sentence, with the next step.
    """

    def __init__(self, reason: str, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


ODD_FILE: tuple[type[Exception], ...] = (
    *(ZimError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError),
    *(MemoryError, AssertionError, struct.error, zlib.error),
)
"""All that readers of others raise for one odd file, which must not end a run of many."""
