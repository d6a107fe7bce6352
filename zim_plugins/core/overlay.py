"""The image of an answer: what was pointed at, and what the matte took."""

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageDraw
from jaxtyping import Float32, UInt8

from zim_plugins.core.prompt import Prompt

if TYPE_CHECKING:
    from zim_plugins.core.automatic import ObjectMatte

OBJECT_TINT = (20, 110, 255)
"""Colour laid over the object, RGB in [0, 255]."""
TINT_OPACITY = 0.5
BACKGROUND_DIMMING = 0.25
"""Share of its brightness that the background loses."""
FOREGROUND_CLICK = (40, 200, 60)
BACKGROUND_CLICK = (230, 40, 40)
BOX_COLOUR = (255, 210, 0)
RELATIVE_CLICK_RADIUS = 0.012
"""Radius of a drawn click as a share of the image's long side."""

BAND_ROWS = 256
"""Rows that are blended at once."""


def draw_overlay(
    rgb: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], *prompts: Prompt
) -> UInt8[np.ndarray, "h w 3"]:
    """Tint the object, dim the rest, and draw the prompts' clicks (green or red) and box (yellow).

    Args:
        rgb: the image in [0, 255].
        alpha: opacity in [0, 1], at the image's size.
        prompts: in pixels of the image.

    Raises:
        ValueError: image and matte differ in size.
    """
    if rgb.shape[:2] != alpha.shape:
        raise ValueError(f"the matte is {alpha.shape}, the image {rgb.shape[:2]} (height, width)")
    blended = np.empty_like(rgb)
    tint = np.float32(TINT_OPACITY) * np.array(OBJECT_TINT, dtype=np.float32)
    for top in range(0, len(rgb), BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        opacity = alpha[rows][..., None]
        mixed = rgb[rows] * np.float32(1 - TINT_OPACITY)
        mixed += tint
        mixed *= opacity
        dimmed = rgb[rows] * np.float32(1 - BACKGROUND_DIMMING)
        dimmed *= 1 - opacity
        mixed += dimmed
        mixed += np.float32(0.5)
        blended[rows] = np.clip(mixed, 0, 255, out=mixed)
    drawn = PIL.Image.fromarray(blended)
    for prompt in prompts:
        _draw_prompt(drawn, prompt)
    return np.array(drawn)


def _draw_prompt(picture: PIL.Image.Image, prompt: Prompt) -> None:
    pen = PIL.ImageDraw.Draw(picture)
    radius_px = max(2.0, RELATIVE_CLICK_RADIUS * max(picture.size))
    line_px = max(1, round(radius_px / 3))
    if prompt.box is not None:
        # Pixel indices of the outermost pixels that the box covers.
        x1, y1 = (max(0, int(v)) for v in prompt.box[:2])
        x2, y2 = (min(side, int(np.ceil(v))) - 1 for v, side in zip(prompt.box[2:], picture.size, strict=True))
        pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=BOX_COLOUR, width=line_px)
    if prompt.points is not None and prompt.labels is not None:
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            colour = FOREGROUND_CLICK if label == 1 else BACKGROUND_CLICK
            extent = (x - radius_px, y - radius_px, x + radius_px, y + radius_px)
            pen.ellipse(extent, fill=colour, outline="white", width=line_px)


def draw_objects(rgb: UInt8[np.ndarray, "h w 3"], objects: "Sequence[ObjectMatte]") -> UInt8[np.ndarray, "h w 3"]:
    """Tint each object in a colour of its own, the best-scored last, and dim the rest."""
    shown = rgb * np.float32(1 - BACKGROUND_DIMMING)
    for index, found in reversed(list(enumerate(objects))):
        hue = index * 0.618034 % 1.0  # the golden section: neighbours in rank differ most
        colour = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.85, 1.0), dtype=np.float32)
        x1, y1, x2, y2 = found.box
        opacity = found.alpha[..., None]
        tinted = rgb[y1:y2, x1:x2] * np.float32(1 - TINT_OPACITY) + np.float32(TINT_OPACITY) * colour
        shown[y1:y2, x1:x2] = opacity * tinted + (1 - opacity) * shown[y1:y2, x1:x2]
    return (shown + 0.5).clip(0, 255).astype(np.uint8)
