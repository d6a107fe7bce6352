"""Text as a prompt: the boxes that a detector of transformers finds for "the red car", best first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core.automatic import suppress
from zim_plugins.core.checkpoints.hub import hub_folder
from zim_plugins.core.checkpoints.whole_model import load_whole, model_type_of, quiet_transformers, transformers_class
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import CheckpointError, MissingExtra

DEFAULT = "IDEA-Research/grounding-dino-tiny"
"""The detector that is taken where none is named; its licence is on its card."""
MAX_BOX_IOU = 0.7
"""Of two boxes that overlap more than this the better scored is kept."""
WORDS_SCORE = 0.25
"""Least score of a word of Grounding DINO, as its authors and SA3D set it."""
Which = Literal["all", "best"]


@dataclass(frozen=True)
class TextBox:
    """One instance that a text names.

    >>> TextBox((1.0, 2.0, 30.0, 40.0), 0.5).prompt().box.tolist()
    [1.0, 2.0, 30.0, 40.0]
    """

    box: tuple[float, float, float, float]
    """X1 Y1 X2 Y2 [px], inside the image."""
    score: float
    """The detector's own, in [0, 1]; of different detectors they do not compare."""

    def prompt(self) -> Prompt:
        """Return the box as a prompt.

        >>> TextBox((1, 2, 30, 40), 0.9).prompt().box.tolist()
        [1.0, 2.0, 30.0, 40.0]
        """
        return Prompt.from_box(*self.box)


class TextDetector:
    """Grounding DINO, OWLv2 or SAM 3 of transformers, through the processor of the family.

    Args:
        name: folder, or name on the hub; `hf:` in front is dropped.
        device: a torch device.

    Raises:
        CheckpointError: the model cannot be had, is damaged, or finds nothing by text.
        MissingExtra: transformers, or what the family's processor needs, is not installed.
    """

    def __init__(self, name: str = DEFAULT, *, device: str = "cpu") -> None:
        transformers_class("AutoProcessor")  # before anything is fetched
        folder = hub_folder(name)
        kind = model_type_of(folder)
        if kind not in _KINDS:
            raise CheckpointError(f"{name} is a {kind}, which finds nothing by text; known are {', '.join(_KINDS)}")
        self.name, self.device = name, device
        self._kind = _KINDS[kind]
        self._model = load_whole(transformers_class(self._kind.model_class), folder).to(device)
        try:
            with quiet_transformers():
                self._processor = transformers_class("AutoProcessor").from_pretrained(folder, local_files_only=True)
        except ImportError as error:
            raise MissingExtra(f"what the processor of {name} stands on, such as torchvision", "models") from error
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{name} lacks its processor or tokenizer: fetch the whole model") from error

    def find(
        self, image: UInt8[np.ndarray, "h w 3"], text: str, *, which: Which = "all", threshold: float | None = None
    ) -> list[TextBox]:
        """Return the instances of what a text names, best first; none where nothing is sure enough.

        Args:
            image: RGB in [0, 255].
            text: "the red car".
            threshold: least score; by default the one that the family's authors use.

        Raises:
            ValueError: the text is empty.
        """
        import torch

        text = " ".join(text.split())
        if not text:
            raise ValueError("the text is empty: name the object")
        height, width = image.shape[:2]
        given = self._kind.prepare(self._processor, image.copy(), text).to(self.device)  # torch wants it writable
        with torch.inference_mode():
            answer = self._model(**given)
        least = self._kind.threshold if threshold is None else threshold
        found = self._kind.read(self._processor, answer, given, least, (height, width))
        boxes = found["boxes"].float().cpu().numpy().reshape(-1, 4).clip(0, [width, height, width, height])
        scores = found["scores"].float().cpu().numpy().reshape(-1)
        return _best_first(boxes, scores, which)


class CallableDetector:
    """Boxes by anybody's function of an image and a text.

    Args:
        function: takes an RGB image (uint8, h w 3) and the text; returns rows of x1, y1, x2, y2 [px] and a score.
        name: what records call it.

    >>> detector = CallableDetector(lambda image, text: [(1, 2, 9, 30, 0.5)] if text == "the dog" else [])
    >>> detector.find(np.zeros((20, 20, 3), np.uint8), "the dog")
    [TextBox(box=(1.0, 2.0, 9.0, 20.0), score=0.5)]
    """

    def __init__(self, function: Callable[[Any, str], Any], *, name: str = "function") -> None:
        self.name, self._function = name, function

    def find(
        self, image: UInt8[np.ndarray, "h w 3"], text: str, *, which: Which = "all", threshold: float | None = None
    ) -> list[TextBox]:
        """Return the instances of what a text names, best first; as `TextDetector.find`, without a least score.

        Raises:
            ValueError: the text is empty, or the function returns something else than rows of five numbers.
        """
        if not (text := " ".join(text.split())):
            raise ValueError("the text is empty: name the object")
        height, width = image.shape[:2]
        try:
            found = np.array([list(row) for row in self._function(image.copy(), text)], dtype=np.float64).reshape(-1, 5)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.name} returns no rows of x1, y1, x2, y2 and score: {error}") from error
        if not np.isfinite(found).all():
            raise ValueError(f"{self.name} returns numbers that are not finite")
        found = found[found[:, 4] >= (-np.inf if threshold is None else threshold)]
        return _best_first(found[:, :4].clip(0, [width, height, width, height]), found[:, 4], which)


def _best_first(boxes: np.ndarray, scores: np.ndarray, which: Which) -> list[TextBox]:
    """Boxes that name something, the better scored of two alike, best first."""
    whole = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)  # a box within one pixel names nothing
    boxes, scores = boxes[whole].astype(np.float64), scores[whole]
    kept = suppress(boxes, scores, max_iou=MAX_BOX_IOU)[: 1 if which == "best" else None]
    return [TextBox(tuple(boxes[i].tolist()), float(scores[i])) for i in kept]


def load_text_detector(name: str | None = None, *, device: str = "auto") -> TextDetector:
    """Return a detector that finds boxes by text.

    Args:
        name: a Grounding DINO, OWLv2 or SAM 3: folder, or name on the hub; None is `DEFAULT`.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto".

    Raises:
        CheckpointError, MissingExtra: see `TextDetector`.
        ValueError: there is no such device.
    """
    from zim_plugins.core.load import resolve_device

    return TextDetector(name or DEFAULT, device=resolve_device(device))


@dataclass(frozen=True)
class _Kind:
    """One family: its class, and the functions that ask it and read its answer."""

    model_class: str
    threshold: float
    prepare: Callable[[Any, Any, str], Any]
    read: Callable[[Any, Any, Any, float, tuple[int, int]], dict[str, Any]]


def _ask_dino(processor: Any, image: Any, text: str) -> Any:
    """Phrases end with a full stop and are in small letters, as it was trained."""
    return processor(images=image, text=f"{text.lower().rstrip('.')}.", return_tensors="pt")


def _read_dino(processor: Any, answer: Any, given: Any, least: float, size: tuple[int, int]) -> dict[str, Any]:
    return processor.post_process_grounded_object_detection(
        answer, given.input_ids, threshold=least, text_threshold=min(WORDS_SCORE, least), target_sizes=[size]
    )[0]


def _read_owl(processor: Any, answer: Any, given: Any, least: float, size: tuple[int, int]) -> dict[str, Any]:
    return processor.post_process_grounded_object_detection(answer, threshold=least, target_sizes=[size])[0]


def _read_sam3(processor: Any, answer: Any, given: Any, least: float, size: tuple[int, int]) -> dict[str, Any]:
    return processor.post_process_object_detection(answer, threshold=least, target_sizes=[size])[0]


_DINO = (0.35, _ask_dino, _read_dino)
_KINDS = {
    "grounding-dino": _Kind("GroundingDinoForObjectDetection", *_DINO),
    "mm-grounding-dino": _Kind("MMGroundingDinoForObjectDetection", *_DINO),
    "owlv2": _Kind(
        "Owlv2ForObjectDetection", 0.2, lambda p, i, t: p(images=i, text=[[t]], return_tensors="pt"), _read_owl
    ),
    "sam3": _Kind("Sam3Model", 0.5, lambda p, i, t: p(images=i, text=t, return_tensors="pt"), _read_sam3),
}
"""By `model_type` of the configuration."""
_KINDS["sam3_video"] = _KINDS["sam3"]  # what the hub's one repository of SAM 3 says
