"""Anybody's predictor, named by the function that makes it: `FILE.py:FUNCTION` or `MODULE:FUNCTION`."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zim_plugins.core.checkpoints.hub import PREFIX
from zim_plugins.core.encoding import Predictor
from zim_plugins.errors import CheckpointError
from zim_plugins.imaging.ranges import one_line

STRANGERS_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What code that is not ours may raise while a model is made; it is told with the model's name."""


def is_outside(spec: str) -> bool:
    """Return whether a model is given by the place of a function.

    >>> is_outside("mine.py:make_predictor"), is_outside("zim_tiny"), is_outside("hf:facebook/sam2-hiera-tiny")
    (True, False, False)
    """
    return ":" in spec and not spec.startswith(PREFIX) and spec.rpartition(":")[2].isidentifier()


def load_outside(spec: str, device: str) -> Predictor:
    """Return the predictor that a function makes; one that takes an argument gets the device.

    Raises:
        CheckpointError: there is no such function, or what it makes is no `Predictor`.
    """
    made = make_outside(spec, device)
    if not isinstance(made, Predictor):
        raise CheckpointError(f"{spec} made a {type(made).__name__} without set_image, predict, predict_many")
    return made


def make_outside(spec: str, device: str) -> Any:
    """Return what a function at FILE.py:FUNCTION or MODULE:FUNCTION makes; one that takes an argument gets the device.

    Raises:
        CheckpointError: there is no such function, or it raises.
    """
    factory = _outside_factory(spec)
    try:
        return factory(device) if _takes_an_argument(factory) else factory()
    except STRANGERS_FAULTS as error:
        raise CheckpointError(f"{spec} raised {type(error).__name__}: {one_line(error)}") from error


def _outside_factory(spec: str) -> Callable[..., Any]:
    place, _, name = spec.rpartition(":")
    try:
        if place.endswith(".py"):
            found = importlib.util.spec_from_file_location(Path(place).stem, place)
            if found is None or found.loader is None:
                raise CheckpointError(f"{place} is no Python file")
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        return getattr(module, name)
    except CheckpointError:
        raise
    except STRANGERS_FAULTS as error:
        raise CheckpointError(f"cannot take the model from {spec}: {one_line(error)}") from error


def _takes_an_argument(factory: Callable[..., Any]) -> bool:
    return any(p.default is p.empty for p in inspect.signature(factory).parameters.values())
