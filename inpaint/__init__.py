"""Objects removed, replaced and cut out by soft mattes: `zim-inpaint`. Importing this package loads nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .diffusers_pipeline import ZimInpaintOutput as ZimInpaintOutput
    from .diffusers_pipeline import ZimInpaintPipeline as ZimInpaintPipeline
    from .inpainters.base import FillSettings as FillSettings
    from .inpainters.base import GuidedInpainter as GuidedInpainter
    from .inpainters.base import Inpainter as Inpainter
    from .inpainters.registry import load_inpainter as load_inpainter
    from .tasks.filling import Filling as Filling
    from .tasks.filling import fill as fill
    from .tasks.removal import Removal as Removal
    from .tasks.removal import remove as remove
    from .tasks.replacement import Cutout as Cutout
    from .tasks.replacement import Replacement as Replacement
    from .tasks.replacement import cutout as cutout
    from .tasks.replacement import replace as replace

_HOME = {
    "Cutout": ".tasks.replacement",
    "FillSettings": ".inpainters.base",
    "Filling": ".tasks.filling",
    "GuidedInpainter": ".inpainters.base",
    "Inpainter": ".inpainters.base",
    "Removal": ".tasks.removal",
    "Replacement": ".tasks.replacement",
    "ZimInpaintOutput": ".diffusers_pipeline",
    "ZimInpaintPipeline": ".diffusers_pipeline",
    "cutout": ".tasks.replacement",
    "fill": ".tasks.filling",
    "load_inpainter": ".inpainters.registry",
    "remove": ".tasks.removal",
    "replace": ".tasks.replacement",
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
