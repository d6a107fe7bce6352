"""SA1B-Matte: one shard of SA-1B in, one tar of mattes and its manifest out, whole or not at all.

The tar follows webdataset's layout. Of each photograph it holds `KEY.json`, the original annotations (run-length mask,
box, scores) with `matte`: {file, x, y, width, height} [px], where the crop lies in the photograph, or null where the
matte equals the mask to within 1/255 everywhere; and `KEY.ID.png`, 8-bit grey, for each matte. `SHARD.done.json` says
what was made from what; a shard without it is not done. The same input gives the same bytes.
"""

import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.data.faults import DataError, Fault, FaultLog
from zim_plugins.data.readers.sa1b import Annotation, ShardImage, read_shard, shard_files
from zim_plugins.errors import ImageError
from zim_plugins.imaging.files import atomic_write, file_digest, leftovers
from zim_plugins.imaging.geometry import Box, tight_box
from zim_plugins.imaging.image import encode_png
from zim_plugins.imaging.ranges import from_unit

FORMAT = "sa1b-matte/1"
MASKS_AT_ONCE = 64
"""Masks of one photograph that are decoded at one time: 64 of SA-1B's take 200 MB. Some photographs have 500."""


@runtime_checkable
class Matte(Protocol):
    """A matte in a crop of its image; 0 everywhere else."""

    @property
    def alpha(self) -> Float32[np.ndarray, "h w"]:
        """Opacity in [0, 1]."""
        ...

    @property
    def x(self) -> int:
        """Left column of the crop [px]."""
        ...

    @property
    def y(self) -> int:
        """Top row of the crop [px]."""
        ...


Convert = Callable[[UInt8[np.ndarray, "h w 3"], Sequence[Bool[np.ndarray, "h w"]]], Sequence[Matte]]
"""A label converter: a photograph and masks of it to mattes, in the masks' order."""
Tick = Callable[[int, int, int], None]
"""Told of progress: photographs and masks converted, and bytes read, since the last call."""


@dataclass(frozen=True)
class Selection:
    """Rule for which annotations are converted."""

    min_area_px: int = 0
    """Smallest mask [px]."""
    min_predicted_iou: float = 0.0
    """Lowest estimate of the mask's quality, 0 to 1."""
    min_stability_score: float = 0.0
    """Lowest stability, 0 to 1."""
    max_per_image: int | None = None
    """Masks of one photograph at most, taken evenly over their areas."""
    min_area_share: float = 0.0
    """Smallest mask as a share of its image, 0 to 1."""

    def __post_init__(self) -> None:
        if self.max_per_image is not None and self.max_per_image < 1:
            raise ValueError(f"max_per_image is at least 1, got {self.max_per_image}")
        if not 0 <= self.min_area_share <= 1:
            raise ValueError(f"min_area_share lies in [0, 1], got {self.min_area_share}")

    def select(self, annotations: Sequence[Annotation], left_out: Counter[str]) -> list[Annotation]:
        """The annotations to convert, in order of id; the others are counted by reason.

        An annotation without a score passes only where nothing is asked of that score.
        """
        kept = []
        for annotation in annotations:
            if annotation.area < self.min_area_px:
                left_out["min_area_px"] += 1
            elif annotation.area < self.min_area_share * annotation.mask.size[0] * annotation.mask.size[1]:
                left_out["min_area_share"] += 1
            elif (annotation.predicted_iou or 0.0) < self.min_predicted_iou:
                left_out["min_predicted_iou"] += 1
            elif (annotation.stability_score or 0.0) < self.min_stability_score:
                left_out["min_stability_score"] += 1
            else:
                kept.append(annotation)
        if self.max_per_image is not None and len(kept) > self.max_per_image:
            left_out["max_per_image"] += len(kept) - self.max_per_image
            by_area = sorted(kept, key=lambda a: (a.area, a.id))
            step = len(kept) / self.max_per_image
            kept = [by_area[int((k + 0.5) * step)] for k in range(self.max_per_image)]
        return sorted(kept, key=lambda a: a.id)


EVERYTHING = Selection()
"""All annotations."""


@dataclass(frozen=True)
class ShardJob:
    """One shard to convert, and all that its result depends on."""

    shard: Path
    """A tar or a folder of SA-1B."""
    out: Path
    """Folder of the results."""
    selection: Selection = EVERYTHING
    copy_images: bool = False
    """Whether the photographs are copied into the tar, as they are."""
    converter: Mapping[str, Any] = field(default_factory=dict)
    """What made the mattes: name, sha256 of the checkpoint, settings; as JSON holds them."""

    @property
    def name(self) -> str:
        """sa_000000: of the tar or folder read, and of what is written."""
        return self.shard.stem if self.shard.is_file() else self.shard.name

    @property
    def tar(self) -> Path:
        """Return the path of the mattes."""
        return self.out / f"{self.name}.tar"

    @property
    def manifest(self) -> Path:
        """Return the path of the file that says that the shard is done."""
        return self.out / f"{self.name}.done.json"

    @property
    def settings(self) -> dict[str, Any]:
        """Return what the manifest records of how the shard was made."""
        return {"selection": asdict(self.selection), "copy_images": self.copy_images, "png_compression": 6}

    def input_bytes(self) -> int:
        """Size of the input [bytes]."""
        return sum(p.stat().st_size for p in shard_files(self.shard))

    def is_done(self) -> bool:
        """See the function `is_done`."""
        return is_done(self)

    def convert(self, convert: Convert, tick: Tick | None = None) -> dict[str, Any]:
        """See `convert_shard`; answers with the counts of its manifest."""
        return convert_shard(self, convert, tick)["counts"]


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a shard's manifest.

    Raises:
        DataError: it is no manifest.
    """
    return read_document(path, FORMAT, "no manifest of a shard of mattes")


def read_document(path: Path, form: str, otherwise: str) -> dict[str, Any]:
    """Read a JSON document that this project wrote.

    Args:
        form: value of its `format`.
        otherwise: what messages call anything else.

    Raises:
        DataError: it is something else, or of another format.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != form:
            raise DataError(f"{path} is of format {document['format']!r}, expected {form!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is {otherwise}: {error}") from error
    return document


def check_same_making(
    document: Mapping[str, Any], made: Path, converter: Mapping[str, Any], settings: dict[str, Any]
) -> None:
    """Raise DataError where a finished result was made in another way than now: it is not overwritten."""
    for what, value in (("converter", json.loads(json.dumps(dict(converter)))), ("settings", settings)):
        if document[what] != value:
            raise DataError(
                f"{made} was made with another {what} ({document[what]}, now {value}): "
                "choose another output folder, or delete it to make it anew"
            )


def is_done(job: ShardJob) -> bool:
    """Return whether a shard's result is there, whole, and made from this input in this way.

    Raises:
        DataError: a result is there that was made in another way: it is not overwritten.
    """
    if not (job.manifest.is_file() and job.tar.is_file()):
        return False
    manifest = read_manifest(job.manifest)
    check_same_making(manifest, job.tar, job.converter, job.settings)
    if manifest["input"]["bytes"] != job.input_bytes():
        raise DataError(f"{job.tar} was made from a {job.shard.name} of another size: delete it to make it anew")
    return manifest["output"]["bytes"] == job.tar.stat().st_size


def convert_shard(job: ShardJob, convert: Convert, tick: Tick | None = None) -> dict[str, Any]:
    """Convert one shard and answer with its manifest; whatever an earlier, killed run left is cleared away.

    Faults of the input are counted in the manifest and passed over. The caller sees to it that nobody else converts
    the same shard into the same folder.

    Raises:
        OSError: the disk refuses.
        ValueError: the converter answers with other than one matte inside the image for each mask.
    """
    for path in (*leftovers(job.tar), *leftovers(job.manifest), job.manifest):
        path.unlink(missing_ok=True)
    faults, counts, left_out = FaultLog(keep=200), Counter[str](), Counter[str]()
    with atomic_write(job.tar, durable=True) as stream:
        digest = _Digest(stream)
        sink: Any = digest  # a tar written in one go asks nothing of its file but `write`
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            for image in read_shard(job.shard, faults):
                counts["annotations"] += len(image.annotations)
                selected = job.selection.select(image.annotations, left_out)
                for name, content in _members(image, selected, convert, job.copy_images, counts, faults):
                    info = tarfile.TarInfo(name)
                    info.size, info.mode = len(content), 0o644
                    tar.addfile(info, io.BytesIO(content))
                if tick is not None:
                    tick(1, len(selected), len(image.content))
    names = ("images", "annotations", "mattes", "equal_to_mask", "empty_mattes", "images_left_out")
    manifest = {
        "format": FORMAT,
        "shard": job.name,
        "input": {"name": job.shard.name, "bytes": job.input_bytes(), "sha256": input_sha256(job.shard)},
        "output": {"name": job.tar.name, "bytes": digest.bytes, "sha256": digest.sha256.hexdigest()},
        "converter": dict(job.converter),
        "settings": job.settings,
        "counts": {name: counts[name] for name in names}
        | {"left_out": dict(sorted(left_out.items())), "faults": dict(sorted(faults.counts.items()))},
        # Paths differ from machine to machine; what lies within the shard does not.
        "faults": [str(fault).replace(f"{job.shard}", job.shard.name) for fault in faults.faults],
    }
    with atomic_write(job.manifest, durable=True) as stream:
        stream.write(json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return manifest


def input_sha256(shard: Path) -> str:
    """Fingerprint of a shard: of a tar its own; of a folder that of the list of its files' names and fingerprints."""
    if shard.is_file():
        return file_digest(shard)
    lines = "".join(f"{file_digest(path)}  {path.name}\n" for path in shard_files(shard))
    return hashlib.sha256(lines.encode()).hexdigest()


class _Digest:
    """A file to write that counts and fingerprints what passes."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        self.bytes += len(content)
        return self.stream.write(content)


def _members(
    image: ShardImage,
    selected: Sequence[Annotation],
    convert: Convert,
    copy_image: bool,
    counts: Counter[str],
    faults: FaultLog,
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of what one photograph adds to the tar."""
    if not selected:
        counts["images_left_out"] += 1
        return
    try:
        rgb = image.read_image()
    except ImageError as error:
        faults(Fault("unreadable image", f"{image.path.name}:{image.file_name}", str(error)))
        return
    rows, images = [], []
    for annotation, (x1, y1, x2, y2), alpha, is_mask in convert_masks(rgb, selected, convert, counts):
        entry = None
        if not is_mask:
            name = f"{image.key}.{annotation.id}.png"
            entry = {"file": name, "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
            images.append((name, encode_png(alpha)))
        rows.append({**annotation.record, "matte": entry})
    counts["images"] += 1
    if copy_image:
        yield f"{image.key}{os.path.splitext(image.file_name)[1]}", image.content
    document = {"image": dict(image.record), "annotations": rows}
    yield f"{image.key}.json", json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    yield from images


def convert_masks(
    rgb: UInt8[np.ndarray, "h w 3"], selected: Sequence[Annotation], convert: Convert, counts: Counter[str]
) -> Iterator[tuple[Annotation, Box, UInt8[np.ndarray, "_ _"], bool]]:
    """Convert masks of one image: annotation, crop, matte within it, and whether it is the mask itself.

    Mattes are counted: `mattes` differ from their masks, `equal_to_mask` do not, `empty_mattes` are left out.

    Raises:
        ValueError: the converter answers with other than one matte inside the image for each mask.
    """
    for first in range(0, len(selected), MASKS_AT_ONCE):
        some = selected[first : first + MASKS_AT_ONCE]
        masks = [annotation.mask.decode() for annotation in some]
        mattes = convert(rgb, masks)
        if len(mattes) != len(masks):
            raise ValueError(f"the converter answered {len(masks)} masks with {len(mattes)} mattes")
        for annotation, mask, matte in zip(some, masks, mattes, strict=True):
            alpha, x, y = tight_crop(matte, mask.shape)
            if alpha.size == 0:
                counts["empty_mattes"] += 1
                continue
            is_mask = _equals(alpha, x, y, mask, annotation.area)
            counts["equal_to_mask" if is_mask else "mattes"] += 1
            yield annotation, (x, y, x + alpha.shape[1], y + alpha.shape[0]), alpha, is_mask


def tight_crop(matte: Matte, size: tuple[int, ...]) -> tuple[UInt8[np.ndarray, "h w"], int, int]:
    """The matte in 8 bits without its empty margins, and the crop's left column and top row [px]."""
    height, width = matte.alpha.shape
    if matte.x < 0 or matte.y < 0 or matte.y + height > size[0] or matte.x + width > size[1]:
        raise ValueError(f"the converter's crop {width}x{height} at {matte.x},{matte.y} leaves the image {size}")
    alpha = from_unit(matte.alpha)
    box = tight_box(alpha > 0)
    if box is None:
        return alpha[:0], matte.x, matte.y
    x1, y1, x2, y2 = box
    return alpha[y1:y2, x1:x2], matte.x + x1, matte.y + y1


def _equals(alpha: UInt8[np.ndarray, "h w"], x: int, y: int, mask: Bool[np.ndarray, "_ _"], area: int) -> bool:
    """Return whether a cropped matte equals the mask to within 1/255 everywhere."""
    inside = mask[y : y + alpha.shape[0], x : x + alpha.shape[1]]
    if int(inside.sum()) != area:
        return False
    return bool((np.abs(alpha.astype(np.int16) - 255 * inside.astype(np.int16)) <= 1).all())
