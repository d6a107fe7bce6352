"""Options that `zim-medseg`, `zim-medseg check` and `zim-medseg segment` share: how scans and labels are read."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from zim_plugins.cli.runtime import CommandArgs, Misuse

if TYPE_CHECKING:
    from .io.reading import ReadingConfig
    from .protocol.text_prompts import TextFinder


READING_OPTIONS = ("volume", "irregular", "tolerance_affine", "reorient", "resample_labels", "nan")
"""Fields that decide what is read, for records."""


@dataclass(frozen=True, kw_only=True)
class ReadingArgs(CommandArgs):
    """Options of reading, the same for every command: what does not fit is refused, mended on request, and told."""

    volume: Annotated[int | None, arg(metavar="N")] = None
    """Which one of a file of four dimensions."""
    irregular: Literal["refuse", "keep", "resample"] = "refuse"
    """DICOM series that are tilted, lack slices, or have several distances or pixel sizes: keep takes the slices as
    they are, each at its place, without distances between them, resample interpolates on a grid of right angles."""
    tolerance_affine: Annotated[float, arg(metavar="MM")] = 1e-3
    """By how much the affines of a volume and its labels may differ."""
    reorient: bool = False
    """Turn labels whose axes are stored in another order than the image's."""
    resample_labels: Literal["no", "nearest"] = "no"
    """Bring labels of another grid onto the image's."""
    nan: Annotated[float | None, arg(metavar="VALUE")] = None
    """Takes the place of NaN and infinite values, which are refused otherwise."""
    max_pixels: Annotated[float, arg(metavar="N")] = 64e6
    """Refuse larger images from their header."""
    max_values: Annotated[float, arg(metavar="N")] = 536870912
    """Refuse larger volumes from their header."""

    def reading(self, **further: Any) -> "ReadingConfig":
        """Return how scans and labels are read.

        Args:
            further: fields of `ReadingConfig` that only one command has options for.

        Raises:
            ValueError: a value makes no sense.
        """
        from .io.reading import ReadingConfig
        from .io.remedies import Remedies

        if not (self.tolerance_affine >= 0 and math.isfinite(self.tolerance_affine)):
            raise ValueError(f"--tolerance-affine is at least 0 mm, got {self.tolerance_affine:g}")
        if self.nan is not None and not math.isfinite(self.nan):
            raise ValueError(
                f"--nan takes the place of values that are not finite: give a finite one, not {self.nan:g}"
            )
        if not (1 <= self.max_pixels < math.inf and 1 <= self.max_values < math.inf):
            raise ValueError("--max-pixels and --max-values are at least 1")
        if self.volume is not None and self.volume < 0:
            raise ValueError(f"--volume counts from 0, got {self.volume}")
        return ReadingConfig(
            volume=self.volume,
            irregular=self.irregular,
            remedies=Remedies(self.tolerance_affine, self.reorient, self.nan, self.resample_labels == "nearest"),
            max_pixels=int(self.max_pixels),
            max_values=int(self.max_values),
            **further,
        )


@dataclass(frozen=True, kw_only=True)
class TextArgs(CommandArgs):
    """Options of looking for structures by words."""

    text: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="[NAME=]WORDS")]] = ()
    """Words for a structure, as "left kidney", whose boxes a detector of transformers finds slice by slice (extra
    `models`); NAME= before them says which structure or label they stand for, @SLICE behind them (in segment) on which
    slice to look. Repeatable."""
    text_model: Annotated[str | None, arg(metavar="NAME")] = None
    """Grounding DINO, OWLv2 or SAM 3 for --text: folder, name on the Hugging Face hub, or FILE.py:FUNCTION that makes a
    function of an image and a text which returns rows of x1, y1, x2, y2, score."""
    text_threshold: Annotated[float | None, arg(metavar="SCORE")] = None
    """Least score of a box; by default the detector's own."""
    text_all: bool = False
    """Take every instance on a slice, not the best-scored alone."""

    def text_finder(self, device: str, *, is_asked: bool) -> "TextFinder | None":
        """Return what looks for structures by words; None where nothing is to be looked for.

        Args:
            device: that the detector runs on.
            is_asked: whether text is a prompt although no words are given: labels are looked for by their names.

        Raises:
            Misuse: the options make no sense.
            CheckpointError, MissingExtra: the detector cannot be had.
        """
        from zim_plugins.cli.matting.words import load_detector

        from .protocol.text_prompts import TextFinder, parse_text

        if not (self.text or is_asked):
            if self.text_all or self.text_model is not None or self.text_threshold is not None:
                raise Misuse("--text-model, --text-threshold and --text-all belong to --text WORDS")
            return None
        try:
            wanted = [parse_text(text) for text in self.text]
        except ValueError as error:
            raise Misuse(str(error)) from error
        names = [(one.name or one.words).casefold() for one in wanted]
        if len(set(names)) < len(names):
            raise Misuse("--text names a structure twice: give each once")
        detector = load_detector(wanted[0].words if wanted else "labels", self.text_model, device)
        return TextFinder(detector, wanted, self.text_all, self.text_threshold)
