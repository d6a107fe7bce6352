"""Conversion of a whole data set, unit by unit: in processes of this machine, or on a Ray cluster.

The unit, a shard of SA-1B or an image of other sets, is claimed by a file lock, which the system takes back when its
holder dies, converted, and then there as a whole. A run that was killed, or joined by a second one, loses nothing and
makes nothing twice.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zim_plugins.data.conversion.locks import CLAIMS, Job, MakeConverter, Outcome
from zim_plugins.data.conversion.processes import convert_here, convert_in_processes
from zim_plugins.data.conversion.progress import ConversionBar
from zim_plugins.data.conversion.ray_engine import convert_with_ray
from zim_plugins.data.conversion.shard_job import EVERYTHING, Selection, ShardJob
from zim_plugins.data.faults import DataError
from zim_plugins.data.readers.sa1b import find_shards

Engine = Literal["local", "ray"]
logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """Counts of a run."""

    shards: Counter[str] = field(default_factory=Counter)
    """Units `converted`, `done before`, `elsewhere` (held by another run) and `failed`."""
    counts: Counter[str] = field(default_factory=Counter)
    """Photographs, annotations, mattes... of the units converted now."""
    faults: Counter[str] = field(default_factory=Counter)
    """Faults of the input, by kind."""
    failures: list[str] = field(default_factory=list)

    def add(self, name: str, outcome: Outcome) -> None:
        """Count one unit."""
        what, details = outcome
        self.shards[what] += 1
        if what == "converted":
            self.counts.update({k: v for k, v in details.items() if isinstance(v, int)})
            self.faults.update(details["faults"])
        elif what == "failed":
            self.failures.append(f"{name}: {details['error']}")
            logger.error("%s failed: %s", name, details["error"])


def convert_dataset(
    source: Path,
    out: Path,
    make_converter: MakeConverter,
    *,
    engine: Engine = "local",
    workers: int = 1,
    selection: Selection = EVERYTHING,
    copy_images: bool = False,
    converter: Mapping[str, Any] | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    progress: bool = True,
) -> Summary:
    """Turn the masks of SA-1B shards into mattes; run again, it does what is left.

    Args:
        source: see `sa1b.find_shards`.
        out: folder for the shards of mattes and their manifests.
        make_converter: builds the label converter in each worker.
        engine: processes of this machine, or Ray.
        workers: shards in work at one time.
        copy_images: whether the photographs are copied into the shards of mattes.
        converter: what the manifests say of the converter: name, sha256, settings.
        address: of a running Ray cluster; None starts one here.
        gpus_per_worker: that Ray reserves.
        progress: whether a bar is shown on stderr.

    Raises:
        DataError: there is no shard, or results of other settings lie in `out`.
        MissingExtra: Ray is asked for and not installed.
    """
    if workers < 1:
        raise ValueError(f"workers is at least 1, got {workers}")
    jobs = [ShardJob(shard, out, selection, copy_images, converter or {}) for shard in find_shards(source)]
    return convert_jobs(
        jobs,
        out,
        make_converter,
        engine=engine,
        workers=workers,
        address=address,
        gpus_per_worker=gpus_per_worker,
        progress=progress,
    )


def convert_jobs(
    jobs: Sequence[Job],
    out: Path,
    make_converter: MakeConverter,
    *,
    engine: Engine = "local",
    workers: int = 1,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    progress: bool = True,
) -> Summary:
    """Do what is left of some units of work into one folder; arguments as of `convert_dataset`.

    Raises:
        DataError: two units have one name, or results of other settings lie in `out`.
        MissingExtra: Ray is asked for and not installed.
    """
    if workers < 1:
        raise ValueError(f"workers is at least 1, got {workers}")
    twice = [name for name, n in Counter(job.name for job in jobs).items() if n > 1]
    if twice:
        raise DataError(f"the input holds several of the same name: {', '.join(twice[:5])}")
    out.mkdir(parents=True, exist_ok=True)
    pending = [job for job in jobs if not job.is_done()]
    summary = Summary()
    summary.shards["done before"] = len(jobs) - len(pending)
    if pending:
        with ConversionBar(sum(job.input_bytes() for job in pending), progress) as bar:
            if engine == "ray":
                outcomes = convert_with_ray(pending, make_converter, workers, address, gpus_per_worker)
            elif workers == 1:
                outcomes = convert_here(pending, make_converter, bar.tick)
            else:
                outcomes = convert_in_processes(pending, make_converter, workers, bar.tick)
            for job, outcome in outcomes:
                summary.add(job.name, outcome)
                bar.unit_done(job, outcome, ticked=engine == "local")
    if not summary.shards["elsewhere"]:
        shutil.rmtree(out / CLAIMS, ignore_errors=True)
    return summary
