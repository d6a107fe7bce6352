"""Inpainter: anything that fills a hole, and the register of those that are at hand."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

_log = logging.getLogger(__name__)


@runtime_checkable
class Inpainter(Protocol):
    """A filler of holes; it invents what was never seen."""

    name: str
    """What the command line and records call it."""

    def fill(self, image: UInt8[np.ndarray, "h w 3"], hole: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        """Repaint the pixels where `hole` is True; all others are returned byte by byte as they came.

        Args:
            image: RGB.
            hole: True means repaint.

        Raises:
            ValueError: the hole covers the whole picture.
        """
        ...


@dataclass(frozen=True)
class _Entry:
    """One filler: how it is made, what it needs, and how it is praised."""

    make: Callable[[], Inpainter]
    module: str
    """Import name of the package it needs."""
    reason: str
    """Why `auto` takes it, when it does."""


def _make_patchmatch() -> Inpainter:
    from .patchmatch import PatchMatchInpainter

    return PatchMatchInpainter()


def _make_telea() -> Inpainter:
    from .telea import TeleaInpainter

    return TeleaInpainter()


_REGISTER: dict[str, _Entry] = {
    "patchmatch": _Entry(_make_patchmatch, "patchmatch", "the best filler that needs no weights"),
    "cv2": _Entry(_make_telea, "cv2", "PyPatchMatch is missing (pip install 'zim-plugins[inpaint]'); expect smears"),
}
"""Fillers by name, best first: `auto` takes the first whose package is there."""


def inpainter_names() -> tuple[str, ...]:
    """Names that `load_inpainter` knows, besides `auto`."""
    return tuple(_REGISTER)


def load_inpainter(name: str = "auto") -> Inpainter:
    """Make a filler by name; `auto` takes the best that is installed, and the log says which and why.

    Raises:
        ValueError: no filler has this name.
        MissingExtra: its package is not installed.
    """
    chosen, reason = choose_backend(name)
    inpainter = _REGISTER[chosen].make()
    _log.info("filling with %s: %s", chosen, reason)
    return inpainter


def choose_backend(name: str = "auto") -> tuple[str, str]:
    """Resolve `auto` to a filler's name, and tell why in a few words.

    Raises:
        ValueError: no filler has this name.
    """
    if name != "auto":
        if name not in _REGISTER:
            raise ValueError(f"no filler is called {name!r}: take one of auto, {', '.join(_REGISTER)}")
        return name, "as asked"
    for candidate, entry in _REGISTER.items():
        if find_spec(entry.module) is not None:
            return candidate, entry.reason
    return next(iter(_REGISTER)), "the default"
