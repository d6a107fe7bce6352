"""The user's prompt in one named view: clicks, a box, scribbles, or a matte."""

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.core import Prompt, PromptText, read_alpha

logger = logging.getLogger(__name__)

SCRIBBLE_DRAWN = 0.5
"""Value of a scribble image above which a pixel was painted."""
_OLD_NAME = "prompt_points"
"""SA3D's name of `points` in a prompt file."""


@dataclass(frozen=True, eq=False)
class ReferencePrompt:
    """One object in one named view, as the user gave it; it becomes a `Prompt` once the view's size is known.

    >>> ReferencePrompt(view="IMG_1.JPG", points=(("50%", "25%", 1),)).prompt((100, 200)).points.tolist()
    [[100.0, 25.0]]
    """

    view: str | None = None
    """File name of the image, or its stem; None is the first view."""
    points: tuple[tuple[float | str, float | str, int], ...] = ()
    """Clicks x, y, label (1 object, 0 background), in pixels of the view or in shares of it, "40%"; where no number
    exceeds 1, all are read as shares for one more version, with a warning."""
    box: tuple[float | str, float | str, float | str, float | str] | None = None
    """Corners x1, y1, x2, y2, in the same units, exclusive at the far edge."""
    scribbles: tuple[tuple[Float32[np.ndarray, "h w"], int], ...] = ()
    """Images of the view's size with strokes above `SCRIBBLE_DRAWN`, and the label of each."""
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
        if self.points or self.box is not None:
            named = _named({"points": self.points, "box": self.box})
            object.__setattr__(self, "points", named.get("points", ()))
            object.__setattr__(self, "box", named.get("box"))

    def index(self, names: Sequence[str]) -> int:
        """Place of the view among the names of all views.

        Raises:
            ValueError: no view has that name; the message lists near ones.
        """
        return view_index(self.view, names)

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
        prompts = []
        if self.points or self.box is not None:
            text = PromptText.from_json({"points": self.points, "box": self.box})
            prompts.append(text.sized(size))
        for drawn, label in self.scribbles:
            if drawn.shape != size:
                raise ValueError(f"the scribble is {drawn.shape}, the reference view {size} (height, width)")
            prompts.append(Prompt.from_scribble_mask(drawn > SCRIBBLE_DRAWN, label=label))
        if not prompts:
            raise ValueError("the reference is a matte, not a prompt")
        whole = Prompt.union(*prompts)
        whole.check_inside(size)
        return whole


def view_index(view: str | None, names: Sequence[str]) -> int:
    """Return the place of a view among all views by its name, file name or stem; the first for None.

    Raises:
        ValueError: no view has that name, or several do.

    Example:
        >>> view_index("IMG_2", ["a/IMG_1.JPG", "a/IMG_2.JPG"])
        1
    """
    if view is None:
        return 0
    for candidates in (list(names), [Path(n).name for n in names], [Path(n).stem for n in names]):
        if candidates.count(view) == 1:
            return candidates.index(view)
        if candidates.count(view) > 1:
            alike = [name for name, candidate in zip(names, candidates, strict=True) if candidate == view]
            raise ValueError(f"{view!r} could be any of {', '.join(alike[:5])}: name one of them")
    near = difflib.get_close_matches(view, names, n=5, cutoff=0.3) or list(names[:5])
    raise ValueError(f"no view is called {view!r}; of {len(names)} views, near are: {', '.join(near)}")


def as_shares(values: Sequence[float]) -> tuple[str, ...]:
    """Write shares of a view's sides as prompts name them.

    Example:
        >>> as_shares((0.5, 0.25))
        ('50.0%', '25.0%')
    """
    return tuple(f"{100 * float(value)!r}%" for value in values)


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
        view: file name of the image, or its stem; the first view by default, or the one that the prompt file names.
        points: clicks on the object, "x,y;x,y", in pixels or as "40%,50%".
        negative_points: clicks on the background, "x,y;x,y".
        box: "x1,y1,x2,y2", likewise.
        positive_scribble: an image of the view's size with strokes on the object, white on black.
        negative_scribble: the same with strokes on the background.
        mask: the object's mask or matte: a grey image, or one with an alpha channel.
        prompt_file: JSON as `Prompt.from_json` reads it, and `view`; SA3D's `prompt_points` is `points`.

    Raises:
        ValueError: nothing or something malformed was given, or two sources contradict each other.
        ImageError: an image cannot be read.
    """
    stored = _read_json(prompt_file) if prompt_file is not None else {}
    if view is not None and stored.get("view") not in (None, view):
        raise ValueError(f"the reference view is {view!r}, but {prompt_file} names {stored['view']!r}: drop one")
    if box is not None and "box" in stored:
        raise ValueError(f"a box is given twice: {box!r}, and one in {prompt_file}")
    clicks = [(text, label) for texts, label in ((points, 1), (negative_points, 0)) for text in _pieces(texts)]
    given = {"points": [text for text, _ in clicks], "labels": [label for _, label in clicks], "box": box}
    named = _named(given) if clicks or box is not None else {}
    pictures = [(positive_scribble, 1), (negative_scribble, 0)]
    return ReferencePrompt(
        view=view if view is not None else stored.get("view"),
        points=(*named.get("points", ()), *stored.get("points", ())),
        box=named.get("box", stored.get("box")),
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


def _pieces(texts: str | None) -> list[str]:
    """The clicks of an option."""
    return [piece.strip() for piece in (texts or "").split(";") if piece.strip()]


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return `points` and `box` of a prompt as `PromptText.to_json` writes them, in tuples.

    Raises:
        ValueError: they are malformed.
    """
    found = PromptText.from_json(_with_old_shares(row)).to_json()
    if "points" in found:
        found["points"] = tuple(map(tuple, found["points"]))
    return found | ({"box": tuple(found["box"])} if "box" in found else {})


def _with_old_shares(row: Mapping[str, Any]) -> dict[str, Any]:
    """Write numbers that were shares of the view in version 0.1, none above 1, as shares."""
    try:
        clicks = [piece.split(",") if isinstance(piece, str) else list(piece) for piece in row.get("points") or ()]
        box = row.get("box") or []
        box = box.split(",") if isinstance(box, str) else list(box)
        numbers = [float(number) for part in (*(click[:2] for click in clicks), box) for number in part]
    except (TypeError, ValueError):  # in percent, or malformed, which the one grammar names
        return dict(row)
    if not numbers or max(numbers) > 1:
        return dict(row)

    def shares(part: Sequence[Any]) -> list[str]:
        return [f"{float(number) * 100!r}%" for number in part]

    logger.warning("shares of the view are written 40%%,50%%; numbers up to 1 are read so for one more version")
    return {**row, "points": [[*shares(click[:2]), *click[2:]] for click in clicks], "box": shares(box) or None}


def _read_json(path: Path) -> dict[str, Any]:
    """The prompt file's fields: `view`, `points` as (x, y, label), `box`."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the prompt file {path} cannot be read: {error}") from error
    return _fields(fields, path)


def _fields(fields: Any, path: Path) -> dict[str, Any]:
    """Check and read one prompt of a file."""
    if not isinstance(fields, dict) or not fields:
        found = "an empty one" if isinstance(fields, dict) else type(fields).__name__
        raise ValueError(f"the prompt file {path} holds an object with view, points, labels, box; got {found}")
    row = {key: value for key, value in fields.items() if key != "view"}
    stored: dict[str, Any] = {}
    if fields.get("view") is not None:
        stored["view"] = str(fields["view"])
    try:
        if _OLD_NAME in row:
            if "points" in row:
                raise ValueError(f"{_OLD_NAME} and points are the same: leave one of them out")
            row["points"] = row.pop(_OLD_NAME)
        return stored | (_named(row) if row else {})
    except ValueError as error:
        raise ValueError(f"the prompt file {path}: {error}") from error
