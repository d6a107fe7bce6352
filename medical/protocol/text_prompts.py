"""Text as a prompt: what a detector finds on a slice for "left kidney", as boxes of whole pixels."""

import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core import TextBox
from zim_plugins.imaging import whole_box

from .prompt_modes import Box

logger = logging.getLogger(__name__)

_TEXT = re.compile(r"^(?:(?P<name>[^=@]+)=)?(?P<words>[^=@]+?)(?:@(?P<slice>\d+))?$")
_GENERIC = re.compile(r"^(?:class|segment|roi|object|label)?[ _-]*\d*$", re.IGNORECASE)
"""Labels that no detector can look for."""


@runtime_checkable
class BoxFinder(Protocol):
    """A detector of the core, by a model of transformers or by anybody's function."""

    name: str

    def find(
        self, image: UInt8[np.ndarray, "h w 3"], text: str, *, which: Literal["all", "best"] = "all",
        threshold: float | None = None,
    ) -> list[TextBox]:  # fmt: skip
        """Instances of what a text names, best first."""
        ...


@dataclass(frozen=True)
class Wanted:
    """A structure that is looked for by words."""

    words: str
    name: str = ""
    """Structure or label that the words stand for; empty where only words are given."""
    slice_index: int | None = None
    """The one slice to look on, by the file's own number; None for all."""


@dataclass(frozen=True)
class FoundBox:
    """One instance on a slice."""

    box: Box
    """x1, y1, x2, y2 in whole pixels, exclusive at the far edge."""
    score: float
    """The detector's own."""

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Edges in continuous pixels, as prompts have them."""
        x1, y1, x2, y2 = self.box
        return float(x1), float(y1), float(x2), float(y2)


def parse_text(text: str) -> Wanted:
    """Read words as the command line has them: [NAME=]WORDS[@SLICE].

    >>> parse_text("left kidney"), parse_text("organ=the liver@14")
    (Wanted(words='left kidney', name='', slice_index=None), Wanted(words='the liver', name='organ', slice_index=14))

    Raises:
        ValueError: no word is given.
    """
    found = _TEXT.match(" ".join(text.split()))
    if found is None or not found["words"].strip():
        raise ValueError(
            f'--text is [NAME=]WORDS or WORDS@SLICE, such as "left kidney" or "left kidney@25"; got {text!r}'
        )
    on = None if found["slice"] is None else int(found["slice"])
    return Wanted(found["words"].strip(), (found["name"] or "").strip(), on)


@dataclass(eq=False)
class TextFinder:
    """Looks for structures on slices; each slice is looked at once for the same words.

    Args:
        detector: finds boxes.
        wanted: what each label is called in words; none: labels are looked for by their own names.
        every: take all instances, not the best-scored alone.
        threshold: least score; None for the detector's own.
    """

    detector: BoxFinder
    wanted: Sequence[Wanted] = ()
    every: bool = False
    threshold: float | None = None
    _known: dict[tuple[Hashable, str], tuple[FoundBox, ...]] = field(default_factory=dict)

    def find(self, frame: UInt8[np.ndarray, "h w 3"], words: str, key: Hashable = None) -> tuple[FoundBox, ...]:
        """Return what the words name on a slice, best first; nothing where nothing is sure enough.

        Args:
            frame: RGB in [0, 255].
            words: "left kidney".
            key: of the slice, under which the answer is kept; None keeps nothing.
        """
        if key is not None and (key, words) in self._known:
            return self._known[key, words]
        options = {} if self.threshold is None else {"threshold": self.threshold}
        found = self.detector.find(np.ascontiguousarray(frame), words, which="all" if self.every else "best", **options)
        size = frame.shape[0], frame.shape[1]
        boxes = tuple(FoundBox(whole_box(one.box, size), one.score) for one in found)
        if key is not None:
            self._known[key, words] = boxes
        return boxes

    def words_for(self, label: str, labels: Sequence[str]) -> str:
        """Return the words that a label is looked for by; empty where none are given for it and its name is no word.

        Words without a label's name are meant for the one label of a scan, or for the one that is called so.
        """
        for one in self.wanted:
            if one.name and _same(one.name, label):
                return one.words
        unnamed = [one for one in self.wanted if not one.name]
        for one in unnamed:
            if len(labels) == 1 or _same(one.words, label):
                return one.words
        if self.wanted or _GENERIC.match(label):
            return ""
        return label.replace("_", " ").replace("-", " ")

    def tell(self, case: str, found: Mapping[str, Sequence[Sequence[float]]], labels: Sequence[str]) -> None:
        """Log what words have found in a case, and its labels that no words are given for.

        Args:
            found: by words, the scores of each slice that was looked at, best first.
        """
        for words, slices in found.items():
            best = [scores[0] for scores in slices if scores]
            range_of = f", scores {min(best):.2f} to {max(best):.2f}" if best else ""
            logger.info("%s: %r is found on %d of %d slices%s", case, words, len(best), len(slices), range_of)
        if unasked := [label for label in labels if not self.words_for(label, labels)]:
            logger.warning("%s: no words for %s: --text LABEL=WORDS gives them", case, ", ".join(unasked))


def _same(one: str, other: str) -> bool:
    return re.sub(r"[\W_]+", "", one.casefold()) == re.sub(r"[\W_]+", "", other.casefold())
