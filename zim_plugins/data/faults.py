"""Fault: one thing that is wrong with data, told, counted and passed over."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from zim_plugins.errors import ZimError

logger = logging.getLogger(__name__)


class DataError(ZimError, ValueError):
    """A folder, index or shard is not what its reader was promised; the message names what was expected."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with data."""

    kind: str
    """What sort of fault, a few words that faults are counted by: `unpaired`, `broken RLE`..."""
    where: str
    """The file, and within it the member or annotation."""
    message: str
    """What is wrong with it, in one line."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.message}"


Report = Callable[[Fault], None]
"""Who is told of a fault."""


def log_fault(fault: Fault) -> None:
    """Log a fault: the reporter where nobody else listens."""
    logger.warning("%s", fault)


@dataclass
class FaultLog:
    """Collects faults: all are counted, the first ones are kept."""

    keep: int = 1000
    """Faults kept in full."""
    faults: list[Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, fault: Fault) -> None:
        """Note one fault."""
        self.counts[fault.kind] += 1
        if len(self.faults) < self.keep:
            self.faults.append(fault)
