"""Mattes of everything in an image: a grid of clicks, the good answers kept, one per object.

After SAM's automatic mask generator (Kirillov et al. 2023), without its crops. Candidates are ranked as the decoder
gives them, at its own stride: SAM's generator enlarges every one to the image first, which costs more than the rest.
Memory stays bounded: candidates are remembered with their maps as long as these are few, else by their boxes alone and
asked again; opacities at full size exist for the survivors of one batch at a time, and are kept cropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int

from zim_plugins.core.encoding import CoarseAnswers, EncodingPredictor, Predictor, encoding_predictor
from zim_plugins.core.exchange import coco_annotation
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.transforms import image_to_frame, support_box
from zim_plugins.imaging.geometry import paste
from zim_plugins.imaging.ranges import ImageArray, as_array, to_uint8

_T = TypeVar("_T")

MAX_OPACITIES = 2**26
"""Opacities in memory at once, at most (256 MiB), as long as one click's answers fit."""
MAX_KEPT = 2**26
"""Values of the ranking's maps that are remembered (256 MiB); clicks beyond are asked again if they are chosen."""
CANDIDATES = 4
"""Answers to one click, at most."""
SIDE, SCORE, STABILITY = 32, 0.88, 0.9
"""Clicks along each side of the grid, least score and least stability by default: SAM's."""
SMALL_SIDE, SMALL_SCORE, SMALL_STABILITY = 10, 0.4, 0.8
"""For models of frames below 1024 px, which think less of themselves and find little more with more clicks: chosen with
zim_tiny on seven photographs of BSDS500, `docs/core.md` states its recall on others."""
LARGE_FRAME_PX = 1024
"""Side of SAM's frame, from which on its defaults hold [px]."""
FAINT = 1 / 255
"""Opacity that an 8-bit matte still shows; what is fainter is cropped away."""


@dataclass(frozen=True)
class EverythingConfig:
    """Density of the prompts and severity of the choice.

    >>> EverythingConfig(points_per_side=16).points_per_side
    16
    """

    points_per_side: int | None = None
    """The grid holds its square of clicks; None: `SIDE`, or `SMALL_SIDE` for small models."""
    points: Float[np.ndarray, "_ 2"] | None = field(default=None, compare=False)
    """Clicks instead of the grid, XY as shares of width and height."""
    points_per_batch: int = 32
    """Clicks decoded at once."""
    min_score: float | None = None
    """Least score that the model gives itself (predicted IoU); None: `SCORE`, or `SMALL_SCORE` for small models."""
    min_stability: float | None = None
    """Least IoU between the mattes cut above and below one half (`stability`); None: `STABILITY`, or `SMALL_STABILITY`
    for small models."""
    stability_offset: float = 0.1
    """How far above and below, in opacity; SAM's offset of one logit is 0.2311, the sigmoid of 1 less one half."""
    max_box_iou: float = 0.7
    """Of two objects whose boxes overlap more than this, the better scored stays."""
    min_area: float = 0.0
    """Least area of the matte, as a share of the image."""
    ranking_px: int = 1024
    """Longest side of the reduced image on which candidates are ranked [px], where the predictor has no logits."""
    multimask: bool = True
    """Consider all candidates of an ambiguous click, where the predictor offers them; they are not zoomed. One
    candidate per click is rendered with the predictor's zoom."""

    def __post_init__(self) -> None:
        for name in ("points_per_side", "points_per_batch", "ranking_px"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.stability_offset < 0.5:
            raise ValueError(f"stability_offset lies in [0, 0.5), got {self.stability_offset}")
        if self.points is not None:
            points = np.array(as_array(self.points, "points"), dtype=np.float64)
            if points.ndim != 2 or points.shape[1] != 2 or not ((points >= 0) & (points <= 1)).all():
                raise ValueError(f"points are XY in [0, 1], (n, 2), got shape {points.shape}")
            object.__setattr__(self, "points", points)

    def for_frame(self, frame_px: int | None) -> "EverythingConfig":
        """Return the same with defaults filled in for a model whose frame has this side [px]; None is a large one.

        >>> EverythingConfig().for_frame(1024).points_per_side, EverythingConfig(min_score=0.7).for_frame(384).min_score
        (32, 0.7)
        """
        small = frame_px is not None and frame_px < LARGE_FRAME_PX
        side, score, stable = (SMALL_SIDE, SMALL_SCORE, SMALL_STABILITY) if small else (SIDE, SCORE, STABILITY)
        return replace(
            self,
            points_per_side=side if self.points_per_side is None else self.points_per_side,
            min_score=score if self.min_score is None else self.min_score,
            min_stability=stable if self.min_stability is None else self.min_stability,
        )


@dataclass(frozen=True, eq=False)
class ObjectMatte:
    """One object of an image.

    >>> ObjectMatte(np.ones((1, 2), np.float32), (1, 0, 3, 1), (2, 4), 0.9, 1.0, (1.5, 0.5)).full().tolist()
    [[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    alpha: Float32[np.ndarray, "h w"]
    """Opacity in [0, 1] within `box`; 0 outside of it."""
    box: tuple[int, int, int, int]
    """X1 Y1 X2 Y2 [px] of the crop, the far edges excluded."""
    size: tuple[int, int]
    """(H, W) of the image [px]."""
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
        """The matte at the size of the image."""
        return paste(self.alpha, self.box, self.size)

    def to_coco(
        self, *, image_id: int = 1, annotation_id: int = 1, category_id: int = 1, polygons: bool = False
    ) -> dict[str, Any]:
        """Describe the object as a COCO annotation and result; see `zim_plugins.core.coco_annotation`."""
        return coco_annotation(
            self.full(),
            score=self.score,
            image_id=image_id,
            annotation_id=annotation_id,
            category_id=category_id,
            polygons=polygons,
        )


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Answer that is remembered between ranking and rendering."""

    point: tuple[float, float]
    """As a share of width and height."""
    index: int
    """Among the candidates of its click."""
    score: float
    stability: float
    box: Float[np.ndarray, " 4"]
    """As shares of width and height."""
    answers: CoarseAnswers | None
    """What it is a candidate of, with its row there, where that is kept."""
    row: int


def matte_everything(
    predictor: Predictor, image: ImageArray, config: EverythingConfig | None = None
) -> list[ObjectMatte]:
    """Find the objects of an image.

    Args:
        predictor: afterwards, `image` is set in it.
        image: RGB, uint8, uint16 or floating-point in [0, 1].
        config: its defaults are SAM's, stability in opacity as in ZIM's release; milder ones with fewer clicks for
            small models.

    Returns:
        Objects in the order of falling score.

    >>> from zim_plugins.core import load_predictor, read_image
    >>> few = EverythingConfig(points_per_side=4)
    >>> found = matte_everything(load_predictor("zim_tiny", device="cpu"), read_image("sample:coins").rgb, few)
    >>> all(one.score >= SMALL_SCORE for one in found)
    True
    """
    image = to_uint8(image)
    model = encoding_predictor(predictor)
    config = (config or EverythingConfig()).for_frame(model.frame_px)
    size = (image.shape[0], image.shape[1])
    if model.frame_px is not None or max(size) <= config.ranking_px:
        model.set_image(image)
        # What is kept of the ranking need not be asked again.
        candidates = list(_rank(model, size, config, MAX_KEPT if config.multimask else 0))
    else:  # nothing is known of how the model reduces images: rank on a reduced one
        reduced = image_to_frame(image, config.ranking_px)
        model.set_image(reduced)
        candidates = list(_rank(model, (reduced.shape[0], reduced.shape[1]), config))
        model.set_image(image)
    boxes = np.array([c.box for c in candidates]).reshape(-1, 4)
    kept = suppress(boxes, np.array([c.score for c in candidates]), max_iou=config.max_box_iou)
    objects: list[ObjectMatte] = []
    for batch in _batches([candidates[i] for i in kept], config.points_per_batch, size):
        for candidate, alpha in zip(batch, _render(model, batch, size, config), strict=True):
            extent = support_box(alpha, FAINT)
            if extent is None:
                continue
            x1, y1, x2, y2 = extent.astype(int).tolist()
            objects.append(
                ObjectMatte(
                    alpha=alpha[y1:y2, x1:x2].copy(),
                    box=(x1, y1, x2, y2),
                    size=size,
                    score=candidate.score,
                    stability=candidate.stability,
                    point=_point(candidate, size),
                )
            )
    return objects


def point_grid(points_per_side: int) -> Float[np.ndarray, "n 2"]:
    """Centres of n x n equal cells, XY as shares of width and height, row by row."""
    centres = (np.arange(points_per_side) + 0.5) / points_per_side
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


def stability(maps: Float32[np.ndarray, "c h w"], *, low: float, high: float) -> Float[np.ndarray, " c"]:
    """IoU between each map cut at two levels: 1 for a hard edge, less for an unsure matte, 0 for an empty one.

    SAM's stability score, of opacities or of logits.
    """
    inner = (maps > high).sum((1, 2), dtype=np.float64)
    outer = (maps > low).sum((1, 2), dtype=np.float64)
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


def level_boxes(maps: Float32[np.ndarray, "c h w"], level: float) -> Float[np.ndarray, "c 4"]:
    """X1 Y1 X2 Y2 round what lies above a level, as shares of width and height; NaN where nothing does.

    Between the outermost cell above and its neighbour below, the edge is where their largest values, joined by a
    line, cross the level: what enlarging the map would show.
    """
    edges = [_crossings(maps.max(axis), level) for axis in (1, 2)]
    (x1, x2), (y1, y2) = edges
    return np.stack([x1, y1, x2, y2], axis=1)


def _crossings(
    profiles: Float32[np.ndarray, "c n"], level: float
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """First and last crossing of a level, as shares of the profile's length; NaN where there is none."""
    length = profiles.shape[1]
    above = profiles > level
    rows = np.arange(len(profiles))
    firsts = []
    for values, high in ((profiles, above), (profiles[:, ::-1], above[:, ::-1])):
        at = high.argmax(1)
        inner, outer = values[rows, at].astype(np.float64), values[rows, np.maximum(at - 1, 0)].astype(np.float64)
        back = np.divide(inner - level, inner - outer, out=np.full(len(at), 0.5), where=inner > outer)
        firsts.append(np.where(above.any(1), np.where(at == 0, 0.0, (at + 0.5 - back) / length), np.nan))
    return firsts[0], 1 - firsts[1]


def _rank(
    model: EncodingPredictor, size: tuple[int, int], config: EverythingConfig, max_kept: int = 0
) -> Iterator[_Candidate]:
    """Candidates of all clicks that pass the filters.

    Args:
        model: the image to rank on is set in it.
        size: of that image (H, W) [px].
        config: what passes.
        max_kept: values of their maps that may be kept in all.
    """
    kept = 0
    assert config.points_per_side is not None and config.min_score is not None and config.min_stability is not None
    opacities = np.array([0.5 - config.stability_offset, 0.5, 0.5 + config.stability_offset])
    logits = np.log(opacities / (1 - opacities))
    clicks = point_grid(config.points_per_side) if config.points is None else config.points
    for batch in _batches(list(clicks), config.points_per_batch, size):
        prompts = [Prompt.from_point(x * size[1], y * size[0]) for x, y in batch]
        answers = model.predict_coarse(prompts, multimask=config.multimask)
        low, middle, high = (logits if answers.are_logits else opacities).tolist()
        # Filter by predicted IoU, stability and area.
        rows, columns = np.nonzero(answers.scores >= config.min_score)
        maps = answers.maps[rows, columns]
        shares = (maps > middle).mean((1, 2))
        stabilities = stability(maps, low=low, high=high)
        passed = (stabilities >= config.min_stability) & (shares >= config.min_area) & (shares > 0)
        boxes = level_boxes(maps[passed], middle)
        kept += answers.maps.size * bool(passed.any())
        remembered = answers if kept <= max_kept else None
        for row, column, stable, box in zip(rows[passed], columns[passed], stabilities[passed], boxes, strict=True):
            x, y = batch[row]
            score = float(answers.scores[row, column])
            yield _Candidate((float(x), float(y)), int(column), score, float(stable), box, remembered, int(row))


def _render(
    model: EncodingPredictor, batch: Sequence[_Candidate], size: tuple[int, int], config: EverythingConfig
) -> Iterator[Float32[np.ndarray, "h w"]]:
    """The candidates' mattes at the size of the image."""

    def prompts(of: Sequence[_Candidate]) -> list[Prompt]:
        return [Prompt.from_point(*_point(one, size)) for one in of]

    if not config.multimask:
        for candidate, prediction in zip(batch, model.predict_many(prompts(batch)), strict=True):
            yield prediction.alphas[candidate.index]
        return
    unknown = [candidate for candidate in batch if candidate.answers is None]
    again = model.predict_coarse(prompts(unknown), multimask=True) if unknown else None
    rows = iter(range(len(unknown)))
    for candidate in batch:
        if candidate.answers is not None:
            yield candidate.answers.enlarge(candidate.row, candidate.index)
        elif again is not None:
            yield again.enlarge(next(rows), candidate.index)


def _point(candidate: _Candidate, size: tuple[int, int]) -> tuple[float, float]:
    """The candidate's click, XY [px]."""
    return candidate.point[0] * size[1], candidate.point[1] * size[0]


def _batches(items: Sequence[_T], length: int, size: tuple[int, int]) -> Iterator[Sequence[_T]]:
    """Pieces of at most `length`, shorter where mattes of `size` (H, W) would not fit into the memory allowed."""
    length = max(1, min(length, MAX_OPACITIES // (CANDIDATES * size[0] * size[1])))
    for start in range(0, len(items), length):
        yield items[start : start + length]
