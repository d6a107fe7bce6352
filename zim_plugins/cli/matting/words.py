"""Objects by their names: `--text`."""

import logging
from typing import TYPE_CHECKING

from zim_plugins.cli.runtime import Misuse

if TYPE_CHECKING:
    from zim_plugins.core.prompt import Prompt
    from zim_plugins.core.text_boxes import TextDetector
    from zim_plugins.imaging.image import Image

logger = logging.getLogger(__name__)


def load_detector(words: str, model: str | None, device: str) -> "TextDetector":
    """Return what finds the objects of --text. Raises Misuse where no word is given."""
    from zim_plugins.core.text_boxes import load_text_detector

    if not words.strip():
        raise Misuse("--text is empty: name the object")
    return load_text_detector(model, device=device)


def find_named(detector: "TextDetector", image: "Image", words: str, *, only_best: bool) -> "list[Prompt]":
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
