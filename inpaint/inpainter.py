"""Inpainter: anything that fills a hole, and the register of those that are at hand."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core import UnsupportedPrompt

_log = logging.getLogger(__name__)


@runtime_checkable
class Inpainter(Protocol):
    """A filler of holes; it invents what was never seen.

    A filler paints the picture it is given, at the size it is given: crops and scaling are the caller's
    (`crops.fill_by_crops`). It pads where its model needs it, and never squeezes.
    """

    name: str
    """What the command line and records call it."""
    work_side_px: int | None
    """Longer side [px] of the pictures it works best on; larger crops are better shrunk to it. None: any size."""

    def fill(self, image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        """Repaint the pixels where `hole` is True; all others are returned byte by byte as they came.

        Args:
            image: RGB.
            hole: True means repaint.

        Raises:
            ValueError: the hole covers the whole picture.
        """
        ...


@runtime_checkable
class GuidedInpainter(Inpainter, Protocol):
    """A filler that can be told what to paint."""

    def fill_guided(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        hole: Bool[np.ndarray, "h w"],
        *,
        prompt: str = "",
        change: Float32[np.ndarray, "h w"] | None = None,
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Repaint the hole by a text; all other pixels are returned byte by byte as they came.

        Args:
            image: RGB.
            hole: True means repaint. It may cover the whole picture.
            prompt: what the hole shall show.
            change: how much of each pixel may change, in [0, 1]: 0 keeps it, 1 paints it anew; the hole by default.
                It is read inside the hole only.

        Raises:
            UnsupportedPrompt: the model behind this filler takes no text, or no soft map.
        """
        ...


@dataclass(frozen=True)
class FillSettings:
    """How fillers go about it, for those that can be told. None leaves a number to the filler."""

    seed: int = 0
    """Of all that is random: the same input and seed give the same fill on the same machine."""
    negative_prompt: str = ""
    """What a diffusion model shall not paint."""
    steps: int | None = None
    """Denoising steps."""
    strength: float | None = None
    """How far a diffusion model leaves what is in the hole, in (0, 1]: 1 starts from noise."""
    guidance: float | None = None
    """Weight of the prompt (classifier-free guidance)."""


def as_guided(inpainter: Inpainter) -> GuidedInpainter:
    """Take a filler as one that follows a text.

    Raises:
        UnsupportedPrompt: it cannot; the message names fillers that can.
    """
    if isinstance(inpainter, GuidedInpainter):
        return inpainter
    raise UnsupportedPrompt(
        f"the filler {inpainter.name} takes no text: choose a diffusion model "
        "(--backend sd15, sdxl, flux-fill, or a folder that holds a diffusers pipeline)"
    )


def refuse_a_full_hole(hole: Bool[np.ndarray, "h w"]) -> None:
    """Raises: ValueError where nothing is left to fill from."""
    if hole.all():
        raise ValueError("the hole covers the whole picture: nothing is left to fill it from")


def paste(
    image: UInt8[np.ndarray, "h w 3"], painted: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Take the hole from `painted` and all other pixels, byte by byte, from `image`."""
    return np.where(hole[..., None], painted, image)


@dataclass(frozen=True)
class _Entry:
    """One filler: how it is made, what it needs, and how it is praised."""

    make: Callable[[str, FillSettings], Inpainter]
    """(device, settings) -> filler."""
    module: str
    """Import name of the package it needs."""
    reason: str
    """Why `auto` takes it, when it does."""


def _make_patchmatch(device: str, settings: FillSettings) -> Inpainter:
    from .patchmatch import PatchMatchInpainter

    return PatchMatchInpainter(seed=settings.seed)


def _make_telea(device: str, settings: FillSettings) -> Inpainter:
    from .telea import TeleaInpainter

    return TeleaInpainter()


_REGISTER: dict[str, _Entry] = {
    "patchmatch": _Entry(_make_patchmatch, "patchmatch", "the best filler that needs no weights"),
    "cv2": _Entry(_make_telea, "cv2", "PyPatchMatch is missing (pip install 'zim-plugins[inpaint]'); expect smears"),
}
"""Fillers by name, best first: `auto` takes the first whose package is there."""


def inpainter_names() -> tuple[str, ...]:
    """Names that `load_inpainter` knows, besides `auto`."""
    return tuple(_REGISTER)


def load_inpainter(name: str = "auto", *, device: str = "auto", settings: FillSettings | None = None) -> Inpainter:
    """Make a filler by name; `auto` takes the best that is installed, and the log says which and why.

    Args:
        name: see `choose_backend`.
        device: auto, cpu or cuda[:N], for fillers that run a network.
        settings: seed, steps and the like.

    Raises:
        ValueError: no filler has this name.
        MissingExtra: its package is not installed.
    """
    chosen, reason = choose_backend(name)
    inpainter = _REGISTER[chosen].make(device, settings or FillSettings())
    _log.info("filling with %s: %s", chosen, reason)
    return inpainter


def choose_backend(name: str = "auto") -> tuple[str, str]:
    """Resolve `auto` to a filler's name, and tell why in a few words; nothing is loaded.

    Raises:
        ValueError: no filler has this name.
    """
    if name != "auto":
        if name not in _REGISTER:
            raise ValueError(f"no filler is called {name!r}: take one of auto, {', '.join(_REGISTER)}")
        return name, "as asked"
    for candidate, entry in _REGISTER.items():
        if find_spec(entry.module) is not None:
            return candidate, entry.reason
    return next(iter(_REGISTER)), "the default"
