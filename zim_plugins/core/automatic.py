"""Mattes of everything in an image: a grid of clicks, the good answers kept, one per object.

After SAM's automatic mask generator (Kirillov et al. 2023), without its crops. Candidates are ranked as the decoder
gives them, at its own stride: SAM's generator enlarges every one to the image first, which costs more than the rest.
Memory stays bounded: of a candidate only the box is remembered; opacities at full size exist for the survivors of one
batch at a time, and are kept cropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int

from zim_plugins.core.encoding import EncodingPredictor, Predictor, encoding_predictor
from zim_plugins.core.exchange import coco_annotation
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.transforms import image_to_frame, support_box
from zim_plugins.imaging.geometry import paste
from zim_plugins.imaging.ranges import ImageArray, as_array, to_uint8

_T = TypeVar("_T")

MAX_OPACITIES = 2**26
"""Opacities in memory at once, at most (256 MiB), as long as one click's answers fit."""
CANDIDATES = 4
"""Answers to one click, at most."""
SCORE, SMALL_SCORE = 0.88, 0.5
"""Least scores by default: SAM's, and one for models of frames below 1024 px, which think less of themselves
(chosen by eye with zim_tiny on two photographs)."""
SMALL_SIMILARITY = 0.6
"""Cosine above which neighbouring clicks count as one by default.

On four of the samples 292 to 393 of 1,024 clicks are asked then. It costs recall: `docs/core.md` states how
much."""
FAINT = 1 / 255
"""Opacity that an 8-bit matte still shows; what is fainter is cropped away."""


@dataclass(frozen=True)
class EverythingConfig:
    """Density of the prompts and severity of the choice.

    >>> EverythingConfig(points_per_side=16).points_per_side
    16
    """

    points_per_side: int = 32
    """The grid holds its square of clicks."""
    points: Float[np.ndarray, "_ 2"] | None = field(default=None, compare=False)
    """Clicks instead of the grid, XY as shares of width and height."""
    points_per_batch: int = 32
    """Clicks decoded at once."""
    min_score: float | None = None
    """Least score that the model gives itself (predicted IoU); None: `SCORE`, or `SMALL_SCORE` for small models."""
    min_stability: float = 0.9
    """Least IoU between the mattes cut above and below one half (`stability`)."""
    stability_offset: float = 0.1
    """How far above and below, in opacity; SAM's offset of one logit is 0.2311, the sigmoid of 1 less one half."""
    max_box_iou: float = 0.7
    """Of two objects whose boxes overlap more than this, the better scored stays."""
    min_area: float = 0.0
    """Least area of the matte, as a share of the image."""
    ranking_px: int = 1024
    """Longest side of the reduced image on which candidates are ranked [px], where the predictor has no logits."""
    max_similarity: float | None = None
    """A click of the grid is not asked where a neighbour that is asked looks alike: their features' cosine exceeds
    this. None: `SMALL_SIMILARITY` for models that have such features, as zim_tiny; 1.0 asks every click."""
    multimask: bool = True
    """Consider all candidates of an ambiguous click, where the predictor offers them; they are not zoomed. One
    candidate per click is rendered with the predictor's zoom."""

    def __post_init__(self) -> None:
        for name in ("points_per_side", "points_per_batch", "ranking_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.stability_offset < 0.5:
            raise ValueError(f"stability_offset lies in [0, 0.5), got {self.stability_offset}")
        if self.points is not None:
            points = np.array(as_array(self.points, "points"), dtype=np.float64)
            if points.ndim != 2 or points.shape[1] != 2 or not ((points >= 0) & (points <= 1)).all():
                raise ValueError(f"points are XY in [0, 1], (n, 2), got shape {points.shape}")
            object.__setattr__(self, "points", points)


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


def matte_everything(
    predictor: Predictor, image: ImageArray, config: EverythingConfig | None = None
) -> list[ObjectMatte]:
    """Find the objects of an image.

    Args:
        predictor: afterwards, `image` is set in it.
        image: RGB, uint8, uint16 or floating-point in [0, 1].
        config: the defaults are SAM's, its stability in opacity as in ZIM's release.

    Returns:
        Objects in the order of falling score.

    >>> from zim_plugins.core import load_predictor, read_image
    >>> few = EverythingConfig(points_per_side=4)
    >>> found = matte_everything(load_predictor("zim_tiny", device="cpu"), read_image("sample:coins").rgb, few)
    >>> all(one.score >= 0.5 for one in found)
    True
    """
    image = to_uint8(image)
    config = config or EverythingConfig()
    model = encoding_predictor(predictor)
    if config.min_score is None:
        small = model.frame_px is not None and model.frame_px < 1024
        config = replace(config, min_score=SMALL_SCORE if small else SCORE)
    size = (image.shape[0], image.shape[1])
    if model.frame_px is not None or max(size) <= config.ranking_px:
        model.set_image(image)
        candidates = list(_rank(model, size, config))
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


def _rank(model: EncodingPredictor, size: tuple[int, int], config: EverythingConfig) -> Iterator[_Candidate]:
    """Candidates of all clicks that pass the filters.

    Args:
        model: the image to rank on is set in it.
        size: of that image (H, W) [px].
        config: what passes.
    """
    assert config.min_score is not None
    opacities = np.array([0.5 - config.stability_offset, 0.5, 0.5 + config.stability_offset])
    logits = np.log(opacities / (1 - opacities))
    for batch in _batches(_clicks(model, config), config.points_per_batch, size):
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
        for row, column, stable, box in zip(rows[passed], columns[passed], stabilities[passed], boxes, strict=True):
            x, y = batch[row]
            score = float(answers.scores[row, column])
            yield _Candidate((float(x), float(y)), int(column), score, float(stable), box)


def _clicks(model: EncodingPredictor, config: EverythingConfig) -> list[Float[np.ndarray, " 2"]]:
    """Clicks that are worth asking, as shares of width and height."""
    if config.points is not None:
        return list(config.points)
    grid = point_grid(config.points_per_side)
    limit = SMALL_SIMILARITY if config.max_similarity is None else config.max_similarity
    maps = model.similarity_maps() if limit < 1 else []
    if not maps:
        return list(grid)
    # Features under each click, of unit length, map by map.
    features = []
    for keys in maps:
        cells = np.minimum((grid * keys.shape[:0:-1]).astype(int), np.array(keys.shape[:0:-1]) - 1)
        features.append(keys[:, cells[:, 1], cells[:, 0]].T)
    return list(grid[distinct(features, config.points_per_side, limit)])


def distinct(features: Sequence[Float32[np.ndarray, "n _"]], side: int, max_similarity: float) -> Int[np.ndarray, " k"]:
    """Indices of a grid's points that are asked: every other one has an asked neighbour that looks like it.

    Args:
        features: of unit length, one set of vectors for each map; two points look alike by the least of their cosines.
        side: points along each side of the grid, n = side * side.
        max_similarity: cosine above which two points look alike.

    >>> distinct([np.ones((9, 1), np.float32)], 3, 0.9).tolist()
    [4]
    """
    rows, columns = np.divmod(np.arange(side * side), side)
    # First the middles of blocks of 3 x 3, whose neighbours are the whole block; then all others in reading order.
    first = (rows % 3 == 1) & (columns % 3 == 1)
    asked = np.zeros((side, side), dtype=bool)
    for i in [*np.flatnonzero(first), *np.flatnonzero(~first)]:
        row, column = int(rows[i]), int(columns[i])
        window = slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2)
        near = np.arange(side * side).reshape(side, side)[window][asked[window]]
        alike = np.min([f[near] @ f[i] for f in features], axis=0) if len(near) else np.zeros(0)
        asked[row, column] = not (alike > max_similarity).any()
    return np.flatnonzero(asked.ravel())


def _render(
    model: EncodingPredictor, batch: Sequence[_Candidate], size: tuple[int, int], config: EverythingConfig
) -> Iterator[Float32[np.ndarray, "h w"]]:
    """The candidates' mattes at the size of the image."""
    prompts = [Prompt.from_point(*_point(candidate, size)) for candidate in batch]
    if config.multimask:
        answers = model.predict_coarse(prompts, multimask=True)
        for row, candidate in enumerate(batch):
            yield answers.enlarge(row, candidate.index)
    else:
        for candidate, prediction in zip(batch, model.predict_many(prompts), strict=True):
            yield prediction.alphas[candidate.index]


def _point(candidate: _Candidate, size: tuple[int, int]) -> tuple[float, float]:
    """The candidate's click, XY [px]."""
    return candidate.point[0] * size[1], candidate.point[1] * size[0]


def _batches(items: Sequence[_T], length: int, size: tuple[int, int]) -> Iterator[Sequence[_T]]:
    """Pieces of at most `length`, shorter where mattes of `size` (H, W) would not fit into the memory allowed."""
    length = max(1, min(length, MAX_OPACITIES // (CANDIDATES * size[0] * size[1])))
    for start in range(0, len(items), length):
        yield items[start : start + length]
