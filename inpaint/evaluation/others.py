"""Results of other tools, read from folders, so that they are scored by the same metrics."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from zim_plugins.core import ImageError, read_image
from zim_plugins.imaging import is_image

CHANGED = 8
"""Levels of 255 from which a pixel counts as repainted: compression alone changes less."""


@dataclass(frozen=True)
class OtherTool:
    """A folder of results, each called as its image, or its image's name with a word behind an underscore."""

    name: str
    """What rows and tables call it."""
    folder: Path

    @classmethod
    def parse(cls, text: str) -> "OtherTool":
        """Read NAME=FOLDER.

        >>> OtherTool.parse("lama=results/lama").name
        'lama'

        Raises:
            ValueError: it is none, or there is no such folder.
        """
        name, equals, folder = text.partition("=")
        if not equals or not name or not folder:
            raise ValueError(f"results of another tool are named as NAME=FOLDER, got {text!r}")
        return cls(name, Path(folder))

    def find(self, key: str) -> Path:
        """Return the result of a case.

        Raises:
            ImageError: there is none, or several.
        """
        files = [path for path in sorted(self.folder.iterdir()) if is_image(path) and path.name[0] != "."]
        wanted = _plain(key)
        exact = [path for path in files if _plain(path.stem) == wanted]
        found = exact or [path for path in files if _plain(path.stem).rpartition("_")[0] == wanted]
        if len(found) != 1:
            shown = f"several: {', '.join(path.name for path in found)}" if found else f"none ({key}.* or {key}_*.*)"
            raise ImageError(f"{self.folder} should hold one result of {key}, and holds {shown}")
        return found[0]

    def read(self, key: str, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Read the result of a case.

        Raises:
            ImageError: it is not there, cannot be read, or has another size than its image.
        """
        path = self.find(key)
        result = read_image(path).rgb
        if result.shape != image.shape:
            (height, width), (h, w) = image.shape[:2], result.shape[:2]
            raise ImageError(f"{path} is {w}x{h} px, its image {width}x{height} px")
        return result


def repainted(
    image: UInt8[np.ndarray, "h w 3"], result: UInt8[np.ndarray, "h w 3"], support: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Tell which pixels a tool repainted, from its result alone: what it changed, without gaps.

    Args:
        image: RGB, with the object.
        result: RGB, without it.
        support: all that the object touches; taken where nothing was changed.
    """
    from scipy.ndimage import binary_closing, binary_fill_holes, binary_opening

    changed = np.abs(result.astype(np.int16) - image).max(axis=2) >= CHANGED
    whole = binary_opening(binary_fill_holes(binary_closing(np.pad(changed, 3), iterations=2)))
    found = np.asarray(whole, dtype=bool)[3:-3, 3:-3]
    return found if found.any() else support


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
