"""Images of a matting set with all their objects, read by `zim_plugins.data`."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from zim_plugins.data.faults import DataError, FaultLog
from zim_plugins.data.readers.registry import DATASETS, read_dataset, require_dataset
from zim_plugins.data.sample import Sample

DEFAULT_SPLITS = {"am2k": "val", "p3m10k": "val", "micromat3k": "test", "aim500": "test"}
"""The split that is reported on; of other sets with one split that one, else it has to be named."""


@dataclass(frozen=True)
class EvaluationImage:
    """One image with the objects to find in it."""

    key: str
    """The image's path relative to the data set's folder: its name in all results."""
    samples: tuple[Sample, ...]
    object_keys: tuple[str, ...]
    """Of each sample, the path of its matte relative to the data set's folder."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the image's scores depend on."""
        return tuple(dict.fromkeys(p for s in self.samples for p in (s.image, s.alpha) if p is not None))

    @property
    def slug(self) -> str:
        """A file name that no other image has."""
        return f"{Path(self.key).stem}-{hashlib.sha256(self.key.encode()).hexdigest()[:8]}"


@dataclass
class EvaluationSet:
    """All images of one split, and what is wrong with it."""

    name: str
    split: str
    root: Path
    images: list[EvaluationImage] = field(default_factory=list)
    faults: FaultLog = field(default_factory=FaultLog)

    def fingerprint(self) -> str:
        """SHA-256 over names and sizes of all files [bytes]."""
        digest = hashlib.sha256()
        for image in self.images:
            for path in image.files:
                size = path.stat().st_size if path.is_file() else -1
                digest.update(f"{_relative(path, self.root)} {size}\n".encode())
        return digest.hexdigest()


def dataset_names() -> list[str]:
    """Every data set that can be evaluated on."""
    return sorted(DATASETS)


def load_evaluation_set(name: str, root: Path, split: str | None = None, *, every: int = 1) -> EvaluationSet:
    """List the images of a data set's split, with the samples of one image together, in the data set's order.

    Args:
        name: of `dataset_names()`.
        split: None for the one that is reported on.
        every: take every Nth image only.

    Raises:
        DataError: name or split is unknown, or the folder is not laid out as expected.
    """
    split = split or default_split(name)
    found = EvaluationSet(name, split, root)
    by_image: dict[str, list[Sample]] = {}
    for sample in read_dataset(name, root, split, report=found.faults):
        if sample.kind != "background":
            by_image.setdefault(_image_key(sample, root), []).append(sample)
    used: set[str] = set()
    for key, samples in list(by_image.items())[::every]:
        keys = [_unused(_object_key(sample, root), used) for sample in samples]
        found.images.append(EvaluationImage(key, tuple(samples), tuple(keys)))
    if not found.images and not found.faults.counts:
        raise DataError(f"{root} holds no mattes of {name} ({split})")
    return found


def default_split(name: str) -> str:
    """The split that is reported on.

    Raises:
        DataError: there is no such data set, or it has several splits.
    """
    splits = require_dataset(name).splits
    if name in DEFAULT_SPLITS:
        return DEFAULT_SPLITS[name]
    if len(splits) != 1:
        raise DataError(f"{name} has the splits {', '.join(splits)}: name one")
    return splits[0]


def find_trimap(folder: Path, sample: Sample) -> Path | None:
    """The trimap named as the sample's matte is."""
    stem = (sample.alpha or sample.image).stem
    return next(iter(sorted(p for p in folder.glob(f"{stem}.*") if p.is_file())), None)


def _image_key(sample: Sample, root: Path) -> str:
    """The image's path; with its place where many are in one tar."""
    at = "" if sample.image_bytes is None else f"@{sample.image_bytes[0]}"
    return _relative(sample.image, root) + at


def _object_key(sample: Sample, root: Path) -> str:
    if sample.alpha is not None:
        return Path(_relative(sample.alpha, root)).with_suffix("").as_posix()
    words = [str(value) for _, value in sorted(sample.extra.items()) if isinstance(value, str | int)]
    return "#".join([_image_key(sample, root), *words])


def _unused(key: str, used: set[str]) -> str:
    name, number = key, 2
    while name in used:
        name, number = f"{key}#{number}", number + 1
    used.add(name)
    return name


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
