"""Mattes of everything in a picture: a grid of clicks, the good answers kept, one per object.

After SAM's automatic mask generator (Kirillov et al. 2023), without its crops. Memory stays bounded: candidates are
ranked on a reduced picture and only their boxes are remembered; opacities at full size exist for the survivors of one
batch at a time, and are kept cropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from zim_plugins.core.prediction import Prediction
from zim_plugins.core.predictor import ImagePredictor, Predictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.transforms import image_to_frame, support_box

_T = TypeVar("_T")

MAX_OPACITIES = 2**26
"""Opacities in memory at once, at most (256 MiB), as long as one click's answers fit."""
CANDIDATES = 4
"""Answers to one click, at most."""
FAINT = 1 / 255
"""Opacity that an 8-bit matte still shows; what is fainter is cropped away."""


@dataclass(frozen=True)
class EverythingConfig:
    """How densely to ask and how severely to choose."""

    points_per_side: int = 32
    """The grid holds its square of clicks."""
    points_per_batch: int = 32
    """Clicks decoded at once."""
    min_score: float = 0.88
    """Least score that the model gives itself (predicted IoU)."""
    min_stability: float = 0.9
    """Least IoU between the mattes cut above and below one half (`stability`)."""
    stability_offset: float = 0.1
    """How far above and below, in opacity."""
    max_box_iou: float = 0.7
    """Of two objects whose boxes overlap more than this, the better scored stays."""
    min_area: float = 0.0
    """Least area of the matte, as a share of the picture."""
    ranking_px: int = 1024
    """Longest side of the reduced picture on which candidates are ranked [px]."""
    multimask: bool = True
    """Consider all candidates of an ambiguous click, where the predictor offers them; they are not zoomed. One
    candidate per click is rendered with the predictor's zoom."""

    def __post_init__(self) -> None:
        for name in ("points_per_side", "points_per_batch", "ranking_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.stability_offset < 0.5:
            raise ValueError(f"stability_offset lies in [0, 0.5), got {self.stability_offset}")


@dataclass(frozen=True, eq=False)
class ObjectMatte:
    """One object of a picture."""

    alpha: Float32[np.ndarray, "h w"]
    """Opacity in [0, 1] within `box`; 0 outside of it."""
    box: tuple[int, int, int, int]
    """X1 Y1 X2 Y2 [px] of the crop, the far edges excluded."""
    size: tuple[int, int]
    """(H, W) of the picture [px]."""
    score: float
    """The model's own estimate of its quality; higher is better."""
    stability: float
    """In [0, 1]; see `stability`."""
    point: tuple[float, float]
    """The click that found it, XY [px]."""

    @property
    def area_px(self) -> float:
        """Sum of the opacities."""
        return float(self.alpha.sum())

    def full(self) -> Float32[np.ndarray, "H W"]:
        """The matte at the size of the picture."""
        alpha = np.zeros(self.size, dtype=np.float32)
        x1, y1, x2, y2 = self.box
        alpha[y1:y2, x1:x2] = self.alpha
        return alpha


@dataclass(frozen=True, eq=False)
class _Candidate:
    """What is remembered of an answer between ranking and rendering."""

    point: tuple[float, float]
    """As a share of width and height."""
    index: int
    """Among the candidates of its click."""
    score: float
    stability: float
    box: Float[np.ndarray, " 4"]


def matte_everything(
    predictor: Predictor, image: UInt8[np.ndarray, "h w 3"], config: EverythingConfig | None = None
) -> list[ObjectMatte]:
    """Find the objects of a picture.

    Args:
        predictor: afterwards, `image` is set in it.
        image: RGB in [0, 255].
        config: the defaults are SAM's, its stability in opacity as in ZIM's release.

    Returns:
        Objects in the order of falling score.
    """
    config = config or EverythingConfig()
    size = (image.shape[0], image.shape[1])
    reduced = image if max(size) <= config.ranking_px else image_to_frame(image, config.ranking_px)
    predictor.set_image(reduced)
    candidates = list(_rank(predictor, (reduced.shape[0], reduced.shape[1]), config))
    boxes = np.array([c.box for c in candidates]).reshape(-1, 4)
    kept = suppress(boxes, np.array([c.score for c in candidates]), max_iou=config.max_box_iou)
    survivors = [candidates[i] for i in kept]
    if reduced.shape != image.shape:
        predictor.set_image(image)
    objects: list[ObjectMatte] = []
    for batch in _batches(survivors, config.points_per_batch, size):
        prompts = [Prompt.from_point(c.point[0] * size[1], c.point[1] * size[0]) for c in batch]
        for candidate, prompt, prediction in zip(batch, prompts, _ask(predictor, prompts, config), strict=True):
            alpha = prediction.alphas[candidate.index]
            extent = support_box(alpha, FAINT)
            if extent is None or prompt.points is None:
                continue
            x1, y1, x2, y2 = extent.astype(int).tolist()
            objects.append(
                ObjectMatte(
                    alpha=alpha[y1:y2, x1:x2].copy(),
                    box=(x1, y1, x2, y2),
                    size=size,
                    score=candidate.score,
                    stability=candidate.stability,
                    point=(float(prompt.points[0, 0]), float(prompt.points[0, 1])),
                )
            )
    return objects


def point_grid(points_per_side: int) -> Float[np.ndarray, "n 2"]:
    """Centres of n x n equal cells, XY as shares of width and height, row by row."""
    centres = (np.arange(points_per_side) + 0.5) / points_per_side
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


def stability(alphas: Float32[np.ndarray, "c h w"], *, offset: float) -> Float[np.ndarray, " c"]:
    """IoU between each matte cut at one half plus and minus `offset`: 1 for a hard edge, less for an unsure matte.

    SAM's stability score with opacities in the place of logits, as in ZIM's release; 0 for an empty matte.
    """
    inner = (alphas > 0.5 + offset).sum((1, 2), dtype=np.float64)
    outer = (alphas > 0.5 - offset).sum((1, 2), dtype=np.float64)
    return np.divide(inner, outer, out=np.zeros_like(inner), where=outer > 0)


def suppress(
    boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"], *, max_iou: float
) -> Int[np.ndarray, " k"]:
    """Greedy non-maximum suppression: indices of the boxes kept, best first.

    Args:
        boxes: X1 Y1 X2 Y2.
        scores: higher is better; of equals the earlier wins.
        max_iou: two boxes that overlap more are one object.
    """
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        order = order[shared <= max_iou * (areas[best] + areas[order] - shared)]
    return np.array(kept, dtype=np.int64)


def _rank(predictor: Predictor, size: tuple[int, int], config: EverythingConfig) -> Iterator[_Candidate]:
    """Candidates of all clicks that pass the filters, on the picture that is set, of `size` (H, W) [px]."""
    height, width = size
    least_px = max(1.0, config.min_area * height * width)
    for batch in _batches(list(point_grid(config.points_per_side)), config.points_per_batch, size):
        prompts = [Prompt.from_point(x * width, y * height) for x, y in batch]
        for (x, y), prediction in zip(batch, _ask(predictor, prompts, config), strict=True):
            stabilities = stability(prediction.alphas, offset=config.stability_offset)
            for index, (alpha, score) in enumerate(zip(prediction.alphas, prediction.scores, strict=True)):
                box = support_box(alpha, 0.5)
                if (
                    box is not None
                    and score >= config.min_score
                    and stabilities[index] >= config.min_stability
                    and (alpha > 0.5).sum() >= least_px
                ):
                    yield _Candidate((float(x), float(y)), index, float(score), float(stabilities[index]), box)


def _ask(predictor: Predictor, prompts: Sequence[Prompt], config: EverythingConfig) -> list[Prediction]:
    if isinstance(predictor, ImagePredictor):
        return predictor.predict_many(prompts, multimask=config.multimask)
    return predictor.predict_many(prompts)


def _batches(items: Sequence[_T], length: int, size: tuple[int, int]) -> Iterator[Sequence[_T]]:
    """Pieces of at most `length`, shorter where mattes of `size` (H, W) would not fit into the memory allowed."""
    length = max(1, min(length, MAX_OPACITIES // (CANDIDATES * size[0] * size[1])))
    for start in range(0, len(items), length):
        yield items[start : start + length]
