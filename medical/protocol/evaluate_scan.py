"""A trial: one model on one scan, from prompts to rows."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core import Prediction, UnsupportedPrompt

from ..io.scan import Scan, Target
from .clickers import MAX_CLICKS, Clicker, PixelClick, make_clicker
from .jitter import jitter_box, jitter_click, rng_of
from .models import THRESHOLD, PromptedModel, chosen_mask
from .prompt_modes import CLICKS, TEXT, Box, PixelPrompt, PromptBook, PromptRecord, point_at
from .propagation import MAX_GROWTH, choose_keys, copy_keys, propagate
from .records import SINGLE, Measure, Row, measure
from .slices import selected_frames, stacked
from .text_prompts import TextFinder

PROPAGATED = "+propagated"
"""Ends the name of a prompt that was given on key slices only."""
COPIED = "+copied"
"""Ends the name of the same, where the key slices' masks are copied as they are: the rival of propagation."""
MAX_HELD_VALUES = 100_000_000
"""Pixels of mattes that are held at once: a frame of many objects is gone through in parts."""


@dataclass(frozen=True)
class TrialConfig:
    """The protocol: what every model of a run goes through."""

    prompts: tuple[str, ...] = ("mode1", "mode5")
    clicker: str = "ritm"
    max_clicks: int = MAX_CLICKS
    candidates: tuple[str, ...] = (SINGLE,)
    jitter_px: int = 0
    jitter_outward: bool = False
    slices: str = "all"
    """Frames that show an object: all, max-area, middle or every:N."""
    volumes: str = "slices"
    """slices: a prompt on each frame; propagated: on one, from which the others follow; both."""
    key_slices: int = 1
    """Of propagation: slices that are prompted; one is the largest, several lie evenly through the object."""
    reach: int | None = None
    """Of propagation: slices beyond each key slice at most; None until the object ends."""
    max_growth: float = MAX_GROWTH
    """Of propagation: area on a slice, times that of its key slice, above which a mask has left the object."""
    min_area: int = 0
    """Objects of fewer pixels are dropped, and counted."""
    seed: int = 0
    seeds: int = 1
    """Repetitions of what is random, with seeds from `seed` on; a trial is one of them."""
    click_jitter_px: int = 0
    """Clicks are moved by up to so many pixels, and stay on the object, or on the error that they correct."""
    text: tuple[str, ...] = ()
    """What labels are looked for by, as the command line has it."""
    text_model: str = ""
    """What looks for it."""
    text_all: bool = False
    text_threshold: float | None = None
    measure: Measure = Measure()


@dataclass(frozen=True)
class Place:
    """Identity of a scan, in names that may be shown."""

    dataset: str
    patient: str
    """Empty where nobody says who it is."""
    case: str


Keep = Callable[[int, str, int, str, Float32[np.ndarray, "h w"]], None]
"""Called with frame, label, instance, prompt and matte of each final answer."""


@dataclass
class Outcome:
    """Results of a trial."""

    rows: list[Row] = field(default_factory=list)
    prompts: list[PromptRecord] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Prompts that the model does not take."""
    dropped: int = 0
    """Objects below the least area."""
    drifts: list[str] = field(default_factory=list)
    """Where propagation stopped, and why."""
    stacks: dict[tuple[str, str], dict[int, UInt8[np.ndarray, " bytes"]]] = field(default_factory=dict)
    """Predicted masks of a volume by label and prompt, then frame; a bit for each pixel, in raster order."""


class Trial:
    """One model on one scan.

    Args:
        scan: with its reference.
        model: shown each frame once.
        place: what rows call the scan.
        book: prompts of an earlier run, used where they are found.
        keep: takes the final mattes.
        finder: looks for labels by words, where text is a prompt.
    """

    def __init__(
        self, scan: Scan, model: PromptedModel, place: Place, config: TrialConfig,
        book: PromptBook | None = None, keep: Keep | None = None, finder: TextFinder | None = None,
    ) -> None:  # fmt: skip
        self.scan, self.model, self.place, self.config = scan, model, place, config
        self.book = book or PromptBook()
        self.keep, self.finder = keep, finder
        self._found: dict[str, list[tuple[float, ...]]] = {}
        self.outcome = Outcome()
        self._answers: dict[PixelPrompt, dict[str, Prediction]] = {}
        self._figures: dict[tuple[str, int, bool, bytes], dict[str, object]] = {}

    def run(self) -> Outcome:
        """Go through the protocol."""
        config, scan = self.config, self.scan
        if not scan.is_volume or config.volumes in ("slices", "both"):
            for frame in selected_frames(scan, config.slices):
                self._frame(frame)
        if scan.is_volume and config.volumes in ("propagated", "both"):
            self._propagate()
        if scan.is_volume and (config.slices == "all" or config.volumes != "slices"):
            self._measure_volumes()
        if TEXT in config.prompts and self.finder is not None:
            self.finder.tell(f"{self.place.dataset}, {self.place.case}", self._found, scan.labels)
        return self.outcome

    def _frame(self, frame: int) -> None:
        """All objects and prompts of one frame, from one encoding."""
        targets = []
        for target in self.scan.targets(frame):
            if np.count_nonzero(target.mask) < self.config.min_area:
                self.outcome.dropped += 1
            else:
                targets.append(target)
        if not targets:
            return
        again = self.scan.is_volume and self.config.volumes == "both"  # propagation comes back to it
        again = again or self.config.seeds > 1  # so does the next seed
        self.model.show(self.scan.frames[frame], key=frame if again else None)
        static = [p for p in self.config.prompts if p not in (CLICKS, TEXT)]
        boxes = [p for p in static if p in ("mode3", "mode4", "mode5")]
        held = len(static) + self.config.max_clicks + 1
        step = max(1, MAX_HELD_VALUES // (held * len(self.config.candidates) * targets[0].mask.size))
        for first in range(0, len(targets), step):
            some = targets[first : first + step]
            self._answers, self._figures = {}, {}
            for names in ([p for p in static if p not in boxes], boxes):  # a baseline may take boxes only
                self._static(some, names)
            if CLICKS in self.config.prompts:
                self._clicks(some)
        if TEXT in self.config.prompts:
            self._answers, self._figures = {}, {}
            self._by_words(targets)

    def _static(self, targets: Sequence[Target], names: Sequence[str]) -> None:
        asked = [(t, name, self._pixel_prompt(t, name)) for t in targets for name in names]
        if not asked:
            return
        try:
            answers = self._candidates([given for *_, given in asked])
        except UnsupportedPrompt:
            self.outcome.refused.update(names)
            return
        for (target, name, given), answer in zip(asked, answers, strict=True):
            self._note(target, name, len(given.clicks), given, answer, final=True)

    def _by_words(self, targets: Sequence[Target]) -> None:
        """Boxes that a detector finds for each label; words do not tell its instances apart, so they are one object."""
        for label in dict.fromkeys(target.label for target in targets):
            if not self._words(label):
                continue
            whole = np.logical_or.reduce([target.mask for target in targets if target.label == label])
            target = Target(targets[0].frame, label, 0, whole)
            given = self._pixel_prompt(target, TEXT)
            if given.boxes:
                try:
                    (answer,) = self._candidates([given])
                except UnsupportedPrompt:
                    self.outcome.refused.add(TEXT)
                    return
            else:  # nothing was found: an empty answer, whichever candidate is asked for
                nothing = Prediction(np.zeros((1, *whole.shape), dtype=np.float32), np.zeros(1, dtype=np.float32))
                answer = {SINGLE: nothing, "all": nothing}
            self._note(target, TEXT, 0, given, answer, final=True)

    def _words(self, label: str) -> str:
        return "" if self.finder is None else self.finder.words_for(label, self.scan.labels)

    def _clicks(self, targets: Sequence[Target]) -> None:
        """Clicks in rounds: each round answers all objects of the frame at once, from the same encoding."""
        config, name = self.config, self.model.name
        clickers = [make_clicker(config.clicker, self._rng(t, CLICKS, name)) for t in targets]
        hands = [self._rng(t, CLICKS, name, "jitter") for t in targets]
        saved = [self._saved(t, CLICKS) for t in targets]
        clicks: list[list[PixelClick]] = [[] for _ in targets]
        masks = [np.zeros_like(t.mask) for t in targets]
        last: list[dict[str, Prediction]] = [{} for _ in targets]
        for number in range(1, config.max_clicks + 1):
            asked = []
            for i, target in enumerate(targets):
                click = self._next(clickers[i], hands[i], saved[i], target, masks[i], clicks[i])
                if click is not None:
                    clicks[i].append(click)
                    asked.append(i)
            if asked:
                try:
                    answers = self._candidates([PixelPrompt(clicks=tuple(clicks[i])) for i in asked])
                except UnsupportedPrompt:
                    self.outcome.refused.add(CLICKS)
                    return
                for i, answer in zip(asked, answers, strict=True):
                    last[i] = answer
                    masks[i] = answer[SINGLE].alphas[0] > THRESHOLD
            final = number == config.max_clicks
            for i, target in enumerate(targets):
                # Where nothing was left to correct, the last answer stands for the clicks that were not needed.
                self._note(target, CLICKS, number, PixelPrompt(clicks=tuple(clicks[i])), last[i], final=final)

    def _next(
        self, clicker: Clicker, hand: np.random.Generator, saved: PixelPrompt | None, target: Target, mask: np.ndarray,
        clicks: list[PixelClick],
    ) -> PixelClick | None:  # fmt: skip
        if saved is not None:
            return saved.clicks[len(clicks)] if len(clicks) < len(saved.clicks) else None
        click = clicker.next_click(target.mask, mask, clicks)
        if click is None or not self.config.click_jitter_px:
            return click
        # An unsteady hand still means the same error: it stays on it, and off the pixels that were clicked.
        error = (target.mask & ~mask) if click.positive else (mask & ~target.mask)
        for before in clicks:
            error[before.y, before.x] = False
        return jitter_click(click, error, self.config.click_jitter_px, hand)

    def _candidates(self, asked: Sequence[PixelPrompt]) -> list[dict[str, Prediction]]:
        """Per prompt, the single answer and, where asked for, all candidates; equal prompts are asked once."""
        new = [one for one in dict.fromkeys(asked) if one not in self._answers]
        found = [{SINGLE: answer} for answer in self.model.answer(new)] if new else []
        if new and set(self.config.candidates) - {SINGLE}:
            # A model of one candidate only has no others.
            with suppress(UnsupportedPrompt):
                for one, several in zip(found, self.model.answer(new, multimask=True), strict=True):
                    one["all"] = several
        self._answers |= dict(zip(new, found, strict=True))
        return [self._answers[one] for one in asked]

    def _note(
        self,
        target: Target,
        prompt: str,
        n_clicks: int,
        given: PixelPrompt,
        answer: dict[str, Prediction],
        *,
        final: bool,
    ) -> None:
        """Measure an answer, and keep it if it is the prompt's last."""
        config = self.config
        spacing = self.scan.spacing_mm[1:] if self.scan.spacing_mm is not None else None
        for candidate in config.candidates:
            mask = chosen_mask(answer, candidate, target.mask)
            if mask is None:
                continue
            # Of iterated clicks the surfaces of the last one are measured; answers of several prompts are often equal.
            how = config.measure if final else replace(config.measure, surfaces=False)
            known = target.label, target.instance, how.surfaces, mask.tobytes()
            figures = self._figures.get(known) or measure(mask, target.mask, spacing, how)
            self._figures[known] = figures
            self._row("slice", target.frame, target.label, target.instance, prompt, n_clicks, candidate, figures)
        alpha = answer[SINGLE].alphas[0]
        if not final:
            return
        if self.keep is not None:
            self.keep(target.frame, target.label, target.instance, prompt, alpha)
        if self.scan.is_volume:
            frames = self.outcome.stacks.setdefault((target.label, prompt), {})
            packed = np.packbits(alpha > THRESHOLD)
            frames[target.frame] = frames[target.frame] | packed if target.frame in frames else packed
        owner = self.model.name if prompt == CLICKS else ""
        self.outcome.prompts.append(self._record(target, prompt, owner, given))

    def _row(
        self, level: str, frame: int, label: str, instance: int, prompt: str, n_clicks: int, candidate: str,
        figures: dict[str, object],
    ) -> None:  # fmt: skip
        place = self.place
        self.outcome.rows.append(
            Row(
                dataset=place.dataset, patient=place.patient, case=place.case, level=level, frame=frame, label=label,
                instance=instance, model=self.model.name, prompt=prompt, n_clicks=n_clicks,
                clicker=self.config.clicker if n_clicks else "", seed=self.config.seed, candidate=candidate, **figures,  # type: ignore[arg-type]
            )
        )  # fmt: skip

    def _record(self, target: Target, prompt: str, model: str, given: PixelPrompt) -> PromptRecord:
        place, area = self.place, int(np.count_nonzero(target.mask))
        where = (place.dataset, place.case, target.frame, target.label, target.instance)
        return PromptRecord(*where, prompt, model, area, given)

    def _rng(self, target: Target, *names: object) -> np.random.Generator:
        place = self.place
        return rng_of(self.config.seed, place.dataset, place.case, target.frame, target.label, target.instance, *names)

    def _saved(self, target: Target, prompt: str) -> PixelPrompt | None:
        place, area = self.place, int(np.count_nonzero(target.mask))
        where = (place.dataset, place.case, target.frame, target.label, target.instance)
        return self.book.find(*where, prompt, self.model.name, area)

    def _pixel_prompt(self, target: Target, prompt: str) -> PixelPrompt:
        """The prompt of a mode: saved, or made of the reference; the same for every model."""
        saved = self._saved(target, prompt)
        if saved is not None:
            return saved
        config = self.config
        if prompt == TEXT and self.finder is not None:
            key = (self.place.dataset, self.place.case, target.frame)
            words = self._words(target.label)
            found = self.finder.find(self.scan.frames[target.frame], words, key)
            self._found.setdefault(words, []).append(tuple(one.score for one in found))
            return PixelPrompt(boxes=tuple(one.box for one in found))
        given = point_at(target.mask, prompt, make_clicker(config.clicker, self._rng(target, prompt)))
        rng = self._rng(target, prompt, "jitter")
        if config.click_jitter_px and given.clicks:
            return PixelPrompt(
                clicks=tuple(jitter_click(click, target.mask, config.click_jitter_px, rng) for click in given.clicks)
            )
        if not config.jitter_px or not given.boxes:
            return given
        size = target.mask.shape[0], target.mask.shape[1]
        outward = config.jitter_outward
        return PixelPrompt(
            boxes=tuple(jitter_box(b, size, config.jitter_px, rng, outward=outward) for b in given.boxes)
        )

    def _propagate(self) -> None:
        """Prompt each label's key slices, follow the masks to the others, and put the copy of the key slices beside."""
        config = self.config
        for label in self.scan.labels:
            reference = self.scan.label_stack(label)
            areas = reference.sum(axis=(1, 2))
            if not areas.any():
                continue
            for prompt in (p for p in config.prompts if p != CLICKS and (p != TEXT or self._words(label))):
                try:
                    keys = {
                        key: self._mask_on(key, self._pixel_prompt(Target(key, label, 0, reference[key]), prompt))
                        for key in choose_keys(areas, config.key_slices)
                    }
                    found = propagate(
                        self._in_box, keys, len(reference), reach=config.reach, max_growth=config.max_growth
                    )
                except UnsupportedPrompt:
                    self.outcome.refused.add(prompt)
                    continue
                copied = copy_keys(keys, np.flatnonzero(areas), reach=config.reach)
                for masks, kind in ((found.masks, PROPAGATED), (copied, COPIED)):
                    packed = {frame: np.packbits(mask) for frame, mask in masks.items()}
                    self.outcome.stacks[label, prompt + kind] = packed
                self.outcome.drifts += [f"{label}, {prompt}, {self.model.name}: {end}" for end in found.ends]
        self.model.forget()

    def _in_box(self, frame: int, box: Box) -> Bool[np.ndarray, "h w"]:
        return self._mask_on(frame, PixelPrompt(boxes=(box,)))

    def _mask_on(self, frame: int, given: PixelPrompt) -> Bool[np.ndarray, "h w"]:
        if not (given.boxes or given.clicks):  # words that found nothing
            return np.zeros(self.scan.frames.shape[1:3], dtype=bool)
        self.model.show(self.scan.frames[frame], key=frame)
        return self.model.answer([given])[0].alphas[0] > THRESHOLD

    def _measure_volumes(self) -> None:
        for (label, prompt), frames in self.outcome.stacks.items():
            if self.config.slices != "all" and not prompt.endswith((PROPAGATED, COPIED)):
                continue  # predicted on some of the frames only
            reference = self.scan.label_stack(label)
            predicted = stacked(frames, reference.shape)
            how = self.config.measure if self.scan.is_regular else replace(self.config.measure, surfaces=False)
            figures = measure(predicted, reference, self.scan.spacing_mm, how)
            n_clicks = self.config.max_clicks if prompt == CLICKS else int(prompt[:5] in ("mode1", "mode2"))
            self._row("volume", -1, label, 0, prompt, n_clicks, SINGLE, figures)
