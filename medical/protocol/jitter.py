"""Jitter: boxes and clicks moved at random, by generators that depend on what they are for."""

import zlib

import numpy as np
from jaxtyping import Bool

from .clickers import PixelClick
from .prompt_modes import Box


def jitter_box(box: Box, size: tuple[int, int], jitter_px: int, rng: np.random.Generator, *, outward: bool) -> Box:
    """Each side moved by up to `jitter_px` at random, inside the image and at least one pixel wide.

    Args:
        box: x1, y1, x2, y2, exclusive at the far edge.
        size: (H, W) of the image [px].
        jitter_px: largest shift of a side.
        rng: of this object and prompt.
        outward: only outwards, as MedSAM does (20 px of 1024); else both ways, as Medical SAM Adapter does.
    """
    moved = rng.integers(0 if outward else -jitter_px, jitter_px + 1, size=4) * np.array([-1, -1, 1, 1])
    x1, y1, x2, y2 = np.asarray(box) - [0, 0, 1, 1] + moved  # the outermost pixels inside
    x1, x2 = np.clip([x1, x2], 0, size[1] - 1)
    y1, y2 = np.clip([y1, y2], 0, size[0] - 1)
    return int(min(x1, x2)), int(min(y1, y2)), int(max(x1, x2)) + 1, int(max(y1, y2)) + 1


def jitter_click(
    click: PixelClick, mask: Bool[np.ndarray, "h w"], jitter_px: int, rng: np.random.Generator
) -> PixelClick:
    """Return a click moved to one of the object's pixels that lie within `jitter_px` along both axes, at random."""
    top, left = max(0, click.y - jitter_px), max(0, click.x - jitter_px)
    ys, xs = np.nonzero(mask[top : click.y + jitter_px + 1, left : click.x + jitter_px + 1])
    if not len(xs):
        return click
    chosen = int(rng.integers(len(xs)))
    return PixelClick(left + int(xs[chosen]), top + int(ys[chosen]), click.positive)


def rng_of(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on what it is for, not on what was drawn before: the order of work changes nothing."""
    return np.random.default_rng([seed, zlib.crc32("\x1f".join(str(name) for name in names).encode())])
