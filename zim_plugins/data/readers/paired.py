"""Folders of images beside folders of mattes: the arrangement of nearly all matting sets, and its one reader."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from zim_plugins.data.faults import DataError, Fault, Report
from zim_plugins.data.rle import Rle
from zim_plugins.data.sample import Sample
from zim_plugins.errors import ImageError
from zim_plugins.imaging.formats import IMAGE_SUFFIXES
from zim_plugins.imaging.image import read_alpha

Match = Literal["same", "numbered", "folder", "shared", "suffixed"]


@dataclass(frozen=True)
class Pairs:
    """One folder of images and the folder of their mattes, both relative to the data set's root."""

    images: str
    """`.` is the root itself."""
    alphas: str | None
    """None for backgrounds. The same folder as `images` where the matte is the images' alpha channel."""
    match: Match = "same"
    """How x.jpg finds its mattes.

    same: x.png. numbered: x_0.png, x_1.png... or x.png. folder: x/00.png, x/01.png... suffixed: NAME_x.png, any number
    of them. shared: of x_0.png, x_1.png... each, x.png (one foreground over many backgrounds).
    """
    subset: str = ""
    foregrounds: str | None = None
    """Folder of foreground colours, named as the mattes are."""
    backgrounds: str | None = None
    """Folder of backgrounds, named as the images are."""
    masks: bool = False
    """Whether the mattes are binary masks: values above 128 of 255 are the object."""


@dataclass(frozen=True)
class PairedLayout:
    """A data set of paired folders."""

    licence: str
    splits: Mapping[str, tuple[tuple[Pairs, ...], ...]]
    """Of each split the arrangements known; the first whose folders are all there is read."""
    folder: str = ""
    """What the archive unpacks to; the root may be this folder or the one above it."""


def read_paired(name: str, layout: PairedLayout, root: Path, split: str, report: Report) -> Iterator[Sample]:
    """Read one split of a data set of paired folders.

    Raises:
        DataError: the folder holds none of the arrangements known, or no pairs.
    """
    arrangements = layout.splits[split]
    for base in dict.fromkeys((root, root / layout.folder)):
        for parts in arrangements:
            folders = [f for part in parts for f in (part.images, part.alphas) if f is not None]
            if all((base / folder).is_dir() for folder in folders):
                empty = True
                for part in parts:
                    for sample in _read_pairs(name, layout, part, base, split, report):
                        empty = False
                        yield sample
                if not empty:
                    return
    expected = ", or ".join(" and ".join(map(_words, parts)) for parts in arrangements)
    raise DataError(f"{root} is not laid out as {name} ({split}) or holds no sample of it: expected {expected}")


def image_files(folder: Path) -> dict[str, Path]:
    """Images of a folder by the stem of their name, in order of name."""
    return {p.stem: p for p in sorted(folder.iterdir()) if is_image(p)}


def is_image(path: Path) -> bool:
    """Return whether a file's name is an image's."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "." and path.is_file()


def _words(part: Pairs) -> str:
    if part.images == ".":
        return "images with an alpha channel"
    return f"{part.images}/" if part.alphas in (None, part.images) else f"{part.images}/ with {part.alphas}/"


def _read_pairs(
    name: str, layout: PairedLayout, part: Pairs, base: Path, split: str, report: Report
) -> Iterator[Sample]:
    images = image_files(base / part.images)
    foregrounds = _optional(base, part.foregrounds)
    backgrounds = _optional(base, part.backgrounds)
    mattes = _mattes(part, base, images, report)
    for stem, image in images.items():
        found = mattes.get(stem, [])
        if part.alphas is not None and not found:
            report(Fault("unpaired", str(image), f"no matte in {part.alphas}/"))
        for alpha in found or ([None] if part.alphas is None else []):
            mask = None
            if alpha is not None and part.masks:
                mask = _read_mask(alpha, report)
                if mask is None:
                    continue
            yield Sample(
                image=image,
                dataset=name,
                split=split,
                alpha=None if part.masks else alpha,
                mask=mask,
                foreground=image if part.images == part.foregrounds else foregrounds.get(alpha.stem if alpha else stem),
                background=backgrounds.get(stem),
                subset=part.subset,
                licence=layout.licence,
                extra={"mask": alpha.name} if alpha is not None and part.masks else {},
            )


def _optional(base: Path, folder: str | None) -> dict[str, Path]:
    return image_files(base / folder) if folder is not None and (base / folder).is_dir() else {}


def _mattes(part: Pairs, base: Path, images: Mapping[str, Path], report: Report) -> dict[str, list[Path]]:
    """Mattes by the stem of their image; those without one are reported."""
    if part.alphas is None:
        return {}
    if part.alphas == part.images:
        return {stem: [path] for stem, path in images.items()}
    folder = base / part.alphas
    mattes: dict[str, list[Path]] = {}
    if part.match == "folder":
        for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
            mattes[inner.name] = list(image_files(inner).values())
    elif part.match == "shared":
        available = image_files(folder)
        for stem in images:
            alpha = available.get(stem) or available.get(stem.rsplit("_", 1)[0])
            if alpha is not None:
                mattes[stem] = [alpha]
        used = {path for paths in mattes.values() for path in paths}
        for alpha in available.values():
            if alpha not in used:
                report(Fault("unpaired", str(alpha), f"no image in {part.images}/"))
    else:
        for stem, alpha in image_files(folder).items():
            mattes.setdefault(_image_stem(stem, part.match, images), []).append(alpha)
    for stem, paths in mattes.items():
        if stem not in images:
            for alpha in paths:
                report(Fault("unpaired", str(alpha), f"no image in {part.images}/"))
    return mattes


def _image_stem(stem: str, match: Match, images: Mapping[str, Path]) -> str:
    if match == "suffixed":
        while stem not in images and "_" in stem:
            stem = stem.split("_", 1)[1]
    elif match == "numbered" and stem not in images:
        front, _, number = stem.rpartition("_")
        return front if number.isdigit() else stem
    return stem


def _read_mask(path: Path, report: Report) -> Rle | None:
    try:
        return Rle.from_mask(np.ascontiguousarray(read_alpha(path) > 128 / 255))
    except ImageError as error:
        report(Fault("unreadable mask", str(path), str(error)))
        return None
