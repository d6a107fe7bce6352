"""Ways out: mattes as COCO annotations, labelme documents, `supervision.Detections`, and lines of JSON.

What these formats hold are masks: a matte is cut at `threshold`, and its softness stays behind. Keep the matte itself
as an image beside them where it matters.

For the command line: `object_record` is one object of a line of `--json` (its `rle` and `polygons` on request);
`coco_annotation` with `coco_dataset` makes the COCO JSON of a folder, `labelme_document` labelme's JSON of one image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from zim_plugins.core.outlines import mask_box, mask_to_polygons, mask_to_rle
from zim_plugins.errors import MissingExtra
from zim_plugins.imaging.ranges import AlphaArray, to_alpha

if TYPE_CHECKING:
    from supervision import Detections

OUTLINE_TOLERANCE_PX = 0.75
"""How far polygons may leave the pixels' borders by default [px]: staircases become lines, corners stay."""


@dataclass(frozen=True)
class CocoImage:
    """One image of a COCO data set, with what was found in it.

    >>> CocoImage("a.jpg", (2, 3)).file_name
    'a.jpg'
    """

    file_name: str
    """Path of the image, as it shall stand in the file."""
    size: tuple[int, int]
    """(H, W) [px]."""
    annotations: Sequence[dict[str, Any]] = field(default=())
    """As `coco_annotation` makes them; their ids are given anew by `coco_dataset`."""


def object_record(
    alpha: AlphaArray, *, score: float | None = None, rle: bool = False, polygons: bool = False, threshold: float = 0.5
) -> dict[str, Any]:
    """Describe one matte as values of JSON: `box` X1 Y1 X2 Y2 [px], `area_px` and, where asked for, its outline.

    Args:
        alpha: opacity, floating-point in [0, 1], uint8, uint16 or bool, at the size of the image.
        score: the model's own estimate; left out where None.
        rle: add `rle`, the mask in COCO's compressed run lengths.
        polygons: add `polygons`, [x1, y1, ...] [px] for each piece.
        threshold: a pixel belongs to the mask where its opacity exceeds it.

    >>> alpha = np.zeros((4, 5), np.float32); alpha[1:3, 1:4] = 0.75
    >>> object_record(alpha, score=0.9, polygons=True)
    {'box': [1, 1, 4, 3], 'area_px': 4.5, 'score': 0.9, 'polygons': [[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]]}
    """
    alpha = to_alpha(alpha)
    mask = _mask(alpha, threshold)
    x, y, width, height = mask_box(mask)
    record: dict[str, Any] = {"box": [x, y, x + width, y + height], "area_px": float(alpha.sum(dtype=np.float64))}
    if score is not None:
        record["score"] = float(score)
    if rle:
        record["rle"] = mask_to_rle(mask)
    if polygons:
        record["polygons"] = mask_to_polygons(mask, tolerance_px=OUTLINE_TOLERANCE_PX)
    return record


def coco_annotation(
    alpha: AlphaArray,
    *,
    score: float | None = None,
    image_id: int = 1,
    annotation_id: int = 1,
    category_id: int = 1,
    polygons: bool = False,
    threshold: float = 0.5,
) -> dict[str, Any]:
    """Describe one matte as a COCO annotation, which is a COCO result too where it has a score.

    Args:
        alpha: opacity, floating-point in [0, 1], uint8, uint16 or bool, at the size of the image.
        score: the model's own estimate; left out where None.
        category_id: of the object's kind.
        polygons: outline the mask by polygons instead of run lengths; an empty mask keeps run lengths.
        threshold: a pixel belongs to the mask where its opacity exceeds it.

    >>> alpha = np.zeros((2, 3), np.float32); alpha[:, 1] = 1
    >>> coco_annotation(alpha)["segmentation"], coco_annotation(alpha)["bbox"]
    ({'size': [2, 3], 'counts': '222'}, [1, 0, 1, 2])
    """
    mask = _mask(alpha, threshold)
    outline = mask_to_polygons(mask, tolerance_px=OUTLINE_TOLERANCE_PX) if polygons else []
    annotation: dict[str, Any] = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": outline or mask_to_rle(mask),
        "area": int(mask.sum()),
        "bbox": list(mask_box(mask)),
        "iscrowd": 0,
    }
    if score is not None:
        annotation["score"] = float(score)
    return annotation


def coco_dataset(images: Iterable[CocoImage], *, categories: Sequence[str] = ("object",)) -> dict[str, Any]:
    """Put the annotations of many images into one COCO data set, ready for `json.dump`.

    Images are numbered from 1 in their order, annotations likewise; categories too.

    Raises:
        ValueError: an annotation names a category that is not there, or is not of its image's size.

    >>> data = coco_dataset([CocoImage("a.jpg", (2, 3), [coco_annotation(np.ones((2, 3), np.float32))])])
    >>> data["images"], len(data["annotations"])
    ([{'id': 1, 'file_name': 'a.jpg', 'width': 3, 'height': 2}], 1)
    """
    rows: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        height, width = image.size
        rows.append({"id": image_id, "file_name": image.file_name, "width": width, "height": height})
        for annotation in image.annotations:
            if not 1 <= annotation["category_id"] <= len(categories):
                raise ValueError(f"category_id is 1 to {len(categories)}, got {annotation['category_id']}")
            outline = annotation["segmentation"]
            if isinstance(outline, dict) and outline["size"] != [height, width]:
                raise ValueError(f"{image.file_name} is {[height, width]}, a mask of it {outline['size']}")
            annotations.append({**annotation, "id": len(annotations) + 1, "image_id": image_id})
    named = [{"id": i, "name": name} for i, name in enumerate(categories, start=1)]
    return {"images": rows, "annotations": annotations, "categories": named}


def labelme_document(
    file_name: str,
    size: tuple[int, int],
    alphas: Iterable[AlphaArray],
    *,
    labels: Sequence[str] | None = None,
    threshold: float = 0.5,
) -> dict[str, Any]:
    """Describe the objects of one image as a labelme document, ready for `json.dump`.

    Each piece of an object is a polygon; the pieces of one object share their `group_id`.

    Args:
        file_name: of the image, relative to where the document will lie.
        size: (H, W) of the image [px].
        alphas: one opacity in [0, 1] for each object, at the size of the image.
        labels: one for each object; None calls them all "object".
        threshold: a pixel belongs to the mask where its opacity exceeds it.

    Raises:
        ValueError: a matte is not of the image's size, or the labels are not as many as the mattes.

    >>> labelme_document("a.jpg", (2, 3), [np.ones((2, 3), np.float32)])["shapes"][0]["label"]
    'object'
    """
    shapes = []
    count = 0
    for group, alpha in enumerate(alphas):
        count += 1
        alpha = to_alpha(alpha)
        if alpha.shape != tuple(size):
            raise ValueError(f"{file_name} is {tuple(size)}, a matte of it {alpha.shape} (height, width)")
        if labels is not None and group >= len(labels):
            continue
        for polygon in mask_to_polygons(_mask(alpha, threshold), tolerance_px=OUTLINE_TOLERANCE_PX):
            shapes.append(
                {
                    "label": "object" if labels is None else labels[group],
                    "points": np.reshape(polygon, (-1, 2)).tolist(),
                    "group_id": group,
                    "description": "",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
            )
    if labels is not None and len(labels) != count:
        raise ValueError(f"{len(labels)} labels do not match {count} mattes")
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": file_name,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }


def to_supervision(alphas: Sequence[AlphaArray], scores: Sequence[float], *, threshold: float = 0.5) -> "Detections":
    """Mattes of one image as `supervision.Detections`: masks, tight boxes X1 Y1 X2 Y2 [px] and confidences.

    Raises:
        ValueError: there are not as many scores as mattes.
        MissingExtra: supervision is not installed.
    """
    if len(alphas) != len(scores):
        raise ValueError(f"{len(alphas)} mattes do not match {len(scores)} scores")
    try:
        from supervision import Detections
    except ImportError as error:
        raise MissingExtra("supervision", "exchange") from error
    if not alphas:
        return Detections.empty()
    masks = np.stack([_mask(alpha, threshold) for alpha in alphas])
    boxes = np.array([mask_box(mask) for mask in masks], dtype=np.float64)
    boxes[:, 2:] += boxes[:, :2]
    return Detections(xyxy=boxes, mask=masks, confidence=np.array(scores, dtype=np.float64))


def _mask(alpha: AlphaArray, threshold: float) -> Bool[np.ndarray, "h w"]:
    """Return where the opacity exceeds the threshold."""
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold lies in [0, 1), got {threshold}")
    return to_alpha(alpha) > threshold
