"""SA-1B: shards of photographs with their segment masks, each a tar or a folder of sa_N.jpg beside sa_N.json.

Whatever is damaged is reported and passed over; the rest of the shard is read.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from zim_plugins.data.faults import DataError, Fault, Report
from zim_plugins.data.rle import Rle
from zim_plugins.data.sample import Sample, decode_image
from zim_plugins.errors import ImageError

SPLITS = ("train",)
LICENCE = "SA-1B research licence"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_BLOCK = 512


@dataclass(frozen=True)
class Annotation:
    """One segment of a photograph."""

    id: int
    mask: Rle
    predicted_iou: float | None
    """SAM's own estimate of the mask's quality, 0 to 1."""
    stability_score: float | None
    """IoU of the mask under a higher and a lower threshold."""
    record: Mapping[str, Any]
    """The annotation as the file holds it."""

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return self.mask.area


@dataclass(frozen=True, eq=False)
class ShardImage:
    """A photograph of a shard and its segments."""

    key: str
    """sa_N."""
    file_name: str
    content: bytes
    """The image's file."""
    record: Mapping[str, Any]
    """`image` of the JSON: image_id, width, height, file_name."""
    annotations: tuple[Annotation, ...]
    path: Path
    """The image, or the tar that holds it."""
    image_bytes: tuple[int, int] | None
    """Offset and length in that tar [bytes]."""

    def read_image(self) -> UInt8[np.ndarray, "h w 3"]:
        """Decode the image, sRGB.

        Raises:
            ImageError: it is damaged, or not of the size that the JSON says.
        """
        rgb = decode_image(self.content, self.file_name)
        size = (self.record["height"], self.record["width"])
        if rgb.shape[:2] != size:
            raise ImageError(f"{self.file_name} has {list(rgb.shape[:2])} pixels, its JSON says {list(size)}")
        return rgb


def find_shards(source: Path) -> list[Path]:
    """The shards of SA-1B under a path, in order of name.

    Args:
        source: a tar, a folder of tars, a folder of sa_N.jpg and sa_N.json, or a folder of such folders.

    Raises:
        DataError: there is none.
    """
    if source.is_file() and source.suffix == ".tar":
        return [source]
    if source.is_dir():
        if any(source.glob("sa_*.json")):
            return [source]
        shards = [p for p in sorted(source.iterdir()) if p.is_file() and p.suffix == ".tar" and p.name[0] != "."]
        shards += [p for p in sorted(source.iterdir()) if p.is_dir() and any(p.glob("sa_*.json"))]
        if shards:
            return shards
    raise DataError(f"{source} holds no SA-1B shard: expected sa_*.tar, or folders of sa_N.jpg with sa_N.json")


def shard_files(shard: Path) -> list[Path]:
    """The files that a shard consists of."""
    if shard.is_file():
        return [shard]
    return sorted(p for p in shard.iterdir() if p.suffix in (*IMAGE_SUFFIXES, ".json") and p.is_file())


def read_shard(shard: Path, report: Report) -> Iterator[ShardImage]:
    """Read the photographs of a shard in order of name, undecoded, with their segments.

    Raises:
        OSError: a disk or network refuses: that is no fault of the data, and nothing is passed over for it.
    """
    members = scan_shard(shard, report)
    stems = sorted({Path(name).stem for name in members})
    for stem in stems:
        image_name = next((stem + s for s in IMAGE_SUFFIXES if stem + s in members), None)
        where = f"{shard}:{stem}"
        if image_name is None or f"{stem}.json" not in members:
            report(Fault("unpaired", where, "no image" if image_name is None else "no JSON"))
            continue
        try:
            record, rows = _parse(read_member(*members[f"{stem}.json"]))
        except DataError as error:
            report(Fault("broken JSON", where, str(error)))
            continue
        content = read_member(*members[image_name])
        annotations = tuple(_annotations(rows, record, where, report))
        yield ShardImage(stem, image_name, content, record, annotations, *members[image_name])


Member = tuple[Path, tuple[int, int] | None]
"""A file of a shard; in a tar its offset and length [bytes]."""


def scan_shard(shard: Path, report: Report) -> dict[str, Member]:
    """Return where the images and JSON files of a shard lie, by base name; damaged stretches of a tar are reported."""
    return _scan_tar(shard, report) if shard.is_file() else {p.name: (p, None) for p in shard_files(shard)}


def read_member(path: Path, part: tuple[int, int] | None) -> bytes:
    """The bytes of a file of a shard."""
    if part is None:
        return path.read_bytes()
    with path.open("rb") as stream:
        stream.seek(part[0])
        return stream.read(part[1])


def read_sa1b(root: Path, split: str, report: Report) -> Iterator[Sample]:
    """Read every segment of every shard as a sample; `extra` holds the annotation without its mask."""
    for shard in find_shards(root):
        for image in read_shard(shard, report):
            for annotation in image.annotations:
                extra = {"key": image.key} | {k: v for k, v in annotation.record.items() if k != "segmentation"}
                yield Sample(
                    image=image.path,
                    image_bytes=image.image_bytes,
                    dataset="sa1b",
                    split=split,
                    mask=annotation.mask,
                    subset=shard.stem,
                    licence=LICENCE,
                    extra=extra,
                )


def _scan_tar(path: Path, report: Report) -> dict[str, Member]:
    """Members of a tar by base name; after a damaged stretch the next intact header is sought."""
    members: dict[str, Member] = {}
    size = path.stat().st_size
    offset, damaged_from, zeros, long_name = 0, None, 0, None
    with path.open("rb") as stream:
        while offset + _BLOCK <= size:
            stream.seek(offset)
            block = stream.read(_BLOCK)
            # Read a header, or pass over a block that is none.
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                if block.count(0) == _BLOCK:
                    zeros += 1
                elif damaged_from is None:
                    damaged_from = offset
                offset += _BLOCK
                continue
            # Report the damage before an intact header.
            if damaged_from is not None or zeros:
                start = offset - zeros * _BLOCK if damaged_from is None else damaged_from
                report(Fault("corrupt tar", str(path), f"bytes {start} to {offset} are damaged; reading on after them"))
                damaged_from, zeros = None, 0
            # Keep the member's place.
            start, offset = offset + _BLOCK, offset + _BLOCK * (1 + -(-info.size // _BLOCK))
            if start + info.size > size:
                report(Fault("corrupt tar", str(path), f"it is truncated within {info.name}"))
                return members
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
                long_name = _long_name(info.type, stream.read(info.size)) or long_name
            elif info.isreg():
                name = (long_name or info.name).rsplit("/", 1)[-1]
                long_name = None
                if name in members:
                    report(Fault("duplicate", f"{path}:{name}", "it is in the tar twice; the later one is read"))
                if Path(name).suffix in (*IMAGE_SUFFIXES, ".json") and name[0] != ".":
                    members[name] = (path, (start, info.size))
    if damaged_from is not None or not zeros:
        report(Fault("corrupt tar", str(path), "it is truncated or damaged at its end: the end mark is missing"))
    return members


def _long_name(kind: bytes, content: bytes) -> str | None:
    """A name beyond 100 characters, from GNU's or PAX's extra header."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    records = [line.partition(b" ")[2] for line in content.split(b"\n")]
    return next((r[5:].decode("utf-8", "surrogateescape") for r in records if r.startswith(b"path=")), None)


def _parse(content: bytes) -> tuple[dict[str, Any], list[Any]]:
    try:
        document = json.loads(content)
        record, rows = document["image"], document["annotations"]
        if not isinstance(rows, list) or not all(type(record[side]) is int for side in ("width", "height")):
            raise DataError("expected image with width and height, and a list of annotations")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"not an SA-1B annotation file: {error}") from error
    return record, rows


def _annotations(rows: list[Any], record: Mapping[str, Any], where: str, report: Report) -> Iterator[Annotation]:
    seen: set[int] = set()
    for number, row in enumerate(rows):
        name = f"{where}#{row.get('id', number) if isinstance(row, dict) else number}"
        try:
            annotation = _annotation(row, record)
        except DataError as error:
            report(Fault("broken RLE" if "RLE" in str(error) else "broken annotation", name, str(error)))
            continue
        if annotation.id in seen:
            report(Fault("duplicate", name, "another annotation of this image has the same id"))
            continue
        seen.add(annotation.id)
        yield annotation


def _annotation(row: Any, record: Mapping[str, Any]) -> Annotation:
    if not isinstance(row, dict) or type(row.get("id")) is not int:
        raise DataError("an annotation is an object with a whole number as id")
    mask = Rle.from_json(row.get("segmentation"))
    if mask.size != (record["height"], record["width"]):
        raise DataError(f"broken RLE: the mask has {list(mask.size)} pixels, the image another size")
    scores = {}
    for name in ("predicted_iou", "stability_score"):
        value = row.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise DataError(f"{name} is a number, got {value!r}")
        scores[name] = value
    area = mask.area
    if area == 0:
        raise DataError("broken RLE: the mask is empty")
    if "area" in row and row["area"] != area:
        raise DataError(f"broken RLE: the mask has {area} pixels, its area says {row['area']}")
    return Annotation(row["id"], mask, scores["predicted_iou"], scores["stability_score"], row)
