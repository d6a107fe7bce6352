"""Objects removed, replaced and cut out by soft mattes: `zim-inpaint`. Importing this package loads nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .diffusers_pipeline import ZimInpaintOutput as ZimInpaintOutput
    from .diffusers_pipeline import ZimInpaintPipeline as ZimInpaintPipeline
    from .filling import Filling as Filling
    from .filling import fill as fill
    from .inpainter import FillSettings as FillSettings
    from .inpainter import GuidedInpainter as GuidedInpainter
    from .inpainter import Inpainter as Inpainter
    from .inpainter import load_inpainter as load_inpainter
    from .removal import Removal as Removal
    from .removal import remove as remove
    from .replacement import Cutout as Cutout
    from .replacement import Replacement as Replacement
    from .replacement import cutout as cutout
    from .replacement import replace as replace

_HOME = {
    "Cutout": ".replacement",
    "FillSettings": ".inpainter",
    "Filling": ".filling",
    "GuidedInpainter": ".inpainter",
    "Inpainter": ".inpainter",
    "Removal": ".removal",
    "Replacement": ".replacement",
    "ZimInpaintOutput": ".diffusers_pipeline",
    "ZimInpaintPipeline": ".diffusers_pipeline",
    "cutout": ".replacement",
    "fill": ".filling",
    "load_inpainter": ".inpainter",
    "remove": ".removal",
    "replace": ".replacement",
}

__all__ = [
    "Cutout",
    "FillSettings",
    "Filling",
    "GuidedInpainter",
    "Inpainter",
    "Removal",
    "Replacement",
    "ZimInpaintOutput",
    "ZimInpaintPipeline",
    "cutout",
    "fill",
    "load_inpainter",
    "remove",
    "replace",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
