"""Overlays of an answer: what was pointed at, and what the matte took."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging.overlay import dim, draw_marks, object_colour, tint
from zim_plugins.imaging.ranges import ImageArray

if TYPE_CHECKING:
    from zim_plugins.core.automatic import ObjectMatte


def draw_overlay(
    rgb: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], *prompts: Prompt
) -> UInt8[np.ndarray, "h w 3"]:
    """Tint the object, dim the rest, and draw the prompts' clicks (green or red) and box (yellow).

    >>> draw_overlay(np.full((1, 2, 3), 100, np.uint8), np.array([[0, 1]], np.float32)).tolist()
    [[[75, 75, 75], [60, 105, 178]]]

    Args:
        rgb: the image in [0, 255].
        alpha: opacity in [0, 1], at the image's size.
        prompts: in pixels of the image.

    Raises:
        ValueError: image and matte differ in size.
    """
    drawn = tint(rgb, alpha, backdrop=dim(rgb))
    for prompt in prompts:
        drawn = draw_prompt(drawn, prompt)
    return drawn


def draw_prompt(
    image: ImageArray, prompt: Prompt, *, scale: tuple[float, float] = (1.0, 1.0)
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image with a prompt's clicks and box; a coarse matte is not drawn.

    >>> draw_prompt(np.zeros((9, 9, 3), np.uint8), Prompt.from_point(4, 4))[4, 4].tolist()
    [40, 200, 60]

    Args:
        image: RGB.
        prompt: in pixels of the original.
        scale: pixels of the image for one of the original, along x and y.
    """
    row = prompt.to_json()
    return draw_marks(image, clicks=row.get("points", ()), boxes=[row["box"]] if "box" in row else (), scale=scale)


def draw_objects(rgb: UInt8[np.ndarray, "h w 3"], objects: "Sequence[ObjectMatte]") -> UInt8[np.ndarray, "h w 3"]:
    """Tint each object in a colour of its own, the best-scored last, and dim the rest."""
    shown = dim(rgb)
    for index, found in reversed(list(enumerate(objects))):
        x1, y1, x2, y2 = found.box
        window = slice(y1, y2), slice(x1, x2)
        shown[window] = tint(rgb[window], found.alpha, object_colour(index), backdrop=shown[window])
    return shown
