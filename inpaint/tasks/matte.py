"""The matte of what a task is about: one object or several, by prompts or by mattes that exist."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.core import Predictor, Prompt
from zim_plugins.imaging import window_of

from ..pixels.hole import GROW_PX, TAU, matte_hole
from ..pixels.tiles import ColourImage, to_8_bits

Target = Prompt | Float32[np.ndarray, "h w"] | Sequence[Prompt | Float32[np.ndarray, "h w"]]
"""What a task is about: a prompt, a matte in [0, 1] at the image's size, or several of these."""


def matte_of(image: ColourImage, target: Target, predictor: Predictor | None = None) -> Float32[np.ndarray, "h w"]:
    """The opacity of all objects of a target together: 1 - (1 - a)(1 - b)...

    Args:
        image: RGB; the models see sRGB.
        target: what the objects are.
        predictor: turns prompts into mattes; the best one on this machine by default.

    Raises:
        ValueError: a prompt or a matte does not fit the image, or there is none.
    """
    parts = [target] if isinstance(target, Prompt | np.ndarray) else list(target)
    if not parts:
        raise ValueError("no object: give a prompt or a matte")
    size = image.shape[0], image.shape[1]
    union: Float32[np.ndarray, "h w"] | None = None
    is_set = False
    for part in parts:
        if isinstance(part, Prompt):
            part.check_inside(size)
            predictor = predictor or _default_predictor()
            if not is_set:
                predictor.set_image(to_8_bits(image))
                is_set = True
            alpha = predictor.predict(part).alpha
        else:
            alpha = part
        if alpha.shape != size:
            raise ValueError(f"the matte is {alpha.shape}, the image {size} (height, width)")
        union = alpha if union is None else union + alpha - union * alpha
    assert union is not None
    return union


def hole_of(alpha: Float32[np.ndarray, "h w"], *, tau: float = TAU, grow_px: int = GROW_PX) -> Bool[np.ndarray, "h w"]:
    """`matte_hole`, worked out where the matte is, not on all of a large image."""
    near = window_of(alpha > tau, margin_px=max(0, grow_px) + 1)
    if near[0].stop == 0:
        return matte_hole(alpha, tau=tau, grow_px=grow_px)  # which says that it is empty
    hole = np.zeros(alpha.shape, dtype=bool)
    hole[near] = matte_hole(np.ascontiguousarray(alpha[near]), tau=tau, grow_px=grow_px)
    return hole


def _default_predictor() -> Predictor:
    from zim_plugins.core import load_predictor

    return load_predictor()
