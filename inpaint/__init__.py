"""Object removal by soft mattes: `zim-inpaint`. Importing this package loads nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inpainter import Inpainter as Inpainter
    from .inpainter import load_inpainter as load_inpainter
    from .pipeline import Removal as Removal
    from .pipeline import remove as remove

_HOME = {"Inpainter": ".inpainter", "Removal": ".pipeline", "load_inpainter": ".inpainter", "remove": ".pipeline"}

__all__ = ["Inpainter", "Removal", "load_inpainter", "remove"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
