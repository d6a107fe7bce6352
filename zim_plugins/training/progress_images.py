"""Images of a run's progress: input with its prompt, the model's matte, the target, side by side."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor

from zim_plugins.core.overlay import draw_overlay
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.tokens import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND
from zim_plugins.core.transforms import PIXEL_MEAN, PIXEL_STD
from zim_plugins.imaging.overlay import grey, joined


def from_standardised(image: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The sRGB image that a network's input was made from; padding becomes the mean colour."""
    rgb = image.float().permute(1, 2, 0).numpy() * np.array(PIXEL_STD) + np.array(PIXEL_MEAN)
    return (rgb + 0.5).clip(0, 255).astype(np.uint8)


def prompt_of_tokens(coords: Float[Tensor, "n 2"], labels: Int[Tensor, " n"]) -> Prompt:
    """The prompt that tokens stand for, in their frame [px]."""
    xy, kinds = coords.double().numpy(), labels.numpy()
    clicked = (kinds == FOREGROUND) | (kinds == BACKGROUND)
    box = None
    if (kinds == BOX_TOP_LEFT).any():
        box = np.concatenate([xy[kinds == BOX_TOP_LEFT][0], xy[kinds == BOX_BOTTOM_RIGHT][0]])
    if not clicked.any():
        return Prompt(box=box)
    return Prompt(points=xy[clicked], labels=kinds[clicked], box=box)


def strip(
    rgb: UInt8[np.ndarray, "h w 3"], maps: Sequence[Float32[np.ndarray, "h w"]], prompt: Prompt | None = None
) -> UInt8[np.ndarray, "h w_all 3"]:
    """The image with the first map laid over it and the prompt drawn, then every map in grey."""
    drawn = draw_overlay(rgb, maps[0].clip(0, 1), *([] if prompt is None else [prompt]))
    return joined([drawn, *(grey(m.clip(0, 1)) for m in maps)], gap_px=0)
