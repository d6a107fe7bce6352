"""Prompt: what the user points at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from zim_plugins.core.coordinates import ObjectWords, object_from_json, object_from_text
from zim_plugins.imaging.ranges import as_array, one_line, to_alpha

MAX_SCRIBBLE_POINTS = 24
"""Clicks that one scribble is turned into, at most."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """One object, pointed at by clicks, a box, a coarse matte, or several of them, in pixels of the original image.

    A pixel's centre lies at half-integer coordinates: the top-left pixel covers [0, 1) x [0, 1). What is given is
    copied; lists and tensors become arrays, and a coarse matte may be of any type of `zim_plugins.imaging.ranges`.

    >>> Prompt.from_box(10, 20, 30, 40).merged(Prompt.from_point(15, 25)).points.tolist()
    [[15.0, 25.0]]
    """

    points: Float[np.ndarray, "_ 2"] | None = None
    """Click positions, XY [px], origin at the top-left corner."""
    labels: Int[np.ndarray, " _"] | None = None
    """One per click: 1 foreground, 0 background."""
    box: Float[np.ndarray, " 4"] | None = None
    """Corners X1 Y1 X2 Y2 [px], X1 < X2 and Y1 < Y2."""
    alpha: Float32[np.ndarray, "h w"] | None = None
    """A coarse matte in [0, 1] at the size of the original image: an earlier answer, or a mask to refine."""
    is_salient: bool = False
    """Whether nothing is pointed at and the salient object is meant; see `salient`."""

    def __post_init__(self) -> None:
        if self.points is None and self.box is None and self.alpha is None and not self.is_salient:
            raise ValueError("a prompt needs at least one click, a box or a coarse matte")
        if self.is_salient and not (self.points is None and self.box is None and self.alpha is None):
            raise ValueError("the salient object is not pointed at: leave out clicks, box and matte, or is_salient")
        if (self.points is None) != (self.labels is None):
            raise ValueError("points and labels must be given together")
        if self.points is not None and self.labels is not None:
            points = _numbers(self.points, "points")
            if points.size == 0 or points.size % 2 or points.shape[-1] not in (2, points.size):
                raise ValueError(f"points are rows of x,y, got shape {points.shape}")
            points = points.reshape(-1, 2)
            labels = _numbers(self.labels, "labels")
            if labels.shape != (len(points),):
                raise ValueError(f"{len(points)} points do not match {labels.size} labels")
            if not np.isfinite(points).all():
                raise ValueError(f"points must be finite, got {one_line(points.tolist())}")
            object.__setattr__(self, "points", points)
            object.__setattr__(self, "labels", _whole(labels))
        if self.box is not None:
            box = _numbers(self.box, "box").reshape(-1)
            if box.shape != (4,) or not np.isfinite(box).all():
                shown = box.tolist() if box.size <= 4 else f"{box.size} numbers"
                raise ValueError(f"a box is x1,y1,x2,y2, got {shown}")
            x1, y1, x2, y2 = box
            box = np.array([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)])
            if box[2] - box[0] <= 0 or box[3] - box[1] <= 0:
                raise ValueError(f"the box {box.tolist()} has no area")
            object.__setattr__(self, "box", box)
        if self.alpha is not None:
            object.__setattr__(self, "alpha", to_alpha(self.alpha, "coarse matte", copy=True))

    @classmethod
    def salient(cls) -> "Prompt":
        """The object that the image is of, without pointing at it; for models that are trained to find it (zim_tiny).

        >>> Prompt.salient().to_json()
        {'salient': True}
        """
        return cls(is_salient=True)

    @classmethod
    def from_point(cls, x: float, y: float, *, label: int = 1) -> "Prompt":
        """One click at (x, y) [px]."""
        return cls(points=_numbers([[x, y]], "a click's x and y"), labels=_whole(_numbers([label], "a click's label")))

    @classmethod
    def from_points(cls, points: Sequence[Sequence[float]]) -> "Prompt":
        """Clicks (x, y) or (x, y, label) [px]; the label is 1 where it is left out."""
        try:
            rows = [(float(p[0]), float(p[1]), int(p[2]) if len(p) > 2 else 1) for p in points]
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise TypeError(f"points are rows of x,y or x,y,label, got {one_line(points)}: {one_line(error)}") from None
        return cls(points=np.array([r[:2] for r in rows]), labels=np.array([r[2] for r in rows]))

    @classmethod
    def from_box(cls, x1: float, y1: float, x2: float, y2: float) -> "Prompt":
        """A box by two opposite corners [px]."""
        return cls(box=_numbers([x1, y1, x2, y2], "a box's corners"))

    @classmethod
    def from_scribble(
        cls, stroke: Float[np.ndarray, "n 2"], *, label: int = 1, max_points: int = MAX_SCRIBBLE_POINTS
    ) -> "Prompt":
        """A stroke, XY [px] in drawing order, as clicks at even distances along it."""
        stroke = np.asarray(stroke, dtype=np.float64).reshape(-1, 2)
        length = np.r_[0.0, np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))]
        if length[-1] == 0:
            points = stroke[:1]
        else:
            at = np.linspace(0.0, length[-1], max(2, min(max_points, len(stroke))))
            points = np.stack([np.interp(at, length, stroke[:, i]) for i in (0, 1)], axis=1)
        return cls(points=points, labels=np.full(len(points), label))

    @classmethod
    def from_scribble_mask(
        cls, drawn: Bool[np.ndarray, "h w"], *, label: int = 1, max_points: int = MAX_SCRIBBLE_POINTS
    ) -> "Prompt":
        """Painted pixels as clicks spread evenly over the skeleton of the painting."""
        from skimage.morphology import skeletonize

        ys, xs = np.nonzero(skeletonize(drawn))
        if len(xs) == 0:
            raise ValueError("the scribble is empty")
        pixels = np.stack([xs, ys], axis=1) + 0.5
        chosen = [0]
        distance = np.hypot(*(pixels - pixels[0]).T)
        while len(chosen) < max_points and distance.max() > 1.0:
            chosen.append(int(distance.argmax()))
            distance = np.minimum(distance, np.hypot(*(pixels - pixels[chosen[-1]]).T))
        return cls(points=pixels[chosen], labels=np.full(len(chosen), label))

    @classmethod
    def from_text(cls, text: str, *, size: tuple[int, int] | None = None) -> "Prompt":
        """Read one object as commands take it: clicks x,y or x,y,label and at most one box, divided by semicolons.

        >>> Prompt.from_text("40%,50%;10,12,0", size=(100, 200)).points.tolist()
        [[80.0, 50.0], [10.0, 12.0]]

        Args:
            text: in pixels, or in shares of the image as 40%.
            size: of the image (H, W) [px]; needed for shares, and checked where it is given.

        Raises:
            ValueError: it is malformed, names nothing on the image, or is in shares without a size.
        """
        return cls._of_words(object_from_text(text), size)

    @classmethod
    def from_json(cls, row: Any, *, size: tuple[int, int] | None = None) -> "Prompt":
        """Read one object of a JSON file: what `to_json` gives, or a text as `from_text` takes it.

        >>> Prompt.from_json({"points": [[10, 20], [5, 6, 0]], "box": [1, 2, 30, 40]}).to_json()
        {'points': [[10.0, 20.0, 1], [5.0, 6.0, 0]], 'box': [1.0, 2.0, 30.0, 40.0]}

        Args:
            row: {"points": [[x, y], [x, y, label]], "box": [x1, y1, x2, y2]}, either alone too; {"salient": True};
                labels may stand under `labels`; any coordinate may be a share such as "40%".
            size: of the image (H, W) [px]; needed for shares, and checked where it is given.

        Raises:
            ValueError: a key is unknown or malformed, which the message names, or as for `from_text`.
        """
        return cls._of_words(object_from_json(row), size)

    @classmethod
    def _of_words(cls, words: ObjectWords, size: tuple[int, int] | None) -> "Prompt":
        points, labels, box = words.px(size)
        prompt = cls(points=points, labels=labels, box=box, is_salient=words.is_salient)
        if size is not None:
            prompt.check_inside(size)
        return prompt

    @classmethod
    def union(cls, *prompts: "Prompt") -> "Prompt":
        """All prompts as one that names one object, as `merged` joins two.

        >>> Prompt.union(Prompt.from_point(5, 6), Prompt.from_point(7, 8)).labels.tolist()
        [1, 1]

        Raises:
            ValueError: there is none, or two have boxes or mattes.
        """
        if not prompts:
            raise ValueError("a union of no prompts names nothing: give at least one")
        whole = prompts[0]
        for prompt in prompts[1:]:
            whole = whole.merged(prompt)
        return whole

    def merged(self, other: "Prompt") -> "Prompt":
        """Both prompts as one: clicks are joined; a box or a matte may come from one of them only."""
        if self.box is not None and other.box is not None:
            raise ValueError("two boxes name two objects: predict them as two prompts")
        if self.alpha is not None and other.alpha is not None:
            raise ValueError("two coarse mattes cannot be merged")
        points = [p for p in (self.points, other.points) if p is not None]
        labels = [p for p in (self.labels, other.labels) if p is not None]
        return Prompt(
            points=np.concatenate(points) if points else None,
            labels=np.concatenate(labels) if labels else None,
            box=self.box if self.box is not None else other.box,
            alpha=self.alpha if self.alpha is not None else other.alpha,
            is_salient=self.is_salient and other.is_salient,
        )

    def to_json(self) -> dict[str, Any]:
        """Clicks as `points`, [x, y, label] each, and `box` as [x1, y1, x2, y2] [px]; a coarse matte is left out."""
        row: dict[str, Any] = {}
        if self.points is not None and self.labels is not None:
            pairs = zip(self.points.tolist(), self.labels.tolist(), strict=True)
            row["points"] = [[x, y, label] for (x, y), label in pairs]
        if self.box is not None:
            row["box"] = self.box.tolist()
        return {"salient": True} if self.is_salient else row

    def check_inside(self, size: tuple[int, int]) -> None:
        """Raise ValueError where the prompt names nothing on an image of `size` (H, W) [px]."""
        height, width = size
        if self.box is None and self.alpha is None and self.labels is not None and not (self.labels == 1).any():
            raise ValueError("background clicks alone do not name an object: add a foreground click or a box")
        if self.points is not None:
            for x, y in self.points:
                if not (0 <= x <= width and 0 <= y <= height):
                    raise ValueError(f"the click {x:g},{y:g} is outside the image, which is {width}x{height} px")
        if self.box is not None:
            x1, y1, x2, y2 = self.box
            if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
                raise ValueError(
                    f"the box {x1:g},{y1:g},{x2:g},{y2:g} is outside the image, which is {width}x{height} px"
                )
        if self.alpha is not None and self.alpha.shape != size:
            raise ValueError(f"the coarse matte is {self.alpha.shape}, the image {size} (height, width)")


def _numbers(values: Any, name: str) -> Float[np.ndarray, "..."]:
    """A copy of numbers in an array, a tensor or a list, as float64.

    Raises:
        TypeError: they are no numbers.
    """
    if hasattr(values, "detach"):
        values = as_array(values, name)
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"they are {array.dtype.name}")
        return array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        shown = f"{one_line(values)}: {one_line(error)}"
        raise TypeError(f"{name} must be numbers in an array or a list, got {shown}") from None


def _whole(labels: Float[np.ndarray, " _"]) -> Int[np.ndarray, " _"]:
    """Labels as integers.

    Raises:
        ValueError: another label than 0 and 1.
    """
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels are 1 (foreground) or 0 (background), got {one_line(labels.tolist())}")
    return labels.astype(np.int64)
