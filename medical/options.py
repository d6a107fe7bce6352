"""Options that `zim-medseg`, `zim-medseg check` and `zim-medseg segment` share: how scans and labels are read."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from zim_plugins.cli.runtime import CommandArgs

if TYPE_CHECKING:
    from .io.reading import ReadingConfig


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
