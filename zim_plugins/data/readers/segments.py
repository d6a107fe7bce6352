"""Segmentation sets that store label maps: ADE20K's SceneParse150 and BSDS500. Every region becomes a mask."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Int
from scipy import ndimage

from zim_plugins.data.faults import DataError, Fault, Report
from zim_plugins.data.readers.paired import image_files
from zim_plugins.data.rle import Rle
from zim_plugins.data.sample import Sample
from zim_plugins.errors import ImageError
from zim_plugins.imaging.image import read_alpha, read_image
from zim_plugins.imaging.ranges import from_unit

ADE20K_SPLITS = {"train": "training", "val": "validation"}
ADE20K_LICENCE = "BSD 3-Clause annotations; images for research"
BSDS500_SPLITS = ("train", "val", "test")
BSDS500_LICENCE = "non-commercial research and education"
MIN_COMPONENT_PX = 64
"""Connected parts of an ADE20K class smaller than this are left out: they are drawing noise."""


def read_ade20k(root: Path, split: str, report: Report) -> Iterator[Sample]:
    """Read SceneParse150: objects of annotations_instance/ where it is there, else connected parts of annotations/.

    `extra` holds the class number (1..150).

    Raises:
        DataError: the folders are not there.
    """
    part = ADE20K_SPLITS[split]
    for base in (root, root / "ADEChallengeData2016"):
        images = base / "images" / part
        for kind in ("annotations_instance", "annotations"):
            if images.is_dir() and (base / kind / part).is_dir():
                maps = image_files(base / kind / part)
                for image, label_map in _paired(image_files(images), maps, report):
                    try:
                        regions = _instances(label_map) if kind == "annotations_instance" else _components(label_map)
                        for mask, extra in regions:
                            yield Sample(image, "ade20k", split, mask=mask, licence=ADE20K_LICENCE, extra=extra)
                    except ImageError as error:
                        report(Fault("unreadable mask", str(label_map), str(error)))
                return
    raise DataError(
        f"{root} is not laid out as ade20k ({split}): "
        f"expected images/{part}/ with annotations_instance/{part}/ or annotations/{part}/"
    )


def read_bsds500(root: Path, split: str, report: Report) -> Iterator[Sample]:
    """Read every annotator's regions; `extra` holds `annotator` and `region`.

    The maps are groundTruth/SPLIT/ID.mat as published, or PNG files SPLIT/segments/ID_ANNOTATOR.png.

    Raises:
        DataError: the folders are not there.
    """
    for base in (root, root / "data", root / "BSDS500" / "data"):
        for images, maps, suffix in (
            (base / "images" / split, base / "groundTruth" / split, ".mat"),
            (base / split / "images", base / split / "segments", ".png"),
        ):
            if images.is_dir() and maps.is_dir():
                yield from _read_bsds(image_files(images), maps, suffix, split, report)
                return
    raise DataError(
        f"{root} is not laid out as bsds500 ({split}): expected images/{split}/ID.jpg with groundTruth/{split}/ID.mat, "
        f"or {split}/images/ID.jpg with {split}/segments/ID_0.png"
    )


def _read_bsds(images: dict[str, Path], maps: Path, suffix: str, split: str, report: Report) -> Iterator[Sample]:
    by_image: dict[str, list[Path]] = {}
    for path in sorted(maps.glob(f"*{suffix}")):
        by_image.setdefault(path.stem if suffix == ".mat" else path.stem.rsplit("_", 1)[0], []).append(path)
    for stem in sorted(by_image.keys() - images.keys()):
        report(Fault("unpaired", str(by_image[stem][0]), "no image of that number"))
    for stem, image in images.items():
        if stem not in by_image:
            report(Fault("unpaired", str(image), f"no label maps in {maps.name}/"))
        for path in by_image.get(stem, []):
            try:
                annotations = _mat_segmentations(path) if suffix == ".mat" else [(_annotator(path), _labels(path))]
            except (ImageError, DataError, OSError) as error:
                report(Fault("unreadable mask", str(path), str(error)))
                continue
            for annotator, labels in annotations:
                for region in np.unique(labels):
                    extra = {"annotator": annotator, "region": int(region)}
                    mask = Rle.from_mask(labels == region)
                    yield Sample(image, "bsds500", split, mask=mask, licence=BSDS500_LICENCE, extra=extra)


def _annotator(path: Path) -> int:
    number = path.stem.rsplit("_", 1)[-1]
    if not number.isdigit():
        raise DataError("expected a name of the form ID_ANNOTATOR.png")
    return int(number)


def _mat_segmentations(path: Path) -> list[tuple[int, Int[np.ndarray, "h w"]]]:
    import zlib

    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        cells = loadmat(path)["groundTruth"].ravel()
        return [(k, np.asarray(cell["Segmentation"].item(), dtype=np.int64)) for k, cell in enumerate(cells)]
    except (
        MatReadError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        NotImplementedError,
        zlib.error,
    ) as error:
        raise DataError(f"not a groundTruth file of BSDS500: {error}") from error


def _labels(path: Path) -> Int[np.ndarray, "h w"]:
    """An 8-bit index image as numbers."""
    return from_unit(read_alpha(path)).astype(np.int64)


def _paired(images: dict[str, Path], maps: dict[str, Path], report: Report) -> Iterator[tuple[Path, Path]]:
    for stem in sorted(images.keys() | maps.keys()):
        if stem in images and stem in maps:
            yield images[stem], maps[stem]
        else:
            report(Fault("unpaired", str(images.get(stem) or maps[stem]), "no image and label map of one name"))


def _instances(path: Path) -> Iterator[tuple[Rle, dict[str, Any]]]:
    """Regions of an instance map: red is the class, green the number of the object, 0 none."""
    rgb = read_image(path).rgb.astype(np.int64)
    codes = rgb[..., 0] * 256 + rgb[..., 1]
    for code in np.unique(codes[(rgb[..., 0] > 0) & (rgb[..., 1] > 0)]):
        yield Rle.from_mask(codes == code), {"class": int(code) // 256, "instance": int(code) % 256}


def _components(path: Path) -> Iterator[tuple[Rle, dict[str, Any]]]:
    """Connected parts of every class of a semantic map; 0 is no class."""
    labels = _labels(path)
    for number in np.unique(labels[labels > 0]):
        parts, _ = cast(tuple[np.ndarray, int], ndimage.label(labels == number))
        for k in np.flatnonzero(np.bincount(parts.ravel()) >= MIN_COMPONENT_PX):
            if k > 0:
                yield Rle.from_mask(parts == k), {"class": int(number), "instance": int(k)}
