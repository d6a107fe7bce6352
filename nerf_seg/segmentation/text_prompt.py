"""A text as a prompt of the reference view: the best box that a detector of transformers finds for it."""

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core import load_text_detector


def box_of_text(text: str, image: UInt8[np.ndarray, "h w 3"], model: str | None) -> tuple[float, float, float, float]:
    """Return the best-scored box for a text, x1, y1, x2, y2 as shares of the image's width and height.

    Args:
        text: names the object, "the fern".
        image: sRGB.
        model: a Grounding DINO, OWLv2 or SAM 3, as `load_text_detector` takes it.

    Raises:
        CheckpointError, MissingExtra: the detector cannot be had.
        ValueError: nothing is found.
    """
    found = load_text_detector(model).find(image, text, which="best")
    if not found:
        raise ValueError(f"nothing that is {text!r} is found in the reference view: click on it, or give a box")
    height, width = image.shape[:2]
    x1, y1, x2, y2 = found[0].box
    return x1 / width, y1 / height, x2 / width, y2 / height
