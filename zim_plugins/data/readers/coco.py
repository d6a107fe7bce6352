"""COCO 2017 and what shares its images and its JSON: LVIS v1 and PACO-LVIS v1."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zim_plugins.data.faults import DataError, Fault, Report
from zim_plugins.data.rle import Rle, rle_of_polygons
from zim_plugins.data.sample import Sample

SPLITS = ("train", "val")


@dataclass(frozen=True)
class CocoLayout:
    """One annotation file over COCO's images."""

    annotations: str
    """File name; {split} is train or val. It lies in the root or in annotations/."""
    licence: str


COCO_LAYOUTS = {
    "coco": CocoLayout("instances_{split}2017.json", "CC BY 4.0 annotations; images under Flickr terms"),
    "lvis": CocoLayout("lvis_v1_{split}.json", "CC BY 4.0 annotations; images under Flickr terms"),
    "paco": CocoLayout("paco_lvis_v1_{split}.json", "MIT annotations; images under Flickr terms"),
}


def read_coco(name: str, root: Path, split: str, report: Report) -> Iterator[Sample]:
    """Read objects, of PACO also parts (`subset` part); crowds are left out. `extra` holds category and annotation id.

    Raises:
        DataError: the annotation file is not there or is no COCO JSON.
        MissingExtra: there are polygons, and pycocotools is not installed.
    """
    layout = COCO_LAYOUTS[name]
    file_name = layout.annotations.format(split=split)
    path = next((p for p in (root / "annotations" / file_name, root / file_name) if p.is_file()), None)
    if path is None:
        raise DataError(
            f"{root} is not laid out as {name} ({split}): expected annotations/{file_name} or {file_name}, "
            f"beside {split}2017/*.jpg or images/{split}2017/*.jpg"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {row["id"]: row for row in content["images"]}
        categories = {row["id"]: row for row in content["categories"]}
        annotations = sorted(content["annotations"], key=lambda row: (row["image_id"], row["id"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a COCO file of images, annotations and categories: {error!r}") from error
    found: dict[Any, Path | None] = {}
    for row in annotations:
        if row.get("iscrowd"):
            continue
        where = f"{path}#{row['id']}"
        image = images.get(row["image_id"])
        if image is None:
            report(Fault("unpaired", where, f"its image {row['image_id']} is not listed"))
            continue
        if row["image_id"] not in found:
            found[row["image_id"]] = _find_image(root, image, split)
            if found[row["image_id"]] is None:
                report(Fault("unpaired", where, f"image {_name(image, split)} is not under {root}"))
        path = found[row["image_id"]]
        if path is None:
            continue
        try:
            mask = _mask(row.get("segmentation"), image)
        except (DataError, KeyError, TypeError) as error:
            report(Fault("broken RLE", where, str(error)))
            continue
        category = categories.get(row.get("category_id"), {})
        extra = {"annotation": row["id"], "category": category.get("name", "")}
        subset = "part" if category.get("supercategory") == "PART" else "object"
        yield Sample(path, name, split, mask=mask, subset=subset, licence=layout.licence, extra=extra)


def _mask(segmentation: Any, image: dict[str, Any]) -> Rle:
    size = (int(image["height"]), int(image["width"]))
    if isinstance(segmentation, list):
        return rle_of_polygons(segmentation, size)
    mask = Rle.from_json(segmentation)
    if mask.size != size:
        raise DataError(f"the mask has {list(mask.size)} pixels, the image {list(size)}")
    mask.runs  # noqa: B018  raises where the text is damaged
    return mask


def _name(image: dict[str, Any], split: str) -> str:
    """Return an image's path in COCO's own folders: train2017/000000000009.jpg."""
    name = image.get("file_name") or "/".join(str(image.get("coco_url", "")).split("/")[-2:])
    return name if "/" in name else f"{split}2017/{name}"


def _find_image(root: Path, image: dict[str, Any], split: str) -> Path | None:
    name = _name(image, split)
    places = (
        root / name,
        root / "images" / name,
        root / name.rsplit("/", 1)[-1],
        root / "images" / name.rsplit("/", 1)[-1],
    )
    return next((p for p in places if p.is_file()), None)
