"""segment-anything's own faces over this project's models: for programs that were written for them."""

from zim_plugins.core.sam_compat.generator import SamAutomaticMaskGenerator as SamAutomaticMaskGenerator
from zim_plugins.core.sam_compat.model import SamModel as SamModel
from zim_plugins.core.sam_compat.model import sam_model_registry as sam_model_registry
from zim_plugins.core.sam_compat.predictor import SamPredictor as SamPredictor
from zim_plugins.core.sam_compat.predictor import SamStylePredictor as SamStylePredictor
from zim_plugins.core.sam_compat.resizing import ResizeLongestSide as ResizeLongestSide
