"""The simulated user of click segmentation: click after click on the worst error, and how many clicks it takes.

The protocol of f-BRS and RITM (Sofiiuk et al. 2020, 2021): the next click goes to the deepest point of the errors, on
the missed or the wrongly taken side, whichever is deeper; NoC@85 is the number of clicks up to an IoU of 0.85.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core.predictor import Predictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.evaluation.metrics import iou
from zim_plugins.training.samples.prompts import worst_error as worst_error

MAX_CLICKS = 20
IGNORED, OBJECT_ABOVE = 128, 128
"""Of 8-bit click masks: the value that is not scored, and the one above which a pixel is the object."""


@dataclass
class Clicker:
    """Remembers the clicks on one object and chooses the next.

    Args:
        valid: pixels that are scored and clicked on; None for all.
    """

    target: Bool[np.ndarray, "h w"]
    valid: Bool[np.ndarray, "h w"] | None = None
    clicks: list[tuple[float, float, int]] = field(default_factory=list)
    """XY [px] and label: 1 foreground, 0 background."""

    def __post_init__(self) -> None:
        if not self.target.any():
            raise ValueError("an empty object cannot be clicked on")
        self._free = np.ones_like(self.target) if self.valid is None else self.valid.copy()

    def next_click(self, mask: Bool[np.ndarray, "h w"]) -> bool:
        """Add a click for what is wrong with `mask`; False where there is nothing left to click on."""
        click = worst_error(self._scored(self.target), self._scored(mask), self._free)
        if click is None:
            return False
        x, y, label = click
        self._free[y, x] = False
        self.clicks.append((x + 0.5, y + 0.5, label))
        return True

    def _scored(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        return mask if self.valid is None else mask & self.valid

    def prompt(self, alpha: Float32[np.ndarray, "h w"] | None = None) -> Prompt:
        """All clicks so far, with the earlier answer if it is given."""
        points = np.array([c[:2] for c in self.clicks])
        return Prompt(points=points, labels=np.array([c[2] for c in self.clicks]), alpha=alpha)


def click_ious(
    predictor: Predictor,
    target: Bool[np.ndarray, "h w"],
    *,
    valid: Bool[np.ndarray, "h w"] | None = None,
    max_clicks: int = MAX_CLICKS,
    enough: float = 1.0,
    feed_back: bool = False,
) -> list[float]:
    """IoU after each simulated click, on the image that the predictor was given last.

    Args:
        predictor: with `set_image` done.
        valid: pixels that are scored; None for all.
        max_clicks: where the user gives up.
        enough: the IoU at which the user is content.
        feed_back: hand the earlier answer to the model with the clicks, where it can take one.
    """
    clicker = Clicker(target, valid)
    ious: list[float] = []
    mask, alpha = np.zeros_like(target), None
    while len(ious) < max_clicks and clicker.next_click(mask):
        prediction = predictor.predict(clicker.prompt(alpha))
        mask = prediction.mask()
        if feed_back:
            alpha = prediction.alpha
        ious.append(iou(mask, target, valid))
        if ious[-1] >= enough:
            break
    return ious


def number_of_clicks(ious: Sequence[float], threshold: float, *, max_clicks: int = MAX_CLICKS) -> int:
    """NoC: clicks up to the first IoU that reaches `threshold`; `max_clicks` where none does."""
    return next((n for n, value in enumerate(ious[:max_clicks], start=1) if value >= threshold), max_clicks)


def split_click_mask(
    grey: UInt8[np.ndarray, "h w"], *, ignored: int | None = None
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"] | None]:
    """Object and valid pixels of a click benchmark's mask.

    Args:
        grey: values above 128 are the object.
        ignored: the value that is not scored: 128 in GrabCut's masks; None where there is none.
    """
    return grey > OBJECT_ABOVE, None if ignored is None else grey != ignored
