"""Objects removed, replaced and cut out by soft mattes: `zim-inpaint`. Importing this package loads nothing heavy."""

from typing import TYPE_CHECKING

from zim_plugins.faces import lazy_face

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

__all__, __getattr__ = lazy_face(
    __name__,
    {
        "diffusers_pipeline": "ZimInpaintOutput ZimInpaintPipeline",
        "inpainters.base": "FillSettings GuidedInpainter Inpainter",
        "inpainters.registry": "load_inpainter",
        "tasks.filling": "Filling fill",
        "tasks.removal": "Removal remove",
        "tasks.replacement": "Cutout Replacement cutout replace",
    },
)
