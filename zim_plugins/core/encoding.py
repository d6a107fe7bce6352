"""Predictor: anything that mattes one image, prompt after prompt; and the stateless face that any predictor gets.

A predictor of three methods (`Predictor`) is enough for everything in this project. What asks about several images in
turn, or about the answers before they are enlarged, takes `encoding_predictor(predictor)`, which adds `encode` to a
predictor that lacks it; nothing asks of what class a predictor is.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.prediction import Prediction
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import UnsupportedPrompt
from zim_plugins.imaging.ranges import ImageArray, to_uint8


@runtime_checkable
class Predictor(Protocol):
    """Anything that mattes one image, prompt after prompt.

    >>> from zim_plugins.core import load_predictor
    >>> isinstance(load_predictor("zim_tiny", device="cpu"), Predictor)
    True
    """

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Encode an RGB image once, for all prompts that follow."""
        ...

    def predict(self, prompt: Prompt) -> Prediction:
        """Matte what one prompt points at."""
        ...

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        """Matte what each prompt points at: one encoding, one batched decoding."""
        ...


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image with its encoding, as `encode` returns it: never changed, so threads may share it.

    >>> EncodedImage(np.zeros((4, 6, 3), np.uint8), None, None).size
    (4, 6)
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    """A copy of the image, read-only."""
    features: Any = field(repr=False)
    """What the model made of it, for that model alone; None where the model keeps it to itself."""
    backend: Any = field(repr=False)
    """The model that encoded it, and that alone decodes it."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) [px]."""
        return self.rgb.shape[0], self.rgb.shape[1]


@dataclass(frozen=True, eq=False)
class CoarseAnswers:
    """Answers to a batch of prompts before any is enlarged to the image: for choosing among many."""

    maps: Float32[np.ndarray, "b c h w"]
    """All candidates over the whole image, at the model's own resolution."""
    scores: Float32[np.ndarray, "b c"]
    """The model's own estimate of each candidate's quality; higher is better."""
    are_logits: bool
    """Whether the maps hold log-odds; else opacities in [0, 1]."""
    enlarge: Callable[[int, int], Float32[np.ndarray, "h w"]] = field(repr=False)
    """Makes the matte of a prompt's candidate, both by index, at the size of the image."""


@runtime_checkable
class EncodingPredictor(Protocol):
    """A `Predictor` that also answers about images that are not set; `encoding_predictor` makes one of any predictor.

    Wherever `encoded` is None, the image that is set is meant.

    >>> from zim_plugins.core import load_predictor
    >>> isinstance(load_predictor("zim_tiny", device="cpu"), EncodingPredictor)
    True
    """

    @property
    def name(self) -> str:
        """The model's name, for records and messages."""
        ...

    @property
    def frame_px(self) -> int | None:
        """Side of the frame that images are resized to [px]; None where it is not known."""
        ...

    @property
    def encodings(self) -> int:
        """Runs of the image encoder so far."""
        ...

    def set_image(self, image: ImageArray) -> None:
        """Encode an RGB image once, for all prompts that follow."""
        ...

    def encode(self, image: ImageArray) -> EncodedImage:
        """Encode an RGB image without setting it."""
        ...

    def predict(self, prompt: Prompt, *, multimask: bool = False, encoded: EncodedImage | None = None) -> Prediction:
        """Matte what one prompt points at."""
        ...

    def predict_many(
        self,
        prompts: Sequence[Prompt],
        *,
        multimask: bool = False,
        finished: bool | None = None,
        encoded: EncodedImage | None = None,
    ) -> list[Prediction]:
        """Matte what each prompt points at; `finished` is False for the first pass alone.

        Raises:
            UnsupportedPrompt: `multimask` of a model that has one candidate only.
        """
        ...

    def predict_coarse(
        self, prompts: Sequence[Prompt], *, multimask: bool = False, encoded: EncodedImage | None = None
    ) -> CoarseAnswers:
        """Answer without enlarging: with all candidates where `multimask` is set and the model has them."""
        ...


def encoding_predictor(predictor: Predictor) -> EncodingPredictor:
    """Return a predictor that has `encode`: the one given, or a face over it that sets each image again when asked.

    Raises:
        TypeError: it is no predictor.

    >>> class White:
    ...     def set_image(self, image): self.size = image.shape[:2]
    ...     def predict(self, prompt): return Prediction(np.ones((1, *self.size), np.float32), np.ones(1, np.float32))
    ...     def predict_many(self, prompts): return [self.predict(prompt) for prompt in prompts]
    >>> model = encoding_predictor(White())
    >>> wide, tall = (model.encode(np.zeros(shape, np.uint8)) for shape in ((4, 6, 3), (6, 4, 3)))
    >>> [model.predict(Prompt.from_point(1, 1), encoded=image).alpha.shape for image in (wide, tall, wide)]
    [(4, 6), (6, 4), (4, 6)]
    """
    if isinstance(predictor, EncodingPredictor):
        return predictor
    if isinstance(predictor, Predictor):
        return OneImagePredictor(predictor)
    raise TypeError(f"a predictor has set_image, predict and predict_many, which {type(predictor).__name__} lacks")


class OneImagePredictor:
    """An `EncodingPredictor` over one that holds a single image: another one is set again whenever it is asked about.

    Threads may share it; they wait for one another. Use the predictor beneath through this face alone.
    """

    frame_px: int | None = None

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.encodings = 0
        self._set: EncodedImage | None = None
        self._held: EncodedImage | None = None
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """The predictor's own name, or its class's."""
        return str(getattr(self.predictor, "name", type(self.predictor).__name__))

    def encode(self, image: ImageArray) -> EncodedImage:
        """Show an image to the predictor; it is copied."""
        rgb = to_uint8(image, copy=True)
        rgb.setflags(write=False)
        encoded = EncodedImage(rgb, None, self)
        with self._lock:
            self._show(encoded)
        return encoded

    def set_image(self, image: ImageArray) -> None:
        """Show an image to the predictor, for all prompts that follow."""
        with self._lock:
            self._set = None
            self._set = self.encode(image)

    def predict(self, prompt: Prompt, *, multimask: bool = False, encoded: EncodedImage | None = None) -> Prediction:
        """Matte what one prompt points at."""
        return self.predict_many([prompt], multimask=multimask, encoded=encoded)[0]

    def predict_many(
        self,
        prompts: Sequence[Prompt],
        *,
        multimask: bool = False,
        finished: bool | None = None,
        encoded: EncodedImage | None = None,
    ) -> list[Prediction]:
        """Matte what each prompt points at; there is one pass only.

        Raises:
            UnsupportedPrompt: `multimask`.
        """
        if multimask:
            raise UnsupportedPrompt(f"{self.name} has one candidate only: leave candidates at single (multimask=False)")
        return self._answer(prompts, encoded)[1]

    def predict_coarse(
        self, prompts: Sequence[Prompt], *, multimask: bool = False, encoded: EncodedImage | None = None
    ) -> CoarseAnswers:
        """Answer with the opacities themselves: all candidates that the predictor gives."""
        image, found = self._answer(prompts, encoded)
        count = max((len(one.scores) for one in found), default=1)
        maps = np.zeros((len(found), count, *image.size), np.float32)
        scores = np.full((len(found), count), -np.inf, np.float32)  # of candidates that a prompt lacks
        for row, one in enumerate(found):
            maps[row, : len(one.scores)], scores[row, : len(one.scores)] = one.alphas, one.scores
        return CoarseAnswers(maps, scores, False, lambda row, candidate: found[row].alphas[candidate])

    def _answer(self, prompts: Sequence[Prompt], encoded: EncodedImage | None) -> tuple[EncodedImage, list[Prediction]]:
        """Return the image that is meant, and the predictor's answers on it."""
        with self._lock:
            image = self._set if encoded is None else encoded
            if image is None:
                raise ValueError("no image is set: call set_image(image) first")
            if not isinstance(image, EncodedImage):
                raise TypeError(f"encoded is what encode(image) returns, got {type(image).__name__}")
            if image.backend is not self:
                raise ValueError(f"this image was encoded by another model, {image.backend.name}: encode it here")
            if not prompts:
                return image, []
            if self._held is not image:
                self._show(image)
            return image, self.predictor.predict_many(prompts)

    def _show(self, image: EncodedImage) -> None:
        self._held = None
        self.predictor.set_image(image.rgb.copy())
        self._held = image
        self.encodings += 1
