"""Progress and summary of a batch: lines or a bar on standard error, records on standard output."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from zim_plugins.cli.runtime import DONE, FAILED, MISUSED, leave_stdout_alone

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Fate of one image."""

    record: dict[str, object]
    """Its JSON record."""
    fault: Literal["", "failed", "misused"] = ""
    messages: tuple[logging.LogRecord, ...] = ()
    """What another process had to say meanwhile."""


LINE_EVERY_S = 30.0
"""Time between the lines that tell a log how far a run is."""


class ProgressLines:
    """Tells a log now and then how far a long run is; a short one is not mentioned.

    >>> lines = ProgressLines("slice", "liver")
    >>> lines.update(), lines.n
    (None, 1)
    """

    def __init__(self, unit: str, about: str | None = None, total: int | None = None) -> None:
        self.unit, self.about, self.total = unit, about, total
        self.n = 0
        self._start_s = self._told_s = time.monotonic()

    def update(self, n: int = 1) -> None:
        """Count further units that are done."""
        self.n += n
        now = time.monotonic()
        if now - self._told_s >= LINE_EVERY_S:
            self._told_s = now
            count = f"{self.n} of {self.total}" if self.total else str(self.n)
            of_what = f"{self.about}: " if self.about else ""
            logger.info("%s%s %ss after %.0f s", of_what, count, self.unit, now - self._start_s)


@contextmanager
def progress_bar(total: int | None, unit: str, about: str | None = None) -> "Iterator[tqdm | ProgressLines]":
    """Show a bar on a terminal, lines elsewhere; messages meanwhile stand above it. The total may be unknown."""
    if not sys.stderr.isatty():
        yield ProgressLines(unit, about, total)
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm(), tqdm(total=total, unit=unit, desc=about) as bar:
        yield bar


Collect = Callable[[dict[str, object]], None]
"""Sees a record before it is printed."""


def report(
    outcomes: Iterable[Outcome], images: int, *, out: str, json_records: bool, collect: Collect | None = None
) -> int:
    """Show how a batch goes on, print the records that were asked for, and return the exit code.

    A bar is shown on a terminal, plain lines elsewhere. Records that cannot be printed are no fault of the run.

    Args:
        outcomes: what becomes of each image, as it becomes known.
        images: their number.
        out: where results go, for messages; - for standard output.
        json_records: print them.
        collect: sees every record first, and may take from it.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    faults: list[str] = []
    records = _Records(json_records)
    on_terminal = images > 1 and sys.stderr.isatty()
    made = kept = 0
    with logging_redirect_tqdm(), tqdm(outcomes, total=images, unit="image", disable=not on_terminal) as bar:
        for number, outcome in enumerate(bar, 1):
            for message in outcome.messages:
                logging.getLogger(message.name).handle(message)
            if collect is not None:
                collect(outcome.record)
            records.print(outcome.record)
            if outcome.fault:
                faults.append(outcome.fault)
                continue
            skipped = bool(outcome.record.get("skipped"))
            made, kept = made + (not skipped), kept + skipped
            if not skipped and out != "-":
                _tell(outcome.record, f"{number}/{images} " if images > 1 else "", quiet=on_terminal)
    rest = [f"{made} written to {out}"] if made and images > 1 and out != "-" else []
    rest += [f"{kept} left out, their results are there"] if kept and images > 1 else []
    if not faults:
        if rest:
            logger.info("%s", ", ".join(rest))
        return DONE
    if images > 1:
        logger.error("%s", ", ".join([f"{len(faults)} of {images} images failed", *rest]))
    return MISUSED if faults == ["misused"] * images else FAILED


def _tell(record: Mapping[str, Any], number: str, *, quiet: bool) -> None:
    """Say where the results of an image are."""
    if not quiet:
        files = [str(path) for path in record.get("files", {}).values()]
        logger.info("%s%s -> %s (%.1f s)", number, record["image"], ", ".join(files), record.get("seconds", 0.0))


class _Records:
    """Prints records on standard output as long as it takes them."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted

    def print(self, record: Mapping[str, object]) -> None:
        if not self.wanted:
            return
        # What the encoding lacks is escaped by JSON itself, as \ud83d\ude00 is: other escapes are no JSON.
        is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
        try:
            print(json.dumps(record, ensure_ascii=not is_utf8), flush=True)
        except BrokenPipeError:
            self.wanted = False
            leave_stdout_alone()
        except OSError as error:
            self.wanted = False
            logger.error("records cannot be printed (%s): the images are worked on", error.strerror or error)
            leave_stdout_alone()
