"""Promptable image matting: clicks and boxes in, soft alpha mattes out.

Importing this package loads neither torch nor any other heavy dependency: the names below are resolved on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from zim_plugins.core import Prediction as Prediction
    from zim_plugins.core import Predictor as Predictor
    from zim_plugins.core import Prompt as Prompt
    from zim_plugins.core import ZimError as ZimError
    from zim_plugins.core import load_predictor as load_predictor
    from zim_plugins.core import read_image as read_image

__all__ = ["Prediction", "Predictor", "Prompt", "ZimError", "__version__", "load_predictor", "read_image"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("zim_plugins.core"), name)
