"""The user's prompt in one named view: clicks, a box, scribbles, or a matte."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.core import Prompt, read_alpha

SCRIBBLE_DRAWN = 0.5
"""Value of a scribble picture above which a pixel was painted."""
_JSON_KEYS = frozenset({"view", "points", "prompt_points", "labels", "box"})


@dataclass(frozen=True, eq=False)
class ReferencePrompt:
    """One object in one view, as the user gave it; `prompt` or `alpha` checks it against the picture."""

    view: str | None = None
    """File name of the picture, or its stem; None is the first view."""
    points: tuple[tuple[float, float, int], ...] = ()
    """Clicks x, y, label (1 object, 0 background), in pixels of the view or, where no coordinate exceeds 1, in shares
    of its width and height."""
    box: tuple[float, float, float, float] | None = None
    """Corners x1, y1, x2, y2, in the same unit."""
    scribbles: tuple[tuple[Float32[np.ndarray, "h w"], int], ...] = ()
    """Pictures of the view's size with strokes above `SCRIBBLE_DRAWN`, and the label of each."""
    matte: Float32[np.ndarray, "h w"] | None = None
    """The object's matte in [0, 1], taken as it is; at the view's size."""

    def __post_init__(self) -> None:
        clicks_or_box = bool(self.points or self.scribbles or self.box is not None)
        if not clicks_or_box and self.matte is None:
            raise ValueError('no prompt: give clicks "x,y;x,y", a box "x1,y1,x2,y2", scribbles, a mask or a file')
        if clicks_or_box and self.matte is not None:
            raise ValueError("a mask is taken as it is: give it alone, or clicks, box and scribbles without it")
        if self.matte is not None and self.matte.max() <= 0.5:
            raise ValueError(f"the reference matte is empty: its highest opacity is {self.matte.max():.2f}")

    def index(self, names: Sequence[str]) -> int:
        """Place of the view among the names of all views.

        Raises:
            ValueError: no view has that name; the message lists near ones.
        """
        if self.view is None:
            return 0
        for candidates in (list(names), [Path(n).name for n in names], [Path(n).stem for n in names]):
            if candidates.count(self.view) == 1:
                return candidates.index(self.view)
        near = difflib.get_close_matches(self.view, names, n=5, cutoff=0.3) or list(names[:5])
        raise ValueError(f"no view is called {self.view!r}; of {len(names)} views, near are: {', '.join(near)}")

    def check(self, size: tuple[int, int]) -> None:
        """Raise ValueError where the prompt does not fit a view of `size` (H, W) [px]."""
        if self.matte is None:
            self.prompt(size)
        elif self.matte.shape != size:
            raise ValueError(f"the mask is {self.matte.shape}, the reference view {size} (height, width)")

    def prompt(self, size: tuple[int, int]) -> Prompt:
        """Clicks, box and scribbles as one prompt in pixels of a view of `size` (H, W).

        Raises:
            ValueError: a click is outside the view, a scribble is empty or of another size, or there is only a matte.
        """
        unit = self._unit_px(size)
        prompts = []
        if self.points:
            prompts.append(Prompt.from_points([(x * unit[0], y * unit[1], label) for x, y, label in self.points]))
        for drawn, label in self.scribbles:
            if drawn.shape != size:
                raise ValueError(f"the scribble is {drawn.shape}, the reference view {size} (height, width)")
            prompts.append(Prompt.from_scribble_mask(drawn > SCRIBBLE_DRAWN, label=label))
        if self.box is not None:
            prompts.append(Prompt(box=np.array(self.box) * np.tile(unit, 2)))
        if not prompts:
            raise ValueError("the reference is a matte, not a prompt")
        whole = prompts[0]
        for prompt in prompts[1:]:
            whole = whole.merged(prompt)
        whole.check_inside(size)
        return whole

    def _unit_px(self, size: tuple[int, int]) -> np.ndarray:
        """Return what coordinates are multiplied with, XY: (1, 1), or the view's width and height."""
        numbers = [c for x, y, _ in self.points for c in (x, y)] + list(self.box or ())
        shares = bool(numbers) and max(numbers) <= 1
        return np.array([size[1], size[0]] if shares else [1, 1], dtype=np.float64)


def reference_prompt(
    *,
    view: str | None = None,
    points: str | None = None,
    negative_points: str | None = None,
    box: str | None = None,
    positive_scribble: Path | None = None,
    negative_scribble: Path | None = None,
    mask: Path | None = None,
    prompt_file: Path | None = None,
) -> ReferencePrompt:
    """The reference of a command's options.

    Args:
        view: file name of the picture, or its stem; the first view by default, or the one that the prompt file names.
        points: clicks on the object, "x,y;x,y".
        negative_points: clicks on the background, "x,y;x,y".
        box: "x1,y1,x2,y2".
        positive_scribble: a picture of the view's size with strokes on the object, white on black.
        negative_scribble: the same with strokes on the background.
        mask: the object's mask or matte: a grey picture, or one with an alpha channel.
        prompt_file: JSON with any of `view`, `points` ([x, y] or [x, y, label] each; SA3D's `prompt_points` too),
            `labels` and `box`.

    Raises:
        ValueError: nothing or something malformed was given, or two sources contradict each other.
        ImageError: a picture cannot be read.
    """
    stored = _read_json(prompt_file) if prompt_file is not None else {}
    if view is not None and stored.get("view") not in (None, view):
        raise ValueError(f"the reference view is {view!r}, but {prompt_file} names {stored['view']!r}: drop one")
    if box is not None and "box" in stored:
        raise ValueError(f"a box is given twice: {box!r}, and one in {prompt_file}")
    clicks = [*_parse_points(points, 1), *_parse_points(negative_points, 0), *stored.get("points", ())]
    pictures = [(positive_scribble, 1), (negative_scribble, 0)]
    return ReferencePrompt(
        view=view if view is not None else stored.get("view"),
        points=tuple(clicks),
        box=_parse_box(box) if box is not None else stored.get("box"),
        scribbles=tuple((read_alpha(path), label) for path, label in pictures if path is not None),
        matte=read_alpha(mask) if mask is not None else None,
    )


def reference_prompts(path: Path) -> list[ReferencePrompt]:
    """Read a prompt file of several views: a list of objects as `reference_prompt` reads one, each with its `view`.

    Raises:
        ValueError: it cannot be read, an entry is malformed, or two are of one view.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the prompt file {path} cannot be read: {error}") from error
    prompts = []
    for entry in entries if isinstance(entries, list) else [entries]:
        stored = _fields(entry, path)
        if isinstance(entries, list) and "view" not in stored:
            raise ValueError(f"the prompt file {path} lists several prompts: each names its view")
        clicks = tuple(stored.get("points", ()))
        prompts.append(ReferencePrompt(view=stored.get("view"), points=clicks, box=stored.get("box")))
    views = [prompt.view for prompt in prompts]
    if not prompts or len(set(views)) < len(views):
        raise ValueError(f"the prompt file {path} names each view once, and at least one: {views}")
    return prompts


def is_list(path: Path) -> bool:
    """Return whether a prompt file lists prompts of several views; a file that cannot be read does not."""
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), list)
    except (OSError, ValueError):
        return False


def _parse_points(text: str | None, label: int) -> list[tuple[float, float, int]]:
    try:
        pairs = [piece.split(",") for piece in (text or "").split(";") if piece.strip()]
        return [(float(x), float(y), label) for x, y in pairs]
    except ValueError:
        raise ValueError(f'clicks are "x,y;x,y", for example "450,300;480,500"; got {text!r}') from None


def _parse_box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f'a box is "x1,y1,x2,y2", for example "10,20,300,400"; got {text!r}') from None
    return x1, y1, x2, y2


def _read_json(path: Path) -> dict[str, Any]:
    """The prompt file's fields: `view`, `points` as (x, y, label), `box`."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the prompt file {path} cannot be read: {error}") from error
    return _fields(fields, path)


def _fields(fields: Any, path: Path) -> dict[str, Any]:
    """Check and read one prompt of a file."""
    if not isinstance(fields, dict) or not fields or set(fields) - _JSON_KEYS:
        found = sorted(fields) if isinstance(fields, dict) else type(fields).__name__
        raise ValueError(f"the prompt file {path} holds an object with any of {sorted(_JSON_KEYS)}; got {found}")
    try:
        rows = [*fields.get("points", ()), *fields.get("prompt_points", ())]
        labels = fields.get("labels", [row[2] if len(row) > 2 else 1 for row in rows])
        points = [(float(row[0]), float(row[1]), int(label)) for row, label in zip(rows, labels, strict=True)]
        stored: dict[str, Any] = {"points": points}
        if fields.get("box") is not None:
            x1, y1, x2, y2 = (float(number) for number in fields["box"])
            stored["box"] = (x1, y1, x2, y2)
    except (TypeError, ValueError, LookupError) as error:
        raise ValueError(f"the prompt file {path} is malformed: {error}") from error
    if fields.get("view") is not None:
        stored["view"] = str(fields["view"])
    return stored
