"""The public face of the core: prompts in, mattes out. Importing it loads no torch."""

from zim_plugins.core.backends.base import Backend as Backend
from zim_plugins.core.build import load_predictor as load_predictor
from zim_plugins.core.build import resolve_device as resolve_device
from zim_plugins.core.errors import CheckpointError as CheckpointError
from zim_plugins.core.errors import ImageError as ImageError
from zim_plugins.core.errors import MissingExtra as MissingExtra
from zim_plugins.core.errors import UnsupportedPrompt as UnsupportedPrompt
from zim_plugins.core.errors import ZimError as ZimError
from zim_plugins.core.everything import matte_everything as matte_everything
from zim_plugins.core.foreground import composite as composite
from zim_plugins.core.foreground import estimate_foreground as estimate_foreground
from zim_plugins.core.foreground import unmix_background as unmix_background
from zim_plugins.core.image_io import Image as Image
from zim_plugins.core.image_io import expand_inputs as expand_inputs
from zim_plugins.core.image_io import output_stems as output_stems
from zim_plugins.core.image_io import read_alpha as read_alpha
from zim_plugins.core.image_io import read_image as read_image
from zim_plugins.core.image_io import write_image as write_image
from zim_plugins.core.prediction import Prediction as Prediction
from zim_plugins.core.predictor import ImagePredictor as ImagePredictor
from zim_plugins.core.predictor import Predictor as Predictor
from zim_plugins.core.predictor import Zoom as Zoom
from zim_plugins.core.prompt import Prompt as Prompt
from zim_plugins.core.prompt import parse_prompt as parse_prompt
