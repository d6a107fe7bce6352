"""Simulated users: where the next click goes, from a reference and a prediction.

Three published ways to click that differ in region, distance and ties; facts of each in its class. All coordinates here
are pixel indices: (x, y) is the pixel, whose centre lies at (x + 0.5, y + 0.5).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from zim_plugins.core import MissingExtra
from zim_plugins.evaluation import worst_error
from zim_plugins.imaging import window_of

ClickerName = Literal["ritm", "mazurowski", "random"]
CLICKERS: tuple[ClickerName, ...] = ("ritm", "mazurowski", "random")
MAX_CLICKS = 9
"""As many as Mazurowski et al. (2023) plot."""


class PixelClick(NamedTuple):
    """A pixel, and whether it is said to be the object's."""

    x: int
    y: int
    positive: bool


@runtime_checkable
class Clicker(Protocol):
    """A simulated user."""

    name: str

    def centre(self, region: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
        """The pixel (x, y) of a region that this user would point at."""
        ...

    def next_click(
        self, reference: Bool[np.ndarray, "h w"], prediction: Bool[np.ndarray, "h w"], clicks: Sequence[PixelClick]
    ) -> PixelClick | None:
        """Return the next click; None where nothing is wrong."""
        ...


class RitmClicker:
    """RITM and SAM 2: the deeper of false negatives and false positives; exact distances, first in raster order.

    A pixel is never clicked twice. The first click is the pixel farthest from the object's boundary, as in SAM's paper.
    """

    name = "ritm"

    def centre(self, region: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
        """The innermost pixel, the first of equals in raster order."""
        first = self.next_click(region, np.zeros_like(region), ())
        if first is None:
            raise ValueError("an empty region has no centre")
        return first.x, first.y

    def next_click(
        self, reference: Bool[np.ndarray, "h w"], prediction: Bool[np.ndarray, "h w"], clicks: Sequence[PixelClick]
    ) -> PixelClick | None:
        """The innermost pixel of the deeper kind of error that was not clicked yet."""
        error = reference ^ prediction
        if not error.any():
            return None
        view = window_of(error)  # what lies beyond is no error and changes no distance
        free = np.ones_like(reference)
        for click in clicks:
            free[click.y, click.x] = False
        found = worst_error(reference[view], prediction[view], free[view])
        if found is None:
            return None
        x, y, label = found
        return PixelClick(x + view[1].start, y + view[0].start, bool(label))


class _ErrorClicker(ABC):
    """Clicks where `centre` says on the map of all errors (XOR); a pixel may be clicked again."""

    @abstractmethod
    def centre(self, region: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
        """A pixel of the region, x and y."""

    def next_click(
        self, reference: Bool[np.ndarray, "h w"], prediction: Bool[np.ndarray, "h w"], clicks: Sequence[PixelClick]
    ) -> PixelClick | None:
        """A pixel of the error, labelled by its kind."""
        error = reference ^ prediction
        if not error.any():
            return None
        x, y = self.centre(error)
        return PixelClick(x, y, bool(reference[y, x]))


class MazurowskiClicker(_ErrorClicker):
    """Mazurowski et al. (2023): one map of all errors (XOR), OpenCV's 5x5 distances, a random one of the deepest.

    Their code labels a click by the mask of all classes; here it is the mask of the object's own class. Where nothing
    is wrong theirs clicks a random pixel of the image; here it stops.

    Args:
        rng: chooses among equals; None takes the first in raster order.
    """

    name = "mazurowski"

    def __init__(self, rng: np.random.Generator | None = None) -> None:
        self._rng = rng

    def centre(self, region: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
        """One of the innermost pixels by OpenCV's approximate distance."""
        depth = chamfer_depth(region)
        if self._rng is None:
            return first_deepest(depth)
        return _any_pixel(depth == depth.max(), self._rng)


class RandomClicker(_ErrorClicker):
    """SAM-Med2D: any pixel of the error, labelled by its kind."""

    name = "random"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def centre(self, region: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
        """Any pixel of the region."""
        return _any_pixel(region, self._rng)


def _any_pixel(mask: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> tuple[int, int]:
    ys, xs = np.nonzero(mask)
    chosen = int(rng.integers(len(xs)))
    return int(xs[chosen]), int(ys[chosen])


def make_clicker(name: str, rng: np.random.Generator) -> Clicker:
    """The clicker of that name; the deterministic one leaves the generator alone.

    Raises:
        ValueError: there is none.
    """
    if name == "ritm":
        return RitmClicker()
    if name == "mazurowski":
        return MazurowskiClicker(rng)
    if name == "random":
        return RandomClicker(rng)
    raise ValueError(f"a clicker is {', '.join(CLICKERS)}, got {name!r}")


def chamfer_depth(region: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """OpenCV's `DIST_L2` with a 5x5 mask, padded by one pixel, as in Mazurowski's and RITM-like code [px]."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra("opencv", "medical") from error
    depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(depth)[1:-1, 1:-1].copy()


def first_deepest(depth: Float[np.ndarray, "h w"]) -> tuple[int, int]:
    """(x, y) of the largest value, the first of equals in raster order."""
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)
