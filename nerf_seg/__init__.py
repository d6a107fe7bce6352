"""Objects in radiance fields and splats, from the mattes of a few views. Importing this package loads nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .field.gaussians.camera_files import read_cameras as read_cameras
    from .field.gaussians.files import read_scene as read_scene
    from .field.scene import BoxedViews as BoxedViews
    from .field.scene import boxed as boxed
    from .field.scene import domain_around as domain_around
    from .field.scene import open_scene as open_scene
    from .segmentation.mask_grid import Domain as Domain
    from .segmentation.mask_grid import MaskGrid as MaskGrid
    from .segmentation.predictors import reference_alpha as reference_alpha
    from .segmentation.reference_prompt import ReferencePrompt as ReferencePrompt
    from .segmentation.segmenter import Segmenter as Segmenter
    from .segmentation.segmenter import SegmenterConfig as SegmenterConfig
    from .segmentation.views import View as View
    from .segmentation.views import ViewSamples as ViewSamples

_HOME = {
    "BoxedViews": ".field.scene",
    "Domain": ".segmentation.mask_grid",
    "MaskGrid": ".segmentation.mask_grid",
    "ReferencePrompt": ".segmentation.reference_prompt",
    "Segmenter": ".segmentation.segmenter",
    "SegmenterConfig": ".segmentation.segmenter",
    "View": ".segmentation.views",
    "ViewSamples": ".segmentation.views",
    "boxed": ".field.scene",
    "domain_around": ".field.scene",
    "open_scene": ".field.scene",
    "read_cameras": ".field.gaussians.camera_files",
    "read_scene": ".field.gaussians.files",
    "reference_alpha": ".segmentation.predictors",
}

__all__ = [
    "BoxedViews",
    "Domain",
    "MaskGrid",
    "ReferencePrompt",
    "Segmenter",
    "SegmenterConfig",
    "View",
    "ViewSamples",
    "boxed",
    "domain_around",
    "open_scene",
    "read_cameras",
    "read_scene",
    "reference_alpha",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
