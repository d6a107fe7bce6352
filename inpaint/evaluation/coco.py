"""Cases from COCO: objects with their drawn masks and categories, from the instances' JSON or from the click set."""

import re
from functools import partial
from pathlib import Path

import numpy as np

from zim_plugins.core import read_image
from zim_plugins.data.faults import DataError, Fault
from zim_plugins.data.readers.registry import read_dataset
from zim_plugins.data.sample import Sample

from .cases import Case, Listed
from .folders import Tell

SHARES = (0.01, 0.3)
"""Least and largest share of the image that an object covers, to be taken."""
BORDER_PX = 1
"""An object within this of the image's edge is cut off, and not taken."""
_CLICK_SET_MASK = re.compile(r"(?P<category>.+)_\d+_[^_]+")


def list_coco(root: Path, tell: Tell, *, split: str = "val", every: int = 1) -> list[Listed]:
    """List one object of each image: the largest that covers 1 to 30 % of it and is not cut off by its edge.

    Args:
        root: COCO's folder, with `annotations/instances_val2017.json` and `val2017/`; or a click set, with `images/`
            and `masks/CATEGORY_kk_IMAGE.png`, as COCO_MVal is.
        tell: is told of what is unpaired or damaged.
        split: of COCO.
        every: take every Nth image only.

    Raises:
        DataError: the folder is laid out in neither way.
    """

    def report(fault: Fault) -> None:
        tell(fault.kind, fault.where, fault.message)

    name, part = ("objects", "all") if (root / "masks").is_dir() else ("coco", split)
    by_image: dict[Path, list[Sample]] = {}
    for sample in read_dataset(name, root, part, report=report):
        by_image.setdefault(sample.image, []).append(sample)
    listed = []
    for image, samples in list(by_image.items())[::every]:
        chosen = _choose(samples, tell)
        if chosen is not None:
            files = (str(image), *([str(root / "masks" / chosen.extra["mask"])] if "mask" in chosen.extra else []))
            listed.append(Listed(_key(chosen), files, partial(_read, chosen), category=_category(chosen)))
    return listed


def _choose(samples: list[Sample], tell: Tell) -> Sample | None:
    """The largest object of fitting size that is not cut off; None where there is none."""
    best, largest = None, 0
    for sample in samples:
        try:
            mask = sample.read_alpha() > 0.5
        except (DataError, ValueError) as error:
            tell("unreadable mask", _key(sample), str(error))
            continue
        inner = mask[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
        area = int(mask.sum())
        if inner.sum() == area and SHARES[0] <= area / mask.size <= SHARES[1] and area > largest:
            best, largest = sample, area
    return best


def _read(sample: Sample) -> Case:
    image, alpha = read_image(sample.image).rgb, sample.read_alpha()
    if alpha.shape != image.shape[:2]:
        raise ValueError(f"the mask is {alpha.shape}, its image {image.shape[:2]} (height, width)")
    return Case(image, (alpha > 0.5).astype(np.float32))


def _key(sample: Sample) -> str:
    if "mask" in sample.extra:
        return Path(sample.extra["mask"]).stem
    return f"{sample.image.stem}-{sample.extra['annotation']}"


def _category(sample: Sample) -> str:
    if "category" in sample.extra:
        return str(sample.extra["category"])
    found = _CLICK_SET_MASK.fullmatch(_key(sample))
    return found["category"].replace("_", " ") if found else ""
