"""Inpainter: anything that fills a hole, and the register of those that are at hand."""

import logging
from dataclasses import dataclass, fields
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
    """Weight of the prompt (classifier-free guidance), at least 0."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps are at least 1, got {self.steps}")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise ValueError(f"the strength is in (0, 1], got {self.strength:g}")
        if self.guidance is not None and not self.guidance >= 0:
            raise ValueError(f"the guidance is at least 0, got {self.guidance:g}")


@runtime_checkable
class AdjustableInpainter(GuidedInpainter, Protocol):
    """A filler that can be told how to go about it."""

    def with_settings(self, settings: FillSettings) -> GuidedInpainter:
        """The same filler with other settings; nothing is loaded again."""
        ...


def adjusted(inpainter: Inpainter, settings: FillSettings) -> Inpainter:
    """Give a filler the settings of one call; a seed alone is nothing to one that knows no chance.

    Raises:
        UnsupportedPrompt: it can be told none of them.
    """
    if isinstance(inpainter, AdjustableInpainter):
        return inpainter.with_settings(settings)
    refuse_settings(inpainter, settings)
    return inpainter


def refuse_settings(inpainter: Inpainter, settings: FillSettings) -> None:
    """Raises: UnsupportedPrompt for settings, other than a seed, that only a diffusion model could follow."""
    names = [field.name for field in fields(settings) if field.name != "seed"]
    if given := [name for name in names if getattr(settings, name) not in (None, "")]:
        raise UnsupportedPrompt(
            f"the filler {inpainter.name} takes no {', '.join(given)}: that is for diffusion models (sd15, sdxl, ...)"
        )


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


LOCAL_NAMES = ("lama", "lama-cleaner", "patchmatch", "cv2")
"""Fillers without a text, best first."""


def inpainter_names() -> tuple[str, ...]:
    """The fixed names that `load_inpainter` knows, besides `auto`."""
    from .weights import DIFFUSION_MODELS

    return (*LOCAL_NAMES, *DIFFUSION_MODELS)


def load_inpainter(name: str = "auto", *, device: str = "auto", settings: FillSettings | None = None) -> Inpainter:
    """Make a filler by name; `auto` takes the best that is at hand, and the log says which and why.

    Nothing is fetched from a network, but for a server's answers.

    Args:
        name: auto; lama, lama-cleaner, patchmatch or cv2; the address of a lama-cleaner or IOPaint server
            (http://host:port); sd15, sd2, sdxl, flux-fill, or a folder that holds a diffusers pipeline; or a filler
            without a text and one of these, as in lama+sdxl: a first fill, repainted at low strength.
        device: auto, cpu or cuda[:N], for fillers that run a network here.
        settings: seed, steps and the like.

    Raises:
        ValueError: no filler has this name, or the device is not here.
        MissingExtra: its package is not installed.
        CheckpointError: its weights are not here, or are not the right ones.
        ServerError: no server answers.
        UnsupportedPrompt: settings for a diffusion model were given to another filler.
    """
    chosen, reason = choose_backend(name)
    inpainter = _make(chosen, device, settings or FillSettings())
    if settings is not None and not isinstance(inpainter, AdjustableInpainter):
        refuse_settings(inpainter, settings)
    _log.info("filling with %s: %s", chosen, reason)
    return inpainter


def choose_backend(name: str = "auto") -> tuple[str, str]:
    """Resolve `auto` to a filler's name, and tell why in a few words; nothing is loaded.

    Raises:
        ValueError: no filler has this name.
    """
    if name == "auto":
        return _best_at_hand()
    first, plus, second = name.partition("+")
    if name in LOCAL_NAMES or _follows_text(name) or (plus and first in LOCAL_NAMES and _follows_text(second)):
        return name, "as asked"
    raise ValueError(
        f"no filler is called {name!r}: take one of auto, {', '.join(inpainter_names())}, http://HOST:PORT of a "
        "lama-cleaner or IOPaint server, a folder that holds a diffusers pipeline, or two as in lama+sdxl"
    )


def _follows_text(name: str) -> bool:
    from .pretrained import is_diffusion_name

    return name.startswith(("http://", "https://")) or is_diffusion_name(name)


def _best_at_hand() -> tuple[str, str]:
    from .weights import lama_file

    if (path := lama_file().path).is_file():
        return "lama", f"its weights are at {path}"
    if find_spec("patchmatch") is None and find_spec("cv2") is not None:
        return "cv2", "PyPatchMatch is missing (pip install 'zim-plugins[inpaint]'); expect smears"
    return "patchmatch", "the best that needs no weights (LaMa's are fetched by `zim-inpaint --download lama`)"


def _make(name: str, device: str, settings: FillSettings) -> Inpainter:
    """Make the filler of a valid name."""
    if name == "patchmatch":
        from .patchmatch import PatchMatchInpainter

        return PatchMatchInpainter(seed=settings.seed)
    if name == "cv2":
        from .telea import TeleaInpainter

        return TeleaInpainter()
    if name == "lama":
        from .lama import LamaInpainter

        return LamaInpainter(device=device)
    if name == "lama-cleaner":
        from .lama_cleaner import LamaCleanerInpainter

        return LamaCleanerInpainter(device=device)
    if name.startswith(("http://", "https://")):
        from .lama_server import ServerInpainter

        return ServerInpainter(name, settings=settings)
    first, plus, second = name.partition("+")
    if plus and first in LOCAL_NAMES:
        from .prefill import PrefilledInpainter, gently

        followed = as_guided(_make(second, device, gently(settings)))
        return PrefilledInpainter(_make(first, device, settings), followed)
    from .diffusion import DiffusionInpainter

    return DiffusionInpainter.from_pretrained(name, device=device, settings=settings)
