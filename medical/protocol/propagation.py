"""Propagation: from key slices to the others, both ways, until the object ends or the mask drifts off it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from .prompt_modes import Box, tight_box

MIN_OVERLAP = 0.5
"""Share of the smaller of two neighbours' masks that both have, below which the object is lost."""
MAX_STEP = 2.5
"""Times its neighbour's area above which a mask has left its object; it may shrink at will, as ends do."""
MAX_GROWTH = 4.0
"""Times the area on the key slice above which a mask has left its object."""
Ask = Callable[[int, Box], Bool[np.ndarray, "h w"]]
"""A model's mask on a slice, from a box."""


@dataclass(eq=False)
class Propagated:
    """One object through a volume."""

    masks: dict[int, Bool[np.ndarray, "h w"]] = field(default_factory=dict)
    """By slice; slices without the object are left out."""
    ends: list[str] = field(default_factory=list)
    """Why it stopped before the last slice that was asked for, in words with slice numbers."""
    stops: dict[tuple[int, int], str] = field(default_factory=dict)
    """The same by key slice and direction (-1 or 1)."""


def drift(
    before: Bool[np.ndarray, "h w"], following: Bool[np.ndarray, "h w"], key_area: int, max_growth: float = MAX_GROWTH
) -> str:
    """Return why a mask does not follow its neighbour's; empty where it does.

    >>> mask = np.zeros((8, 8), bool)
    >>> mask[2:6, 2:6] = True
    >>> drift(mask, mask, 16)
    ''
    >>> drift(mask, np.roll(mask, 3, axis=1), 16)
    'has 25% of the smaller mask in common with its neighbour'
    >>> drift(mask, np.ones((8, 8), bool), 16)
    'would be 4.0 times as large as its neighbour'
    """
    own, neighbour = np.count_nonzero(following), np.count_nonzero(before)
    if not own:
        return "shows nothing where its neighbour's mask was"
    overlap = np.count_nonzero(before & following) / max(1, min(own, neighbour))
    if overlap < MIN_OVERLAP:
        return f"has {overlap:.0%} of the smaller mask in common with its neighbour"
    if own > MAX_STEP * neighbour:
        return f"would be {own / neighbour:.1f} times as large as its neighbour"
    if own > max_growth * key_area:
        return f"would be {own / key_area:.1f} times as large as its key slice"
    return ""


def propagate(
    ask: Ask, keys: Mapping[int, Bool[np.ndarray, "h w"]], slices: int, *, reach: int | None = None,
    max_growth: float = MAX_GROWTH, limits: tuple[int, int] | None = None, numbers: Sequence[int] | None = None,
) -> Propagated:  # fmt: skip
    """Follow an object from its key slices, both ways: the box of a mask prompts the next slice.

    Slices between two key slices are reached from both; the nearer one's mask is taken, the other's where that was
    lost. A mask that drifts off (see `drift`) ends its way there and is not kept.

    Args:
        reach: slices beyond each key slice at most; None for all.
        max_growth: area bound, times that of the key slice.
        limits: first and last slice that may be reached; None for all.
        numbers: what messages call each slice; None for its place from 0.
    """
    lowest, highest = limits or (0, slices - 1)
    named = range(slices) if numbers is None else numbers
    found, distance = Propagated(), dict[int, int]()
    for key, first in sorted(keys.items()):
        if first.any():
            found.masks[key], distance[key] = first, 0
    for key, first in sorted(keys.items()):
        for step in (-1, 1):
            mask = first
            last = lowest if step < 0 else highest
            if reach is not None:
                last = max(last, key - reach) if step < 0 else min(last, key + reach)
            for number in range(key + step, last + step, step):
                if number in keys or not mask.any():
                    break
                following = ask(number, tight_box(mask))
                if why := drift(mask, following, int(np.count_nonzero(first)), max_growth):
                    found.stops[key, step] = f"slice {named[number]} {why}"
                    way = "down" if named[number] < named[key] else "up"
                    found.ends.append(f"from slice {named[key]} {way}: {found.stops[key, step]}")
                    break
                mask = following
                if abs(number - key) < distance.get(number, slices):
                    found.masks[number], distance[number] = mask, abs(number - key)
    return found


def copy_keys(
    keys: Mapping[int, Bool[np.ndarray, "h w"]], shown: Int[np.ndarray, " n"], *, reach: int | None = None
) -> dict[int, Bool[np.ndarray, "h w"]]:
    """Return propagation's naive rival: on every slice that shows the object, the nearest key slice's mask as it is.

    It is told where the object begins and ends, which propagation is not, and reaches as far.
    """
    copied = {}
    for number in shown.tolist():
        nearest = min(keys, key=lambda key: abs(key - number))
        if reach is None or abs(nearest - number) <= reach:
            copied[number] = keys[nearest]
    return copied


def choose_keys(areas: Int[np.ndarray, " s"], count: int) -> list[int]:
    """Return the key slices: of one the largest; of several those evenly through the slices that show the object.

    >>> choose_keys(np.array([0, 2, 5, 3, 1, 1, 0]), 1), choose_keys(np.array([0, 2, 5, 3, 1, 1, 0]), 2)
    ([2], [2, 4])
    """
    shown = np.flatnonzero(areas)
    if count == 1 or len(shown) < 2:
        return [int(areas.argmax())]
    at = (np.arange(count) + 0.5) / count * len(shown)
    return sorted({int(shown[int(i)]) for i in at})
