"""Pack: photographs, index masks and cut-outs, reduced and written as one zip file that a training machine reads.

    python -m zim_plugins.training.packed.pack DATA OUT [--part 1/2]

What each member is stands in `index.json`: photographs (WebP), one index mask per photograph or per annotator (PNG; 0
background, 255 ignore), cut-outs (WebP with alpha), backgrounds (WebP).
"""

import argparse
import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from zim_plugins.imaging.files import atomic_path
from zim_plugins.training.samples.library import CLICK_BENCHMARK_IDS, held_out

PHOTO_PX = 448
"""Longest side of packed photographs [px]."""
CUTOUT_PX = 320
"""Longest side of packed cut-outs [px]."""
KEPT_APART = 8
"""One image in so many is kept apart, by a hash of its name."""
IGNORE = 255
MIN_AREA = 0.001
"""Smallest object, as a share of its photograph."""


@dataclass
class PackedPhoto:
    """One photograph with one index mask."""

    name: str
    source: str
    image: str
    mask: str | None
    held_out: bool
    objects: list[int] = field(default_factory=list)
    """Values of the index mask that are objects."""
    areas: list[float] = field(default_factory=list)
    """Their shares of the photograph."""
    salient: int = 0
    """The value that is the object of the whole photograph, or 0."""


@dataclass
class PackedCutout:
    """One foreground with its matte."""

    name: str
    image: str
    held_out: bool
    rigid: bool


def main() -> None:
    """Write the pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", default="1/1", help="K/N: only every N-th member from the K-th on")
    parser.add_argument("--quality", type=int, default=72)
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    write_pack(args.data, args.out, part, parts, args.quality)


def write_pack(data: Path, out: Path, part: int = 1, parts: int = 1, quality: int = 72) -> None:
    """Write every `parts`-th member of the data from the `part`-th on; the file appears whole or not at all."""
    photos: list[PackedPhoto] = []
    cutouts: list[PackedCutout] = []
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for number, (source, path, masks, salient_all) in enumerate(_photos(data)):
            if number % parts != part - 1:
                continue
            image = Image.open(path).convert("RGB")
            size = _fit(image.size, PHOTO_PX)
            member = f"photos/{number:05d}.webp"
            archive.writestr(member, _webp(image.resize(size, Image.Resampling.LANCZOS), quality))
            apart = held_out(path.stem.removeprefix("bsds_"), KEPT_APART)
            for k, mask in enumerate(masks or [None]):
                if mask is None:
                    photos.append(PackedPhoto(path.stem, source, member, None, apart))
                    continue
                small = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
                values, counts = np.unique(small, return_counts=True)
                shares = counts / small.size
                keep = (values > 0) & (values < IGNORE) & (shares > MIN_AREA)
                if not keep.any():
                    continue
                name = f"masks/{number:05d}_{k}.png"
                buffer = io.BytesIO()
                Image.fromarray(small).save(buffer, "PNG", optimize=True)
                archive.writestr(name, buffer.getvalue())
                objects, areas = values[keep].tolist(), shares[keep].tolist()
                salient = _salient(objects, areas, salient_all)
                photos.append(PackedPhoto(path.stem, source, member, name, apart, objects, areas, salient))
        for number, (path, rigid) in enumerate(_cutouts(data)):
            if number % parts != part - 1:
                continue
            image = Image.open(path).convert("RGBA")
            box = image.getchannel("A").point([0] * 3 + [255] * 253).getbbox()
            if box is None:
                continue
            image = image.crop(box)
            image = image.resize(_fit(image.size, CUTOUT_PX), Image.Resampling.LANCZOS)
            member = f"cutouts/{number:05d}.webp"
            archive.writestr(member, _webp(image, 85))
            cutouts.append(PackedCutout(path.stem, member, held_out(path.stem, KEPT_APART), rigid))
        index = {"photos": [asdict(p) for p in photos], "cutouts": [asdict(c) for c in cutouts]}
        archive.writestr("index.json", json.dumps(index))
    objects = sum(len(p.objects) for p in photos)
    print(
        f"{out}: {len(photos)} masked photographs, {objects} objects, {len(cutouts)} cut-outs, "
        f"{out.stat().st_size / 2**20:.1f} MiB"
    )


def _salient(objects: list[int], areas: list[float], all_of_it: bool) -> int:
    """The object of the whole photograph: the only mask of a salient set, or one that is large and alone."""
    if all_of_it and len(objects) == 1:
        return objects[0]
    largest = int(np.argmax(areas))
    alone = areas[largest] > 0.08 and sum(areas) - areas[largest] < 0.15 * areas[largest]
    return objects[largest] if alone else 0


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _webp(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


Masks = list[UInt8[np.ndarray, "h w"]]


def _photos(data: Path) -> Iterator[tuple[str, Path, Masks, bool]]:
    """Source, image, index masks, and whether the only object of a mask is the salient one."""
    objects = data / "segmentation/objects"
    for folder in sorted(p for p in objects.iterdir() if (p / "index.tsv").exists() and p.name != "coco_mval"):
        images = {p.stem: p for p in (folder / "images").iterdir()}
        for mask in sorted((folder / "masks").glob("*.png")):
            if mask.stem in images:
                whole = folder.name in ("pets", "horses", "humans", "portraits")
                yield folder.name, images[mask.stem], [np.asarray(Image.open(mask))], whole
    yield from _coco_mval(objects / "coco_mval")
    bsds = data / "segmentation/bsds500"
    sod = {p.stem: p for p in (data / "segmentation/bsds_sod_masks/masks").glob("*.png")}
    for split in ("train", "val"):
        for path in sorted((bsds / split / "images").glob("*.jpg")):
            if path.stem in CLICK_BENCHMARK_IDS:
                continue
            if path.stem in sod:
                mask = (np.asarray(Image.open(sod[path.stem]).convert("L")) > 127).astype(np.uint8)
                yield "bsds_sod", path, [mask], True
            maps = sorted((bsds / split / "segments").glob(f"{path.stem}_*.png"))
            yield "bsds_regions", path, [np.asarray(Image.open(m)).astype(np.uint8) for m in maps[:2]], False
    for folder in ("backgrounds", "backgrounds_more"):
        for path in sorted((data / "matting" / folder).glob("*.jpg")):
            if path.stem.removeprefix("bsds_") not in CLICK_BENCHMARK_IDS:
                yield "background", path, [], False


def _coco_mval(folder: Path) -> Iterator[tuple[str, Path, Masks, bool]]:
    by_image: dict[str, list[Path]] = {}
    with (folder / "index.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            by_image.setdefault(row["image"], []).append(folder / "masks" / f"{row['mask']}.png")
    images = {p.stem: p for p in (folder / "images").iterdir()}
    for stem, paths in sorted(by_image.items()):
        masks = []
        for path in paths:
            mask = (np.asarray(Image.open(path).convert("L")) > 127).astype(np.uint8)
            width, height = Image.open(images[stem]).size
            if mask.shape != (height, width):
                mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
            masks.append(mask)
        yield "coco_mval", images[stem], masks, False


def _cutouts(data: Path) -> Iterator[tuple[Path, bool]]:
    for folder, rigid in (("cutouts", False), ("cutouts_stamps", False), ("cutouts_painted", False), ("rigid", True)):
        for path in sorted((data / "matting" / folder).rglob("*")):
            if path.suffix in (".webp", ".png"):
                yield path, rigid


if __name__ == "__main__":
    main()
