"""Inpainter: anything that fills a hole."""

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from zim_plugins.core import UnsupportedPrompt

Rgb = UInt8[np.ndarray, "h w 3"]
"""An image in [0, 255]."""
Hole = Bool[np.ndarray, "h w"]
"""True means repaint."""
Change = Float32[np.ndarray, "h w"]
"""How much of each pixel may change, in [0, 1]: 0 keeps it, 1 paints it anew. It is read inside the hole only."""


@runtime_checkable
class Inpainter(Protocol):
    """A filler of holes; it invents what was never seen.

    A filler paints the image it is given, at the size it is given: crops and scaling are the caller's
    (`pixels.crops`). It pads where its model needs it, and never squeezes.

    >>> class White:
    ...     name, work_side_px = "white", None
    ...     def fill(self, image, hole): return np.where(hole[..., None], np.uint8(255), image)
    >>> isinstance(White(), Inpainter)
    True
    """

    name: str
    """What the command line and records call it."""
    work_side_px: int | None
    """Longer side [px] of the images it works best on; larger crops are better shrunk to it. None: any size."""

    def fill(self, image: Rgb, hole: Hole) -> Rgb:
        """Repaint the pixels where `hole` is True; all others are returned byte by byte as they came.

        Raises:
            ValueError: the hole covers the whole image.
        """
        ...


@runtime_checkable
class GuidedInpainter(Inpainter, Protocol):
    """A filler that can be told what to paint.

    >>> class Painter(Inpainter):
    ...     name, work_side_px = "painter", None
    ...     def fill(self, image, hole): return np.where(hole[..., None], np.uint8(255), image)
    ...     def fill_guided(self, image, hole, *, prompt="", change=None): return self.fill(image, hole)
    >>> isinstance(Painter(), GuidedInpainter)
    True
    """

    def fill_guided(self, image: Rgb, hole: Hole, *, prompt: str = "", change: Change | None = None) -> Rgb:
        """Repaint the hole by a text; all other pixels are returned byte by byte as they came.

        Args:
            image: RGB.
            hole: what to repaint. It may cover the whole image.
            prompt: what the hole shall show.
            change: how much of each pixel may change; all of it by default.

        Raises:
            UnsupportedPrompt: the model behind this filler takes no text, or no soft map.
        """
        ...


@dataclass(frozen=True)
class FillSettings:
    """Settings of fillers that take any. None leaves a number to the filler.

    >>> FillSettings(seed=7).seed
    7
    """

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


def refuse_a_full_hole(hole: Hole) -> None:
    """Raises: ValueError where nothing is left to fill from."""
    if hole.all():
        raise ValueError("the hole covers the whole image: nothing is left to fill it from")


def paste(image: Rgb, painted: Rgb, hole: Hole) -> Rgb:
    """Take the hole from `painted` and all other pixels, byte by byte, from `image`."""
    return np.where(hole[..., None], painted, image)
