"""Objects in radiance fields and splats, from the mattes of a few views. Importing this package loads nothing heavy."""

from typing import TYPE_CHECKING

from zim_plugins.faces import lazy_face

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

__all__, __getattr__ = lazy_face(
    __name__,
    {
        "field.gaussians.camera_files": "read_cameras",
        "field.gaussians.files": "read_scene",
        "field.scene": "BoxedViews boxed domain_around open_scene",
        "segmentation.mask_grid": "Domain MaskGrid",
        "segmentation.predictors": "reference_alpha",
        "segmentation.reference_prompt": "ReferencePrompt",
        "segmentation.segmenter": "Segmenter SegmenterConfig",
        "segmentation.views": "View ViewSamples",
    },
)
