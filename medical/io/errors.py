"""Faults of a scan, worded so that they do not say whose it is."""

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
