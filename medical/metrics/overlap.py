"""Overlap of two masks, with the cases in which one of them is empty decided once.

| reference | prediction | Dice, IoU, NSD | HD95 |
|---|---|---|---|
| empty | empty | not counted (NaN) | NaN |
| empty | not empty | not counted (NaN); such objects get no prompt and are told | NaN |
| not empty | empty | 0 | NaN, counted as an empty prediction |
| not empty | not empty | as defined | as defined |
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True)
class Overlap:
    """Counts of two masks [px or voxels]."""

    both: int
    predicted: int
    reference: int

    @property
    def dice(self) -> float:
        """2|A ∩ B| / (|A| + |B|), in [0, 1]; NaN where the reference is empty."""
        return 2 * self.both / (self.predicted + self.reference) if self.reference else float("nan")

    @property
    def iou(self) -> float:
        """|A ∩ B| / |A ∪ B|, in [0, 1]; NaN where the reference is empty."""
        return self.both / (self.predicted + self.reference - self.both) if self.reference else float("nan")


def overlap(prediction: Bool[np.ndarray, "*size"], reference: Bool[np.ndarray, "*size"]) -> Overlap:
    """Count what two masks of one size share.

    >>> found = overlap(np.array([True, True, False]), np.array([True, False, False]))
    >>> round(found.dice, 3), found.iou
    (0.667, 0.5)
    """
    return Overlap(
        both=int(np.count_nonzero(prediction & reference)),
        predicted=int(np.count_nonzero(prediction)),
        reference=int(np.count_nonzero(reference)),
    )
