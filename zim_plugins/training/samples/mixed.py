"""Parts and whole objects in one batch: mattes of SA1B-Matte's segments beside those of whole things."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zim_plugins.training.samples.batches import Batch, batch_of
from zim_plugins.training.samples.library import Library
from zim_plugins.training.samples.read_ahead import made_ahead
from zim_plugins.training.samples.shards import ShardLibrary, ShardSource
from zim_plugins.training.samples.source import SampleSource

CHOICE = 2
"""Stream of random numbers that decides a row's kind; the scenes' own streams are untouched by it."""


@dataclass(frozen=True, eq=False)
class MixedLibrary:
    """Two collections of mattes."""

    parts: Library | ShardLibrary
    """Mattes of segments, as SA1B-Matte's, most of which are parts of things."""
    objects: Library | ShardLibrary
    """Mattes of whole things."""

    def describe(self) -> str:
        """Return one line for the log."""
        return f"parts: {self.parts.describe()}; whole objects: {self.objects.describe()}"


@dataclass(frozen=True, eq=False)
class MixedSource:
    """Batches by number whose rows are drawn from two sources; both have the same size, share and prompts.

    Row by row a random number of the seed, the step and the row decides, so that resuming and any number of processes
    give the same rows.
    """

    parts: SampleSource | ShardSource
    objects: SampleSource | ShardSource
    objects_share: float
    """Of the rows that show whole objects, in [0, 1]."""
    seed: int = 0
    threads: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.objects_share <= 1:
            raise ValueError(f"objects_share lies in [0, 1], got {self.objects_share:g}")

    def batch(self, step: int) -> Batch:
        """Return this process's rows of the batch of one step."""
        parts = self.parts
        rows = range(parts.batch_size)[parts.share.rows(parts.batch_size)]
        asked = [(self.objects if self.is_object(step, row) else parts).asked(step, row) for row in rows]
        return batch_of(asked, parts.frame_px, parts.sampling.max_tokens, rows)

    def is_object(self, step: int, row: int) -> bool:
        """Return whether a row shows a whole object."""
        return bool(np.random.default_rng((self.seed, step, row, CHOICE)).random() < self.objects_share)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of steps `start` to `stop`, made by threads that work ahead."""
        return made_ahead(self.batch, start, stop, threads=self.threads)
