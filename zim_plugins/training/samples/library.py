"""Library: every photograph, segment, cut-out and background a run may draw from, decoded once and kept in memory."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Split = Literal["train", "held_out"]

CLICK_BENCHMARK_IDS = frozenset(
    """3096 8023 12003 23080 24077 25098 35008 35010 35058 38082 38092 41033 42049 43070 43074 56028 58060 62096
    65019 65074 65132 66053 69020 69040 78004 85048 86016 90076 97033 101087 106024 108070 109053 123074 124080
    124084 126007 130026 134035 135037 151087 153077 153093 157055 160068 163014 167062 170057 175043 181079
    187029 189011 189080 196015 198023 209070 216053 216066 227092 239007 253027 253036 253055 271008 271031
    271035 285079 286092 291000 296059 300091 304034 310007 326038 372047 376020 376043""".split()
)
"""BSDS500 photographs that the Berkeley and GrabCut click benchmarks score on; never trained on."""
MAX_SIDE_PX = 640
"""Images are kept at most this large."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph with what is known to stand in it."""

    name: str
    rgb: UInt8[np.ndarray, "h w 3"]
    """sRGB."""
    masks: tuple[UInt8[np.ndarray, "h w"], ...] = ()
    """Objects: 0 or 255 as drawn by hand, in between where a label converter made mattes of them."""
    converted: bool = False
    """Whether all its objects are converted mattes."""
    segments: tuple[UInt8[np.ndarray, "h w"], ...] = ()
    """Label maps, one per annotator; every number is a region."""


@dataclass(frozen=True, eq=False)
class Cutout:
    """A foreground with its matte: straight colours and opacity."""

    name: str
    rgba: UInt8[np.ndarray, "h w 4"]
    rigid: bool
    """Whether its edges are crisp by nature."""


@dataclass(frozen=True)
class Library:
    """Material that scenes are made of."""

    photos: list[Photo] = field(default_factory=list)
    cutouts: list[Cutout] = field(default_factory=list)
    backgrounds: list[UInt8[np.ndarray, "_ _ 3"]] = field(default_factory=list)

    def describe(self) -> str:
        """One line for the log and the model card."""
        masks, converted = (sum(len(p.masks) for p in self.photos if p.converted >= low) for low in (False, True))
        maps = sum(len(p.segments) for p in self.photos)
        soft = sum(not c.rigid for c in self.cutouts)
        return (
            f"{len(self.photos)} photographs with {masks} object masks ({converted} of them converted to "
            f"mattes) and {maps} label maps, {soft} soft cut-outs, "
            f"{len(self.cutouts) - soft} rigid cut-outs, {len(self.backgrounds)} further backgrounds"
        )


def held_out(name: str, one_in: int) -> bool:
    """Return whether a file belongs to the part kept for choosing; its name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % one_in == 0


def load_library(root: Path, split: Split, mattes: Path | None = None) -> Library:
    """Read `matting/` and `segmentation/` folders of test data into memory.

    Args:
        root: folder with matting/{cutouts,rigid,backgrounds} and segmentation/{bsds500,objects/coco_mval}.
        split: what to train on, or what is kept apart for choosing a checkpoint.
        mattes: what `zim convert` made of the object masks: `mattes/MASK.png` takes the place of mask MASK.

    Raises:
        FileNotFoundError: nothing usable lies under `root`.
    """
    wanted = split == "held_out"
    converted = {p.stem: p for p in mattes.rglob("*.png")} if mattes else {}
    objects = root / "segmentation/objects/coco_mval"
    photos = [*_objects(objects, wanted, converted), *_bsds(root / "segmentation/bsds500", wanted)]
    cutouts = [
        *_cutouts(sorted((root / "matting/cutouts").glob("*.webp")), wanted, rigid=False),
        *_cutouts(sorted((root / "matting/rigid").glob("*.png")), wanted, rigid=True),
    ]
    backgrounds = [
        _rgb(p)
        for p in sorted((root / "matting/backgrounds").glob("*.jpg"))
        if p.stem.removeprefix("bsds_") not in CLICK_BENCHMARK_IDS
        and held_out(p.stem.removeprefix("bsds_"), 8) == wanted
    ]
    if not photos and not cutouts:
        raise FileNotFoundError(f"no training images under {root}: expected matting/ and segmentation/ folders")
    return Library(photos, cutouts, backgrounds)


def _objects(folder: Path, wanted: bool, mattes: dict[str, Path]) -> Iterable[Photo]:
    by_image: dict[str, list[Path]] = {}
    for path in sorted((folder / "masks").glob("*.png")):
        by_image.setdefault(path.stem.rsplit("_", 1)[1], []).append(path)
    images = {p.stem: p for p in (folder / "images").iterdir()} if (folder / "images").is_dir() else {}
    for stem, masks in by_image.items():
        if stem in images and held_out(stem, 8) == wanted:
            rgb = _rgb(images[stem])
            drawn = tuple(_grey(mattes.get(m.stem, m), rgb.shape[1::-1]) for m in masks)
            yield Photo(stem, rgb, drawn, converted=all(m.stem in mattes for m in masks))


def _bsds(folder: Path, wanted: bool) -> Iterable[Photo]:
    for part in ("train", "val"):
        for path in sorted((folder / part / "images").glob("*.jpg")):
            if path.stem in CLICK_BENCHMARK_IDS or held_out(path.stem, 8) != wanted:
                continue
            maps = sorted((folder / part / "segments").glob(f"{path.stem}_*.png"))
            yield Photo(path.stem, _rgb(path), segments=tuple(np.asarray(Image.open(m)) for m in maps))


def _cutouts(paths: Iterable[Path], wanted: bool, rigid: bool) -> Iterable[Cutout]:
    for path in paths:
        if held_out(path.stem, 8) == wanted:
            image = Image.open(path).convert("RGBA")
            image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.BOX)
            box = image.getchannel("A").point([0] * 3 + [255] * 253).getbbox()
            yield Cutout(path.stem, np.asarray(image.crop(box)), rigid)


def _rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    image = Image.open(path).convert("RGB")
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.BOX)
    return np.asarray(image)


def _grey(path: Path, size: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
    mask = Image.open(path).convert("L")
    return np.asarray(mask if mask.size == size else mask.resize((size[0], size[1]), Image.Resampling.BILINEAR))
