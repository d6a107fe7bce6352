"""Check of a folder of data, before a run starts."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zim_plugins.data.faults import DataError, Fault, FaultLog
from zim_plugins.data.readers.registry import read_dataset, require_dataset
from zim_plugins.data.sample import Sample
from zim_plugins.errors import ImageError


@dataclass
class Findings:
    """Findings of a check."""

    dataset: str
    root: Path
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """By split: samples, images, mattes, masks, backgrounds."""
    absent: dict[str, str] = field(default_factory=dict)
    """Splits that are not there, and what was expected."""
    faults: FaultLog = field(default_factory=FaultLog)

    def to_json(self) -> dict[str, Any]:
        """Return the findings as JSON values."""
        return {
            "dataset": self.dataset,
            "root": str(self.root),
            "splits": {split: dict(counts) for split, counts in self.counts.items()},
            "absent": self.absent,
            "fault_counts": dict(sorted(self.faults.counts.items())),
            "faults": [{"kind": f.kind, "where": f.where, "message": f.message} for f in self.faults.faults],
        }


def check_dataset(
    name: str,
    root: Path,
    splits: Sequence[str] = (),
    *,
    allow: Sequence[str] = (),
    seen: Callable[[Sample], None] | None = None,
) -> Findings:
    """Read every sample of a data set and note what is wrong.

    Noted are, beside what the reader itself passes over: `unreadable image`, `unreadable matte`,
    `alpha stored as colour`, `size mismatch`, `empty matte`, `full matte` (opaque throughout), `binary matte`
    (nothing between 0 and 1), `broken RLE`, `duplicate` (one image under two names, one matte twice).

    Args:
        splits: to check; all that are there if none is named.
        allow: kinds of fault that are not to be noted.
        seen: is told of every sample.

    Raises:
        DataError: name or split is unknown, or nothing of the data set is there.
    """
    dataset = require_dataset(name)
    for split in splits:
        require_dataset(name, split)
    findings = Findings(name, root)
    checker = _Checker(findings, frozenset(allow))
    for split in splits or dataset.splits:
        checker.counts = Counter()
        try:
            for sample in read_dataset(name, root, split, report=checker.note):
                checker.check(sample)
                if seen is not None:
                    seen(sample)
        except DataError as error:
            if split in splits:
                raise
            findings.absent[split] = str(error)
            continue
        findings.counts[split] = checker.counts
    if not findings.counts:
        raise DataError("; ".join(findings.absent.values()))
    return findings


class _Checker:
    """Remembers, from sample to sample, which images were seen."""

    def __init__(self, findings: Findings, allow: frozenset[str]) -> None:
        self.findings = findings
        self.allow = allow
        self.counts: Counter[str] = Counter()
        self.sizes: dict[tuple[Path, tuple[int, int] | None], tuple[int, int] | None] = {}
        self.images: dict[bytes, str] = {}
        self.mattes: set[tuple[str, bytes]] = set()

    def note(self, fault: Fault) -> None:
        if fault.kind not in self.allow:
            self.findings.faults(fault)

    def check(self, sample: Sample) -> None:
        self.counts["samples"] += 1
        self.counts[f"{sample.kind}s"] += 1
        size = self._image(sample)
        for path in (sample.foreground, sample.background):
            if path is not None and path != sample.image:
                other = self._size(Sample(path, sample.dataset, sample.split))
                if size is not None and other not in (None, size):
                    self.note(Fault("size mismatch", str(path), f"{_words(other)}, its image {_words(size)}"))
        if sample.kind == "mask":
            self._mask(sample, size)
        elif sample.alpha is not None:
            self._matte(sample, sample.alpha, size)

    def _image(self, sample: Sample) -> tuple[int, int] | None:
        """The image's size [px]; read once, and compared with all others by its bytes."""
        at = (sample.image, sample.image_bytes)
        if at not in self.sizes:
            self.counts["images"] += 1
            self.sizes[at] = self._size(sample)
            if self.sizes[at] is not None:
                where = _where(sample)
                first = self.images.setdefault(_fingerprint(sample.image, sample.image_bytes), where)
                if first != where:
                    self.note(Fault("duplicate", where, f"the same image as {first}"))
        return self.sizes[at]

    def _size(self, sample: Sample) -> tuple[int, int] | None:
        try:
            rgb = sample.read_image()
        except ImageError as error:
            self.note(Fault("unreadable image", _where(sample), str(error)))
            return None
        return rgb.shape[0], rgb.shape[1]

    def _mask(self, sample: Sample, size: tuple[int, int] | None) -> None:
        assert sample.mask is not None
        where = f"{_where(sample)} {dict(sample.extra)}"
        if size is not None and sample.mask.size != size:
            self.note(Fault("size mismatch", where, f"mask {_words(sample.mask.size)}, image {_words(size)}"))
        try:
            if sample.mask.area == 0:
                self.note(Fault("empty matte", where, "the mask has no pixel"))
        except DataError as error:
            self.note(Fault("broken RLE", where, str(error)))

    def _matte(self, sample: Sample, path: Path, size: tuple[int, int] | None) -> None:
        try:
            alpha = sample.read_alpha()
        except ImageError as error:
            try:
                Sample(path, sample.dataset, sample.split).read_image()
            except ImageError:
                self.note(Fault("unreadable matte", str(path), str(error)))
            else:
                self.note(Fault("alpha stored as colour", str(path), str(error)))
            return
        alpha_size = (alpha.shape[0], alpha.shape[1])
        if size is not None and alpha_size != size:
            self.note(Fault("size mismatch", str(path), f"matte {_words(alpha_size)}, image {_words(size)}"))
        soft = ((alpha > 0) & (alpha < 1)).any()
        if alpha.max() < 1 / 255:
            self.note(Fault("empty matte", str(path), "it is 0 throughout"))
        elif alpha.min() > 254 / 255:
            self.note(Fault("full matte", str(path), "it is 1 throughout"))
        elif not soft:
            self.note(Fault("binary matte", str(path), "it has no value between 0 and 1: a mask, not a matte"))
        if path != sample.image:
            twice = (_where(sample), _fingerprint(path, None))
            if twice in self.mattes:
                self.note(Fault("duplicate", str(path), "another matte of this image is the same"))
            self.mattes.add(twice)


def _where(sample: Sample) -> str:
    return str(sample.image) if sample.image_bytes is None else f"{sample.image}@{sample.image_bytes[0]}"


def _words(size: tuple[int, int] | None) -> str:
    return "unreadable" if size is None else f"{size[1]}x{size[0]} px"


def _fingerprint(path: Path, part: tuple[int, int] | None) -> bytes:
    with path.open("rb") as stream:
        if part is None:
            return hashlib.sha256(stream.read()).digest()
        stream.seek(part[0])
        return hashlib.sha256(stream.read(part[1])).digest()
