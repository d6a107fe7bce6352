"""Every data set that can be read, by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from zim_plugins.data.faults import DataError, Report, log_fault
from zim_plugins.data.readers.coco import COCO_LAYOUTS, read_coco
from zim_plugins.data.readers.coco import SPLITS as COCO_SPLITS
from zim_plugins.data.readers.matting_sets import PAIRED_LAYOUTS
from zim_plugins.data.readers.micromat import SPLITS as MICROMAT_SPLITS
from zim_plugins.data.readers.micromat import read_micromat
from zim_plugins.data.readers.paired import read_paired
from zim_plugins.data.readers.sa1b import SPLITS as SA1B_SPLITS
from zim_plugins.data.readers.sa1b import read_sa1b
from zim_plugins.data.readers.segments import ADE20K_SPLITS, BSDS500_SPLITS, read_ade20k, read_bsds500
from zim_plugins.data.sample import Sample


@dataclass(frozen=True)
class Dataset:
    """A data set that can be read."""

    splits: tuple[str, ...]
    read: Callable[[Path, str, Report], Iterator[Sample]]
    """From its root and a split; faults go to the reporter."""


DATASETS: dict[str, Dataset] = {
    **{
        name: Dataset(tuple(layout.splits), partial(read_paired, name, layout))
        for name, layout in PAIRED_LAYOUTS.items()
    },
    **{name: Dataset(COCO_SPLITS, partial(read_coco, name)) for name in COCO_LAYOUTS},
    "micromat3k": Dataset(MICROMAT_SPLITS, read_micromat),
    "ade20k": Dataset(tuple(ADE20K_SPLITS), read_ade20k),
    "bsds500": Dataset(BSDS500_SPLITS, read_bsds500),
    "sa1b": Dataset(SA1B_SPLITS, read_sa1b),
}


def require_dataset(name: str, split: str | None = None) -> Dataset:
    """The reader of a data set.

    Raises:
        DataError: there is no such data set or split; the message lists those there are.
    """
    if name not in DATASETS:
        raise DataError(f"there is no data set {name!r}; known are {', '.join(sorted(DATASETS))}")
    dataset = DATASETS[name]
    if split is not None and split not in dataset.splits:
        raise DataError(f"{name} has no split {split!r}; it has {', '.join(dataset.splits)}")
    return dataset


def read_dataset(name: str, root: str | Path, split: str, *, report: Report = log_fault) -> Iterator[Sample]:
    """Read one split of a data set from its folder, sample after sample, in an order that does not change.

    Args:
        name: see `DATASETS`.
        root: the folder that holds what the archive unpacks to, or that folder itself.
        split: in the data set's own division.
        report: is told of what is unpaired or damaged; those samples are passed over.

    Raises:
        DataError: the name or the split is unknown, or the folder is not laid out as expected; the message says how.
    """
    dataset = require_dataset(name, split)
    root = Path(root)
    if not root.is_dir() and not (name == "sa1b" and root.is_file()):
        raise DataError(f"{root} is no folder: name the one that holds {name}")
    return dataset.read(root, split, report)
