"""Targets: the objects of an image, as the command line or a list names them; prompts once the image is read."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.core.prompt_text import PromptText
from zim_plugins.errors import ImageError
from zim_plugins.imaging.formats import is_image
from zim_plugins.imaging.masks import mask_path

if TYPE_CHECKING:
    from zim_plugins.core.prompt import Prompt

MASK_WORDS = ("mask", "matte", "alpha", "scribble")
"""What a mask's name may add to its image's, after an underscore or a hyphen."""
_DRAWN = 0.5
"""Opacity above which a pixel of a scribble file is a stroke."""


@dataclass(frozen=True)
class Target:
    """One object of an image; the salient one where nothing names it."""

    text: PromptText | None = None
    """Clicks, a box, or both."""
    mask: str | None = None
    """File of a coarse matte to refine."""
    scribble: str | None = None
    """File of strokes, at the image's size."""
    missing: str = ""
    """What is wrong where a folder holds no file for the image."""

    def prompt(self, size: tuple[int, int]) -> "Prompt":
        """Return the prompt on an image of `size` (H, W) [px]; the files are read.

        Raises:
            ValueError: it does not fit the image.
            ImageError: a file cannot be read.
        """
        from zim_plugins.core.prompt import Prompt

        if self.missing:
            raise ImageError(self.missing)
        prompts = [] if self.text is None else [self.text.on(size)]
        if self.scribble is not None:
            prompts.append(read_scribble(self.scribble, size))
        if self.mask is not None:
            prompts.append(Prompt(alpha=read_coarse(self.mask, size)))
        if not prompts:
            return Prompt.salient()
        merged = Prompt.union(*prompts)
        merged.check_inside(size)
        return merged

    def to_json(self) -> dict[str, Any]:
        """Return what names the object, with the digests of files that do, for records of results."""
        row = {} if self.text is None else self.text.to_json()
        for key, path in (("mask", self.mask), ("scribble", self.scribble)):
            if path is not None:
                row[key] = _digest(path)
        return row or {"salient": True}


def read_coarse(path: str, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """Read a coarse matte for an image of `size` (H, W) [px]; one of the same shape in other pixels is resized.

    Raises:
        ImageError: it cannot be read, is empty, or shows something of another shape.
    """
    from zim_plugins.imaging.masks import read_mask

    alpha = read_mask(path).alpha
    if not alpha.any():
        raise ImageError(f"the mask {path} is empty: nothing is white in it")
    return _fitted(alpha, path, size)


def read_scribble(path: str, size: tuple[int, int]) -> "Prompt":
    """Read strokes as clicks: white or green on the object, red on the background; black or clear is nothing.

    Raises:
        ImageError: it cannot be read, or shows no stroke.
        ValueError: it is of another size than the image, or no stroke is on the object.
    """
    from zim_plugins.core.prompt import Prompt

    on_object, on_background = _strokes(path)
    if on_object.shape != size:
        raise ImageError(_sizes(path, (on_object.shape[0], on_object.shape[1]), size))
    if not on_object.any():
        raise ImageError(f"the scribble {path} shows no stroke on the object, in white or green")
    prompt = Prompt.from_scribble_mask(on_object)
    return prompt.merged(Prompt.from_scribble_mask(on_background, label=0)) if on_background.any() else prompt


def _strokes(path: str) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    from zim_plugins.imaging.raster import read_original

    original = read_original(path)
    rgb = original.rgb.astype(np.int16)
    opacity = original.opacity()
    drawn = np.ones(rgb.shape[:2], bool) if opacity is None else opacity > _DRAWN
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    is_red = (red > 127) & (green < 128) & (blue < 128)
    return drawn & (green > 127), drawn & is_red


def _fitted(alpha: Float32[np.ndarray, "h w"], path: str, size: tuple[int, int]) -> Float32[np.ndarray, "s t"]:
    if alpha.shape == size:
        return alpha
    scales = size[0] / alpha.shape[0], size[1] / alpha.shape[1]
    # A mask made on a reduced copy: its sides are the image's within a pixel's rounding.
    if abs(alpha.shape[0] * scales[1] - size[0]) > max(1.0, scales[1]):
        raise ImageError(_sizes(path, (alpha.shape[0], alpha.shape[1]), size))
    import PIL.Image

    resized = PIL.Image.fromarray(alpha).resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32).clip(0, 1)


def _sizes(path: str, own: tuple[int, int], wanted: tuple[int, int]) -> str:
    return f"{path} is {own[1]}x{own[0]} px, the image {wanted[1]}x{wanted[0]} px"


def files_for(given: str, sources: Sequence[str], names: Sequence[str], option: str) -> list[str | None]:
    """Return which file of `--mask` or `--scribble` belongs to each image; None where a folder holds none.

    A file serves one image. In a folder, that of `a/x.jpg` is `a/x.*`, else `x.*`; a name may end in `_mask`, `_matte`,
    `_alpha` or `_scribble`.

    Args:
        given: the option's value, a file or a folder.
        names: of their results, as `output_names` gives them.
        option: for messages.

    Raises:
        ImageError: a file for several images, or a folder that holds a file for none.
    """
    if not Path(given).is_dir():
        if len(sources) > 1:
            raise ImageError(f"{option} {given} is one file and belongs to one image, {len(sources)} are given")
        return [given]
    held: dict[str, list[str]] = {}
    for folder, _, files in sorted(os.walk(given)):
        for file in sorted(files):
            path = Path(folder, file)
            if is_image(path) and file[0] != ".":
                key = path.relative_to(given).with_suffix("").as_posix().casefold()
                held.setdefault(key, []).append(str(path))
    found = [_file_for(given, source, name, held, option) for source, name in zip(sources, names, strict=True)]
    if not any(found):
        raise ImageError(f"{option} {given} holds a file for none of the {len(sources)} images (x.* or x_mask.*)")
    return found


def _file_for(given: str, source: str, name: str, held: dict[str, list[str]], option: str) -> str | None:
    stem = Path(source.removeprefix("sample:")).stem
    for base in dict.fromkeys((name, Path(name).with_name(stem).as_posix(), stem)):
        for ending in ("", *(f"{sign}{word}" for word in MASK_WORDS for sign in "_-")):
            files = [one for one in held.get(f"{base}{ending}".casefold(), []) if not _same(one, source)]
            if len(files) > 1:
                raise ImageError(f"{option} {given} holds several files for {source}: {', '.join(files)}")
            if files:
                return files[0]
    return None


def _same(one: str, other: str) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def _digest(path: str) -> dict[str, str]:
    file = Path(mask_path(path))
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    except OSError:
        digest = ""
    return {"path": path, "sha256": digest}
