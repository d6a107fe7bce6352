"""Pre-fill: a first filler takes the object away, a diffusion model repaints the place at low strength.

A diffusion model that is asked to fill a hole without a text often invents another object; started from a plain fill,
it adds texture and leaves the content.
"""

from dataclasses import replace

from .base import Change, FillSettings, GuidedInpainter, Hole, Inpainter, Rgb, adjusted, as_guided

STRENGTH = 0.5
"""How far the diffusion model leaves the first fill, unless it is told."""


class PrefilledInpainter:
    """Fill with `first`, then repaint with `second`, which should work at a strength well below 1.

    Args:
        first: needs no text; its fill is where `second` starts.
        second: a diffusion model.
    """

    def __init__(self, first: Inpainter, second: GuidedInpainter) -> None:
        self.first = first
        self.second = second
        self.name = f"{first.name}+{second.name}"
        self.work_side_px: int | None = second.work_side_px

    def fill(self, image: Rgb, hole: Hole) -> Rgb:
        """Repaint the hole; see `Inpainter.fill`."""
        return self.second.fill(self.first.fill(image, hole), hole)

    def fill_guided(self, image: Rgb, hole: Hole, *, prompt: str = "", change: Change | None = None) -> Rgb:
        """Repaint the hole by a text; see `GuidedInpainter.fill_guided`."""
        return self.second.fill_guided(self.first.fill(image, hole), hole, prompt=prompt, change=change)

    def with_settings(self, settings: FillSettings) -> "PrefilledInpainter":
        """The same two fillers, the second with other settings."""
        return PrefilledInpainter(self.first, as_guided(adjusted(self.second, gently(settings))))


def gently(settings: FillSettings) -> FillSettings:
    """The settings of a second filler: at `STRENGTH`, unless another is asked for."""
    return replace(settings, strength=STRENGTH if settings.strength is None else settings.strength)
