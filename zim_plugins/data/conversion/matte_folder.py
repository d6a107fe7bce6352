"""Mattes for the masks of any data set: images with masks in, a folder of mattes beside one another out.

Of each image there is `mattes/NAME.png` for each mask and `done/STEM.json` (see `image_job`). Where the set has
splits, these stand in a folder for each split. When all images are through, `index.jsonl` pairs images and mattes
(see `data.sample.read_index`) and `manifest.json` says what was made from what. The same input gives the same mattes.
"""

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from zim_plugins.data.conversion.engine import Engine, Summary, convert_jobs
from zim_plugins.data.conversion.image_job import COUNTED, FORMAT, ImageJob, read_record, write_changed, write_json
from zim_plugins.data.conversion.locks import MakeConverter
from zim_plugins.data.conversion.shard_job import EVERYTHING, Selection
from zim_plugins.data.faults import DataError, FaultLog
from zim_plugins.data.readers.registry import read_dataset, require_dataset
from zim_plugins.data.sample import Sample
from zim_plugins.imaging.files import leftovers

MANIFEST, INDEX = "manifest.json", "index.jsonl"
_VERSIONED = ("zim-plugins", "torch", "numpy", "pillow")


def convert_folder(
    dataset: str,
    root: Path,
    out: Path,
    make_converter: MakeConverter,
    *,
    splits: Sequence[str] = (),
    engine: Engine = "local",
    workers: int = 1,
    selection: Selection = EVERYTHING,
    copy_images: bool = False,
    converter: Mapping[str, Any] | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    progress: bool = True,
) -> tuple[Summary, dict[str, Any] | None]:
    """Turn the masks of a data set into mattes; run again, it does what is left, and what was faulty.

    Args:
        dataset: name in the registry.
        out: folder for the mattes; not that of the data.
        make_converter: builds the label converter in each worker.
        splits: to convert; all that are there if none is named.
        engine: processes of this machine, or Ray.
        workers: images in work at one time.
        copy_images: whether the images are copied beside the mattes; else the index says where they are.
        converter: what the manifest says of the converter: name, sha256, settings.
        address: of a running Ray cluster; None starts one here.
        gpus_per_worker: that Ray reserves.
        progress: whether a bar is shown on stderr.

    Returns:
        What this run did, and the manifest of the whole folder; None where images are left to do.

    Raises:
        DataError: the data are not there or hold no mask, or results of other settings lie in `out`.
        MissingExtra: Ray is asked for and not installed.
    """
    faults = FaultLog()
    jobs = image_jobs(
        dataset, root, out, splits, faults, selection=selection, copy_images=copy_images, converter=converter
    )
    if not all(job.is_done() for job in jobs):
        (out / MANIFEST).unlink(missing_ok=True)
    summary = convert_jobs(
        jobs,
        out,
        make_converter,
        engine=engine,
        workers=workers,
        address=address,
        gpus_per_worker=gpus_per_worker,
        progress=progress,
    )
    return summary, collect(jobs, out, dataset, faults)


def image_jobs(
    dataset: str,
    root: Path,
    out: Path,
    splits: Sequence[str],
    faults: FaultLog,
    *,
    selection: Selection = EVERYTHING,
    copy_images: bool = False,
    converter: Mapping[str, Any] | None = None,
) -> list[ImageJob]:
    """The images with masks of a data set; of all splits that are there if none is named.

    Raises:
        DataError: the set or split is not there, holds no mask, or two masks would have mattes of one name.
    """
    known = require_dataset(dataset).splits
    absent, jobs = [], []
    for split in splits or known:
        images: dict[Path, list[Sample]] = {}
        try:
            for sample in read_dataset(dataset, root, split, report=faults):
                if sample.kind == "mask":
                    images.setdefault(sample.image, []).append(sample)
        except DataError as error:
            if split in splits:
                raise
            absent.append(str(error))
        part = "" if known == ("all",) else split
        jobs += [
            ImageJob(tuple(samples), out, part, selection, copy_images, converter or {}) for samples in images.values()
        ]
    if not jobs:
        raise DataError("; ".join(absent) or f"{root} holds no masks of {dataset}: there is nothing to convert")
    if any(job.folder.resolve() == job.image.parent.parent.resolve() for job in jobs):
        raise DataError(f"{out} is where the data lie, which stay as they are: choose another output folder")
    names = Counter(job.matte(sample) for job in jobs for sample in job.samples)
    twice = [str(path.relative_to(out)) for path, n in names.items() if n > 1]
    if twice:
        raise DataError(f"two masks or more would be written to {', '.join(twice[:5])}: give them names of their own")
    return jobs


def collect(jobs: Sequence[ImageJob], out: Path, dataset: str, faults: FaultLog) -> dict[str, Any] | None:
    """Write index and manifest of a folder whose images are all through; None where some are not.

    Args:
        dataset: name of the set.
        faults: what the reader of the set passed over; the records' own are added.
    """
    if not all(job.record.is_file() for job in jobs):
        return None
    counts, left_out = Counter[str](), Counter[str]()
    told, inputs, outputs = [str(fault) for fault in faults.faults], hashlib.sha256(), hashlib.sha256()
    kinds, total_bytes, lines = Counter(faults.counts), 0, []
    for job in jobs:
        record = read_record(job.record)
        counts.update({name: record["counts"][name] for name in COUNTED})
        left_out.update(record["counts"]["left_out"])
        kinds.update(record["counts"]["faults"])
        told += record["faults"]
        inputs.update(f"{record['picture']['sha256']}  {record['masks_sha256']}  {job.name}\n".encode())
        made = {row["file"]: row for row in record["mattes"]}
        for sample in job.samples:
            path = job.matte(sample)
            row = made.get(path.relative_to(job.folder).as_posix())
            if row is not None:
                outputs.update(f"{row['sha256']}  {path.relative_to(out).as_posix()}\n".encode())
                total_bytes += row["bytes"]
                matted = Sample(
                    image=job.copy if job.copy_images else job.image.absolute(),
                    dataset=sample.dataset,
                    split=sample.split,
                    alpha=path,
                    subset=sample.subset,
                    licence=sample.licence,
                    extra={**sample.extra, "sha256": row["sha256"]},
                )
                lines.append(json.dumps(matted.to_json(out), ensure_ascii=False, sort_keys=True))
    manifest = {
        "format": FORMAT,
        "dataset": dataset,
        "splits": sorted({sample.split for job in jobs for sample in job.samples}),
        "converter": dict(jobs[0].converter),
        "settings": jobs[0].settings,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _VERSIONED},
        "counts": dict(counts) | {"left_out": dict(sorted(left_out.items())), "faults": dict(sorted(kinds.items()))},
        "input": {"pictures": len(jobs), "sha256": inputs.hexdigest()},
        "output": {"mattes": len(lines), "bytes": total_bytes, "sha256": outputs.hexdigest()},
        "faults": told[:1000],
    }
    lock = out / f".{MANIFEST}.lock"
    with FileLock(lock):
        for left in (*leftovers(out / INDEX), *leftovers(out / MANIFEST)):  # of runs that were killed here
            left.unlink(missing_ok=True)
        write_changed(out / INDEX, "".join(f"{line}\n" for line in lines).encode())
        write_json(out / MANIFEST, manifest)
        with suppress(PermissionError):  # Windows keeps what is open
            lock.unlink(missing_ok=True)
    return manifest
