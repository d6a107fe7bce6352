"""Refiner: anything that improves one matte of one image; and the words by which users name refiners."""

import importlib
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.prompt import Prompt
from zim_plugins.core.refinement.colour import ColourRefinement

WORDS = "auto, colour, none, converter[:FILE] or vitmatte[:NAME_OR_FOLDER]"
"""What --refine takes."""
PLACES = {
    "vitmatte": "zim_plugins.core.refinement.vitmatte:load_refiner",
    "converter": "zim_plugins.label_converter.refiner:load_refiner",
}
"""Where refiners with weights are made, imported when they are asked for; the converter stands on the core."""


@runtime_checkable
class Refiner(Protocol):
    """Anything that improves one matte of one image."""

    @property
    def wants_uncertainty(self) -> bool:
        """Return whether a hard segmenter should hand over the sigmoid of its logits in place of 0 and 1."""
        ...

    def refine(
        self, image: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], prompt: Prompt | None = None
    ) -> Float32[np.ndarray, "h w"]:
        """Return the better matte, opacity in [0, 1]."""
        ...


def check_refinement(words: str) -> None:
    """Raise ValueError where `words` names no refinement; nothing is loaded.

    >>> check_refinement("vitmatte:hustvl/vitmatte-base-composition-1k")
    """
    if not isinstance(words, str):
        raise TypeError(f"refine is {WORDS}, got {type(words).__name__}")
    kind, colon, name = words.partition(":")
    if kind not in ("auto", "colour", "none", *PLACES) or (colon and (kind not in PLACES or not name)):
        raise ValueError(f"refine is {WORDS}, got {words!r}")


def load_refiner(words: str, *, device: str = "cpu") -> Refiner | None:
    """Return the refiner that `words` names, ready to refine; None for "none".

    Args:
        words: "colour", "none", "converter[:FILE]" or "vitmatte[:NAME_OR_FOLDER]".
        device: a torch device.

    Raises:
        ValueError: the words name none.
        CheckpointError: its weights cannot be had.
        MissingExtra: what it runs on is not installed.

    >>> load_refiner("colour")
    ColourRefinement(side_px=256, context=0.3, components=5, rounds=3, sweeps=3, colour=0.8, smoothness=6.0, \
radius_px=4, ratio_limit=5.0, speck=0.05, least_px=64, contrast=1.1, \
certainty=40.0, reach=1.0, enclosed=0.3)
    """
    check_refinement(words)
    kind, _, name = words.partition(":")
    if kind == "none":
        return None
    if kind == "colour":
        return ColourRefinement()
    if kind not in PLACES:
        raise ValueError(f"{words!r} is decided by the model: name a refinement")
    module, _, function = PLACES[kind].partition(":")
    return getattr(importlib.import_module(module), function)(name or None, device=device)
