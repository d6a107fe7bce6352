"""Objects by their names: `--text`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from zim_plugins.cli.runtime import Misuse

if TYPE_CHECKING:
    from zim_plugins.core.prompt import Prompt
    from zim_plugins.core.text_boxes import CallableDetector, TextDetector
    from zim_plugins.imaging.image import Image

logger = logging.getLogger(__name__)


def load_detector(words: str, model: str | None, device: str) -> "TextDetector | CallableDetector":
    """Return what finds the objects of --text: a model by name, or what FILE.py:FUNCTION makes.

    Raises:
        Misuse: no word is given.
        CheckpointError, MissingExtra: it cannot be had.
    """
    from zim_plugins.core.checkpoints.outside import is_outside, make_outside
    from zim_plugins.core.load import resolve_device
    from zim_plugins.core.text_boxes import CallableDetector, load_text_detector
    from zim_plugins.errors import CheckpointError

    if not words.strip():
        raise Misuse("--text is empty: name the object")
    if model is not None and is_outside(model):
        made = make_outside(model, resolve_device(device))
        if not callable(made):
            raise CheckpointError(f"{model} made a {type(made).__name__}, no function of an image and a text")
        return CallableDetector(made, name=model.rpartition(":")[2])
    return load_text_detector(model, device=device)


def describe_detector(model: str | None) -> str:
    """Return what looks for words, for records: its name without folders, and its digest where it is at hand."""
    from zim_plugins.core.text_boxes import DEFAULT
    from zim_plugins.errors import CheckpointError
    from zim_plugins.evaluation.models import describe_model, is_outside

    named = (model or DEFAULT).removeprefix("hf:")
    try:
        digest = describe_model(named if is_outside(named) else f"hf:{named}")["sha256"]
    except (CheckpointError, OSError):  # it was not fetched
        digest = None
    is_path = is_outside(named) or Path(named).exists()
    return f"{Path(named).name if is_path else named} {(digest or '')[:12]}".strip()


def find_named(
    detector: "TextDetector | CallableDetector", image: "Image", words: str, *, only_best: bool
) -> "list[Prompt]":
    """Return the instances of what the words name as prompts, and log which they are.

    Raises:
        ValueError: there is none.
    """
    found = detector.find(image.rgb, words, which="best" if only_best else "all")
    if not found:
        raise ValueError(f"nothing that is {words!r} is found: click on it, or give a box")
    for one in found:
        logger.info("%r: box %s, score %.2f", words, ",".join(f"{side:.0f}" for side in one.box), one.score)
    return [one.prompt() for one in found]
