"""Following: from the slices that prompts are on to the others, both ways, until the structure ends or is lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, UInt8

from zim_plugins.core import Prompt, UnsupportedPrompt

from ..protocol.evaluate_scan import THRESHOLD
from ..protocol.models import PromptedModel
from ..protocol.prompt_modes import tight_box
from ..protocol.propagation import propagate
from .placing import PlacedMarks, SliceMarks


@dataclass(eq=False)
class Followed:
    """One structure through the scan."""

    masks: dict[int, Bool[np.ndarray, "h w"]] = field(default_factory=dict)
    """By frame; frames without the structure are left out."""
    prompted: tuple[int, ...] = ()
    """Frames whose masks come from prompts."""
    ends: dict[str, str] = field(default_factory=dict)
    """Why following stopped, before the first prompted frame (below) and after the last one (above)."""
    notes: list[str] = field(default_factory=list)


class Follower:
    """Segments structures of one scan, one after the other.

    Args:
        model: shown each frame once.
        numbers: what messages call each frame: the slice of the file.
        reach: frames that a prompt reaches beyond its own, both ways; None until the structure ends.
        keep_masks: given masks stand as they are; else the model is shown them and answers.
        tick: called at each answer of the model.
    """

    def __init__(
        self, model: PromptedModel, frames: UInt8[np.ndarray, "s h w 3"], numbers: Sequence[int] | None = None,
        *, reach: int | None = None, keep_masks: bool = False, tick: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.frames, self.reach, self.keep_masks = model, frames, reach, keep_masks
        self.tick = tick or (lambda: None)
        self.numbers = range(len(frames)) if numbers is None else numbers

    def follow(self, structure: PlacedMarks) -> Followed:
        """Segment a structure from its prompts.

        Slices with a box, a mask or, without any of these, clicks inside are answered first and followed to the
        others. Clicks on a slice that was reached correct its mask, with its box; then everything is followed again
        from all prompted slices, each of the others from the nearest one.

        Raises:
            ValueError: no prompt names the structure, or background clicks lie where it was not found.
            UnsupportedPrompt: the model does not take such prompts.
        """
        given = structure.slices
        if not given:  # it was looked for by words, and is not there
            return Followed(notes=[f"{structure.name}: nothing was found"])
        firm = [f for f, one in given.items() if one.box is not None or one.mask is not None]
        firm = firm or [f for f, one in given.items() if one.names_an_object][:1]
        if not firm:
            raise ValueError(f"clicks outside alone do not name {structure.name}: add a click inside or a box")
        keys = {frame: self._first(frame, given[frame]) for frame in firm}
        found = self._spread(keys, structure)
        for frame in sorted(set(given) - set(keys)):
            keys[frame] = self._corrected(frame, given[frame], found.masks.get(frame), structure.name)
            found = self._spread(keys, structure)
        found.notes += self._drifted(found, keys, structure.name)
        for frame in (f for f, mask in keys.items() if not mask.any()):
            found.notes.append(f"{structure.name}: nothing was found on prompted slice {self.numbers[frame]}")
        return found

    def _drifted(self, found: Followed, keys: dict[int, Bool[np.ndarray, "h w"]], name: str) -> list[str]:
        """Return a warning where masks have left the place of the prompted slice that they were followed from."""
        away = []
        for frame, mask in found.masks.items():
            nearest = keys[min(keys, key=lambda key: abs(key - frame))]
            if nearest.any() and not (nearest & mask).any():
                away.append(self.numbers[frame])
        if not away:
            return []
        return [
            f"{name}: {len(away)} of {len(found.masks)} slices, {min(away)} to {max(away)}, have no pixel in common "
            "with their nearest prompted slice: look whether it still is the same structure"
        ]

    def _first(self, frame: int, one: SliceMarks) -> Bool[np.ndarray, "h w"]:
        """Mask of a slice that stands on its own prompts."""
        if one.mask is None:
            return self._answer(frame, one.prompt())
        if self.keep_masks:
            return one.mask
        try:
            return self._answer(frame, one.prompt())
        except UnsupportedPrompt:  # not every model takes masks: what they cover is a box
            plain = SliceMarks(one.points, one.box or _edges(one.mask))
            try:
                return self._answer(frame, plain.prompt())
            except UnsupportedPrompt:
                return self._answer(frame, SliceMarks(box=plain.box).prompt())

    def _corrected(
        self, frame: int, one: SliceMarks, mask: Bool[np.ndarray, "h w"] | None, name: str
    ) -> Bool[np.ndarray, "h w"]:
        """Mask of a slice whose clicks correct what was followed there."""
        if mask is None or not mask.any():
            if not one.names_an_object:
                raise ValueError(
                    f"{name} was not found on slice {self.numbers[frame]}, where clicks outside correct it: "
                    "add one inside"
                )
            return self._answer(frame, one.prompt())
        box = np.array(_edges(mask))
        for x, y, label in one.points:  # clicks inside extend it
            if label:
                box = np.array([min(box[0], x - 1), min(box[1], y - 1), max(box[2], x + 1), max(box[3], y + 1)])
        height, width = mask.shape
        box = np.clip(box, 0, [width, height, width, height])
        try:
            return self._answer(frame, one.prompt((float(box[0]), float(box[1]), float(box[2]), float(box[3]))))
        except UnsupportedPrompt:  # clicks or a box, not both: the clicks, which are the user's
            return self._answer(frame, one.prompt()) if one.names_an_object else mask

    def _spread(self, keys: dict[int, Bool[np.ndarray, "h w"]], structure: PlacedMarks) -> Followed:
        """Follow from all prompted slices, as `propagate` does in evaluations."""
        order = sorted(keys)
        spread = propagate(
            lambda frame, box: self._answer(frame, Prompt.from_box(*box)), keys, len(self.frames),
            reach=self.reach, limits=structure.limits, numbers=self.numbers,
        )  # fmt: skip
        found = Followed(spread.masks, tuple(order))
        for step, side, key in ((-1, "below", order[0]), (1, "above", order[-1])):
            found.ends[side] = spread.stops.get((key, step), "the last slice that was asked for")
        for (key, step), why in spread.stops.items():
            if (key, step) not in ((order[0], -1), (order[-1], 1)):
                found.notes.append(
                    f"{structure.name}: from slice {self.numbers[key]} towards the next prompted one: {why}"
                )
        return found

    def _answer(self, frame: int, prompt: Prompt) -> Bool[np.ndarray, "h w"]:
        self.model.show(self.frames[frame], key=frame)
        mask = self.model.predict(prompt).alpha > THRESHOLD
        self.tick()
        return mask


def _edges(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
    """Box of a mask, exclusive at the far edge [px]."""
    x1, y1, x2, y2 = tight_box(mask)
    return float(x1), float(y1), float(x2), float(y2)
