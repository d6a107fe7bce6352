"""SamAutomaticMaskGenerator: segment-anything's masks of everything, over this project's models."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from zim_plugins.core.automatic import EverythingConfig, ObjectMatte, matte_everything, suppress
from zim_plugins.core.outlines import mask_box, mask_to_rle
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.sam_compat.model import SamModel, as_model
from zim_plugins.imaging.ranges import ImageArray, to_uint8

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
EDGE_PX = 20
"""How near to a crop's edge an object counts as cut by it [px], as in SAM."""
SAM_SCORE, SAM_STABILITY = 0.88, 0.95
"""SAM's own thresholds, for models that answer with hard masks."""
Box = tuple[int, int, int, int]
"""X1 Y1 X2 Y2 [px], far edges excluded."""


@dataclass(frozen=True, eq=False)
class _Found:
    """One object, in the pixels of the whole image."""

    matte: ObjectMatte
    mask: Bool[np.ndarray, "h w"]
    crop: Box


class SamAutomaticMaskGenerator:
    """segment-anything's `SamAutomaticMaskGenerator`, arguments and records alike.

    It differs from theirs in this: thresholds that are not given are SAM's for SAM's models, and those of
    `EverythingConfig` for matting models, whose scores are lower; candidates are ranked as the decoder gives them;
    `bbox` is tight by COCO's count, as pycocotools' `toBbox` (SAM's own is a pixel narrower and lower).

    Args:
        model: what `sam_model_registry[...]()` or `load_predictor(...)` returned.
        points_per_side: the grid holds its square of clicks; None: 32 as SAM's, 10 for zim_tiny.
        points_per_batch: clicks decoded at once.
        pred_iou_thresh: least score that the model gives itself.
        stability_score_thresh: least IoU between the masks cut above and below.
        stability_score_offset: how far above and below, in log-odds.
        box_nms_thresh: of two masks whose boxes overlap more than this, the better scored stays.
        crop_n_layers: layers of crops that are looked at besides the image, layer i holding 2 ** (2 i) of them.
        crop_nms_thresh: as `box_nms_thresh`, between crops; smaller crops win.
        crop_overlap_ratio: overlap of the crops of layer 1, as a share of the image's shorter side.
        crop_n_points_downscale_factor: the grid's side is divided by this, once a layer.
        point_grids: grids of XY in [0, 1], one for each layer and the image, instead of `points_per_side`.
        min_mask_region_area: holes and islands of fewer pixels are removed [px].
        output_mode: how `segmentation` is written: `binary_mask`, `uncompressed_rle` or `coco_rle`.
        mattes: add `matte`, the opacity in [0, 1] (h, w), to each record.

    >>> from zim_plugins.core import load_predictor, read_image
    >>> generator = SamAutomaticMaskGenerator(load_predictor("zim_tiny", device="cpu"), points_per_side=3)
    >>> records = generator.generate(read_image("sample:coins").rgb)
    >>> sorted(records[0])[:4]
    ['area', 'bbox', 'crop_box', 'point_coords']
    """

    def __init__(
        self,
        model: SamModel | ImagePredictor,
        points_per_side: int | None = None,
        points_per_batch: int = 64,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: OutputMode = "binary_mask",
        *,
        mattes: bool = False,
    ) -> None:
        self.model = as_model(model)
        if points_per_side is not None and point_grids is not None:
            raise ValueError("give points_per_side or point_grids, one of them")
        if point_grids is not None and len(point_grids) != crop_n_layers + 1:
            raise ValueError(
                f"{len(point_grids)} point_grids do not match the image and {crop_n_layers} layers of crops"
            )
        if output_mode not in OUTPUT_MODES:
            raise ValueError(f"output_mode is {', '.join(OUTPUT_MODES)}, got {output_mode!r}")
        if crop_n_layers < 0 or crop_n_points_downscale_factor < 1 or min_mask_region_area < 0:
            raise ValueError("crop_n_layers and min_mask_region_area are 0 or more, the downscale factor 1 or more")
        hard = self.model.predictor.backend.activation == "step"
        base = EverythingConfig().for_frame(self.model.predictor.frame_px)
        side = base.points_per_side if points_per_side is None else points_per_side
        if side is None or side < 1:
            raise ValueError(f"points_per_side is at least 1, got {points_per_side}")
        self._configs = [
            EverythingConfig(
                points_per_side=max(1, int(side / crop_n_points_downscale_factor**layer)),
                points_per_batch=points_per_batch,
                min_score=SAM_SCORE if hard and pred_iou_thresh is None else pred_iou_thresh,
                min_stability=(SAM_STABILITY if hard else base.min_stability)
                if stability_score_thresh is None
                else stability_score_thresh,
                stability_offset=base.stability_offset
                if not hard and stability_score_thresh is None
                else 1 / (1 + math.exp(-stability_score_offset)) - 0.5,
                max_box_iou=box_nms_thresh,
                points=None if point_grids is None else np.array(point_grids[layer], dtype=np.float64),
            )
            for layer in range(crop_n_layers + 1)
        ]
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.box_nms_thresh = box_nms_thresh
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.mattes = mattes

    @property
    def predictor(self) -> ImagePredictor:
        """The predictor behind this face."""
        return self.model.predictor

    def generate(self, image: ImageArray) -> list[dict[str, Any]]:
        """Find the masks of everything.

        Args:
            image: RGB, uint8, uint16 or floating-point in [0, 1].

        Returns:
            One record for each mask: `segmentation` (h, w) of bool, or run lengths; `area` [px]; `bbox` X Y W H [px];
            `predicted_iou`; `stability_score`; `point_coords`, the click that found it, [[x, y]]; `crop_box` X Y W H.
        """
        rgb = to_uint8(image)
        size = (rgb.shape[0], rgb.shape[1])
        found = [one for one in self._found(rgb) if one.mask.any()]
        if self.crop_n_layers:
            areas = np.array(
                [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one.crop for one in found)], dtype=np.float64
            )
            found = [found[i] for i in suppress(_boxes(found), 1 / areas, max_iou=self.crop_nms_thresh)]
        if self.min_mask_region_area > 0:
            found = self._tidied(found)
        return [self._record(one, size) for one in found]

    def _found(self, rgb: np.ndarray) -> Iterator[_Found]:
        """Objects of the image and of its crops, those that a crop cuts left out."""
        size = (rgb.shape[0], rgb.shape[1])
        for layer, crop in crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio):
            x1, y1, x2, y2 = crop
            for matte in matte_everything(self.predictor, rgb[y1:y2, x1:x2].copy(), self._configs[layer]):
                mask = np.zeros(size, dtype=bool)
                mask[y1:y2, x1:x2] = matte.full() > 0.5
                if not _is_cut(mask_box(mask), crop, size):
                    yield _Found(matte, mask, crop)

    def _tidied(self, found: Sequence[_Found]) -> list[_Found]:
        """Masks without small holes and islands; of those that are alike then, untouched ones win."""
        tidy, scores = [], []
        for one in found:
            mask = without_small_regions(one.mask, self.min_mask_region_area)
            scores.append(1.0 if (mask == one.mask).all() else 0.0)
            tidy.append(_Found(one.matte, mask, one.crop))
        kept = suppress(_boxes(tidy), np.array(scores), max_iou=max(self.box_nms_thresh, self.crop_nms_thresh))
        return [tidy[i] for i in kept]

    def _record(self, one: _Found, size: tuple[int, int]) -> dict[str, Any]:
        x1, y1, x2, y2 = one.crop
        outline: Any = one.mask
        if self.output_mode != "binary_mask":
            outline = mask_to_rle(one.mask, compressed=self.output_mode == "coco_rle")
        record = {
            "segmentation": outline,
            "area": int(one.mask.sum()),
            "bbox": list(mask_box(one.mask)),
            "predicted_iou": float(one.matte.score),
            "point_coords": [[one.matte.point[0] + x1, one.matte.point[1] + y1]],
            "stability_score": float(one.matte.stability),
            "crop_box": [x1, y1, x2 - x1, y2 - y1],
        }
        if self.mattes:
            matte: Float32[np.ndarray, "h w"] = np.zeros(size, dtype=np.float32)
            matte[y1:y2, x1:x2] = one.matte.full()
            record["matte"] = matte
        return record


def crop_boxes(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[int, Box]]:
    """Layer and box of the image (H, W) and of the crops of each layer, as SAM lays them.

    >>> crop_boxes((100, 200), 1, 0.3)[:3]
    [(0, (0, 0, 200, 100)), (1, (0, 0, 115, 65)), (1, (0, 35, 115, 100))]
    """
    height, width = size
    boxes: list[tuple[int, Box]] = [(0, (0, 0, width, height))]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(size) * 2 / count)
        wide, high = (math.ceil((overlap * (count - 1) + side) / count) for side in (width, height))
        for i in range(count):
            for j in range(count):
                x, y = (wide - overlap) * i, (high - overlap) * j
                boxes.append((layer, (x, y, min(x + wide, width), min(y + high, height))))
    return boxes


def without_small_regions(mask: Bool[np.ndarray, "h w"], area_px: float) -> Bool[np.ndarray, "h w"]:
    """The mask, its holes and then its islands of fewer pixels removed; the largest island always stays.

    >>> without_small_regions(np.array([[1, 1, 0, 1]], bool), 2).tolist()
    [[True, True, True, True]]
    """
    from scipy.ndimage import label

    for of_holes in (True, False):
        labelled: Any = label(~mask if of_holes else mask, structure=np.ones((3, 3)))
        regions, count = labelled
        areas = np.bincount(regions.ravel(), minlength=count + 1)
        small = areas < area_px
        small[0] = False
        if not small.any():
            continue
        if of_holes:
            mask = mask | small[regions]
        else:
            if small[1:].all():
                small[int(areas[1:].argmax()) + 1] = False
            mask = mask & ~small[regions]
    return mask


def _is_cut(box: tuple[int, int, int, int], crop: Box, size: tuple[int, int]) -> bool:
    """Return whether a mask's box X Y W H reaches an edge of its crop that is none of the image's."""
    x, y, width, height = box
    edges = np.array([x, y, x + width - 1, y + height - 1])
    whole = np.array([0, 0, size[1], size[0]])
    return bool(((np.abs(edges - crop) <= EDGE_PX) & (np.abs(edges - whole) > EDGE_PX)).any())


def _boxes(found: Sequence[_Found]) -> Float[np.ndarray, "n 4"]:
    """X1 Y1 X2 Y2 of the masks [px]."""
    boxes = np.array([mask_box(one.mask) for one in found], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
