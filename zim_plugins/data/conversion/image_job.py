"""One image of a data set with its masks: `mattes/NAME.png` for each mask, 8-bit grey, of the image's size.

`done/STEM.json`, written last, says what was made from what; an image without it is not done.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zim_plugins.data.conversion.shard_job import (
    EVERYTHING,
    Convert,
    Selection,
    Tick,
    check_same_making,
    convert_masks,
    read_document,
)
from zim_plugins.data.faults import DataError, Fault, FaultLog
from zim_plugins.data.readers.sa1b import Annotation
from zim_plugins.data.sample import Sample
from zim_plugins.errors import ImageError
from zim_plugins.imaging.files import atomic_write, file_digest, leftovers
from zim_plugins.imaging.geometry import paste
from zim_plugins.imaging.image import encode_png

FORMAT = "zim-mattes/1"
_NUMBERS = ("annotator", "region", "class", "instance", "annotation")
COUNTED = ("images", "annotations", "mattes", "equal_to_mask", "empty_mattes")
"""What is counted of an image; `mattes` are those that differ from their mask, `equal_to_mask` the others."""


@dataclass(frozen=True)
class ImageJob:
    """One image with its masks to convert, and all that the result depends on."""

    samples: tuple[Sample, ...]
    """The masks, all of one image."""
    out: Path
    """Folder of the results of all splits."""
    part: str = ""
    """Folder of this split within `out`; empty where the set has no splits."""
    selection: Selection = EVERYTHING
    copy_images: bool = False
    """Whether the image is copied to images/, as it is."""
    converter: Mapping[str, Any] = field(default_factory=dict)
    """What made the mattes: name, sha256 of the checkpoint, settings; as JSON holds them."""

    @property
    def image(self) -> Path:
        """The image."""
        return self.samples[0].image

    @property
    def name(self) -> str:
        """The image's stem, below its split."""
        return f"{self.part}/{self.image.stem}" if self.part else self.image.stem

    @property
    def folder(self) -> Path:
        """Return the folder of this split's results."""
        return self.out / self.part

    @property
    def record(self) -> Path:
        """Return the path of the file that says that the image is done."""
        return self.folder / "done" / f"{self.image.stem}.json"

    @property
    def copy(self) -> Path:
        """Return the path that the image is copied to."""
        return self.folder / "images" / self.image.name

    @property
    def settings(self) -> dict[str, Any]:
        """Return what records and manifest say of how mattes were made."""
        return {"selection": asdict(self.selection), "copy_images": self.copy_images, "png_compression": 6}

    def matte(self, sample: Sample) -> Path:
        """Return the path of a mask's matte."""
        return self.folder / "mattes" / f"{matte_name(sample)}.png"

    def masks_sha256(self) -> str:
        """Fingerprint of names and masks."""
        lines = (f"{matte_name(s)} {s.mask.size} {s.mask.counts}\n" for s in self.samples if s.mask is not None)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def input_bytes(self) -> int:
        """Size of the image [bytes]."""
        return self.image.stat().st_size

    def is_done(self) -> bool:
        """Return whether all mattes of this image are there, and nothing was wrong with it: else it is tried again.

        Raises:
            DataError: results are there that were made in another way: they are not overwritten.
        """
        if not self.record.is_file():
            return False
        record = read_record(self.record)
        check_same_making(record, self.record, self.converter, self.settings)
        return (
            not record["faults"]
            and record["picture"]["bytes"] == self.input_bytes()
            and record["masks_sha256"] == self.masks_sha256()
            and all(_has_size(self.folder / row["file"], row["bytes"]) for row in record["mattes"])
            and (not self.copy_images or _has_size(self.copy, record["picture"]["bytes"]))
        )

    def convert(self, convert: Convert, tick: Tick | None = None) -> dict[str, Any]:
        """Convert one image; whatever an earlier, killed run left of it is cleared away.

        Faults of the input are counted in the record and passed over.

        Raises:
            OSError: the disk refuses.
            ValueError: the converter answers with other than one matte inside the image for each mask.
        """
        self._clear()
        faults, counts, left_out = FaultLog(keep=200), Counter[str](), Counter[str]()
        counts["annotations"] = len(self.samples)
        rows, selected = [], []
        try:
            rgb = self.samples[0].read_image()
        except ImageError as error:
            faults(Fault("unreadable image", self.image.name, str(error)))
        else:
            selected = self.selection.select(list(self._annotations(rgb.shape[:2], faults)), left_out)
            for annotation, box, alpha, _ in convert_masks(rgb, selected, convert, counts):
                path = self.matte(self.samples[annotation.id])
                content = encode_png(paste(alpha, box, (rgb.shape[0], rgb.shape[1])))
                with atomic_write(path, durable=True) as stream:
                    stream.write(content)
                name = path.relative_to(self.folder).as_posix()
                rows.append({"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
            counts["images"] = 1
            if self.copy_images:
                with atomic_write(self.copy, durable=True) as stream, self.image.open("rb") as source:
                    shutil.copyfileobj(source, stream)
        answer = {name: counts[name] for name in COUNTED}
        answer |= {"left_out": dict(sorted(left_out.items())), "faults": dict(sorted(faults.counts.items()))}
        image = {"name": self.image.name, "bytes": self.input_bytes(), "sha256": file_digest(self.image)}
        record = {
            "format": FORMAT,
            "picture": image,
            "masks_sha256": self.masks_sha256(),
            "converter": dict(self.converter),
            "settings": self.settings,
            "mattes": rows,
            "counts": answer,
            "faults": [str(fault).replace(f"{self.image.parent}/", "") for fault in faults.faults],
        }
        write_json(self.record, record)
        if tick is not None:
            tick(1, len(selected), image["bytes"])
        return answer

    def _annotations(self, size: tuple[int, ...], faults: FaultLog) -> Iterator[Annotation]:
        """The masks that fit the image, numbered as `samples` are."""
        for number, sample in enumerate(self.samples):
            mask = sample.mask
            if mask is None:
                continue
            where = f"{self.image.name}:{matte_name(sample)}"
            try:
                if mask.size != size:
                    words = f"mask {mask.size[1]}x{mask.size[0]} px, image {size[1]}x{size[0]} px"
                    faults(Fault("size mismatch", where, words))
                elif mask.area == 0:
                    faults(Fault("empty mask", where, "it has no pixel"))
                else:
                    yield Annotation(number, mask, None, None, {})
            except DataError as error:
                faults(Fault("broken RLE", where, str(error)))

    def _clear(self) -> None:
        """Take away what the last run made of this image, its record first."""
        earlier = [self.matte(sample) for sample in self.samples]
        if self.record.is_file():
            earlier += [self.folder / row["file"] for row in read_record(self.record)["mattes"]]
        copies = [self.copy] if self.copy_images else []
        for path in (self.record, *dict.fromkeys(earlier), *copies):
            for left in (path, *leftovers(path)):
                left.unlink(missing_ok=True)


def matte_name(sample: Sample) -> str:
    """Stem of a mask's matte: that of the mask's file, else the image's with the mask's numbers in the data set."""
    if "mask" in sample.extra:
        return Path(sample.extra["mask"]).stem
    return "_".join([sample.image.stem, *(str(sample.extra[n]) for n in _NUMBERS if n in sample.extra)])


def read_record(path: Path) -> dict[str, Any]:
    """Read an image's record.

    Raises:
        DataError: it is no record.
    """
    return read_document(path, FORMAT, "no record of an image's mattes (delete it to make it anew)")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document, unless it stands there already."""
    write_changed(path, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def write_changed(path: Path, content: bytes) -> None:
    """Write a file, unless it stands there already."""
    if not (path.is_file() and path.read_bytes() == content):
        with atomic_write(path, durable=True) as stream:
            stream.write(content)


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes
