"""Images with a known truth: a cut-out laid over a photograph, so that what is behind the object is on record."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core import ImageError, composite, read_image
from zim_plugins.imaging import from_unit, to_unit

from .cases import Case, Listed

if TYPE_CHECKING:
    import PIL.Image

MAX_SIDE_PX = 480
"""Backgrounds are reduced to this longer side [px]."""
SHARES = (0.45, 0.8)
"""The cut-out fits into this share of the background's sides, drawn for each composite."""
TOUCH = 0.5
"""Opacity above which a cut-out touches its own edge: it is laid flush with that edge of the background."""

Half = Literal["choose", "report"]
"""Cut-outs and backgrounds are split in two by their names: settings are chosen on one half, reported on the other."""


@dataclass(frozen=True)
class Recipe:
    """Pairing of one cut-out with one background."""

    key: str
    cutout: str
    """Source of an RGBA image, for `read_image`."""
    background: str
    half: Half


def half_of(source: str) -> Half:
    """The half that a cut-out or background belongs to, by its name alone."""
    return "choose" if _hash(_stem(source)) % 2 == 0 else "report"


def plan_composites(
    cutouts: Sequence[str], backgrounds: Sequence[str], *, per_cutout: int = 2, halves: Sequence[Half] = ("report",)
) -> list[Recipe]:
    """Pair each cut-out with backgrounds of its own half; the same sources give the same pairs.

    Args:
        cutouts: sources of RGBA images.
        backgrounds: sources of photographs.
        per_cutout: backgrounds for each.
        halves: the halves that are wanted.

    Raises:
        ValueError: `per_cutout` is below 1, or no pair comes about.
    """
    if per_cutout < 1:
        raise ValueError(f"each cut-out needs at least one background, got {per_cutout}")
    recipes = []
    for cutout in cutouts:
        half = half_of(cutout)
        if half not in halves:
            continue
        own = [source for source in backgrounds if half_of(source) == half]
        drawn = sorted(own, key=lambda source: _hash(f"{_stem(cutout)} {_stem(source)}"))
        for source in drawn[:per_cutout]:
            recipes.append(Recipe(f"{_stem(cutout)}--{_stem(source)}", cutout, source, half))
    if not recipes:
        raise ValueError(
            f"{len(cutouts)} cut-outs and {len(backgrounds)} backgrounds give no pair in {', '.join(halves)}: "
            "name more of them, or both halves"
        )
    return recipes


def list_composites(recipes: Sequence[Recipe], *, max_side_px: int = MAX_SIDE_PX) -> list[Listed]:
    """The composites as cases; their subset is the half."""
    return [
        Listed(r.key, (r.cutout, r.background), partial(make_composite, r, max_side_px=max_side_px), subset=r.half)
        for r in recipes
    ]


def make_composite(recipe: Recipe, *, max_side_px: int = MAX_SIDE_PX) -> Case:
    """Lay the cut-out over the background, at a size and place drawn from the recipe's key.

    Raises:
        ImageError: an image cannot be read, or the cut-out has no opacity of its own.
    """
    from PIL import Image

    rgba = _read_rgba(recipe.cutout)
    clean = _reduced(Image.fromarray(read_image(recipe.background).rgb), max_side_px)
    rng = np.random.default_rng(_hash(recipe.key))
    share = rng.uniform(*SHARES)
    height, width = clean.shape[:2]
    scale = min(1.0, share * width / rgba.width, share * height / rgba.height)
    # Pillow averages premultiplied colours, so that what is clear lends none.
    rgba = rgba.resize((max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale))), Image.Resampling.BOX)
    layer = np.asarray(rgba, dtype=np.float32) / np.float32(255.0)
    opacity = layer[..., 3]
    y = _place(height - layer.shape[0], opacity.max(axis=1), rng)
    x = _place(width - layer.shape[1], opacity.max(axis=0), rng)
    window = (slice(y, y + layer.shape[0]), slice(x, x + layer.shape[1]))
    alpha, foreground = np.zeros((height, width), np.float32), np.zeros((height, width, 3), np.float32)
    alpha[window], foreground[window] = opacity, layer[..., :3]
    return Case(from_unit(composite(foreground, alpha, to_unit(clean))), alpha, clean, foreground)


def _read_rgba(source: str) -> "PIL.Image.Image":
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source) as image:
            if "A" not in image.getbands():
                raise ImageError(f"{source} has no alpha channel: a cut-out says how opaque each pixel is")
            return image.convert("RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise ImageError(f"cannot read {source}: {error}") from error


def _place(room_px: int, profile: Float32[np.ndarray, " n"], rng: np.random.Generator) -> int:
    """Return where the cut-out begins along one side; a cut-out that is cut off stands at the edge."""
    drawn = int(rng.integers(room_px + 1))
    if profile[-1] > TOUCH:
        return room_px
    return 0 if profile[0] > TOUCH else drawn


def _reduced(image: "PIL.Image.Image", max_side_px: int) -> UInt8[np.ndarray, "h w 3"]:
    from PIL import Image

    scale = min(1.0, max_side_px / max(image.size))
    if scale == 1.0:
        return np.asarray(image)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.BOX))


def _stem(source: str) -> str:
    return source.partition(":")[2] if source.startswith("sample:") else Path(source).stem


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
