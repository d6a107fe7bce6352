"""Predictor: anything that mattes one picture, prompt after prompt; ImagePredictor: geometry over any backend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.backends.base import Backend, encode_image, is_stretched
from zim_plugins.core.prediction import Prediction
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.refinement.base import Refiner
from zim_plugins.core.transforms import logits_to_alphas, prompt_to_frame, support_box
from zim_plugins.errors import UnsupportedPrompt


@runtime_checkable
class Predictor(Protocol):
    """Anything that mattes one picture, prompt after prompt."""

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Encode an RGB picture once, for all prompts that follow."""
        ...

    def predict(self, prompt: Prompt) -> Prediction:
        """Matte what one prompt points at."""
        ...

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        """Matte what each prompt points at: one encoding, one batched decoding."""
        ...


@dataclass(frozen=True)
class Zoom:
    """The second pass on the object's own crop, for pictures larger than the model's frame."""

    margin: float = 0.2
    """Room round the object on each side, as a share of its longer side."""
    min_gain: float = 1.25
    """Least magnification that is worth another encoding."""
    support: float = 0.3
    """Opacity above which a pixel of the first pass belongs to the object's extent."""


class ImagePredictor:
    """A `Predictor` over one backend: resizing, padding, coordinates, zoom; all in pixels of the original picture.

    Args:
        backend: the model.
        zoom: how objects are looked at a second time in pictures larger than the model's frame; None never does.
        refinement: what improves mattes at the end; None leaves them as they are.
    """

    def __init__(self, backend: Backend, *, zoom: Zoom | None = None, refinement: Refiner | None = None) -> None:
        self.backend = backend
        self.zoom = zoom
        self.refinement = refinement
        self._image: UInt8[np.ndarray, "h w 3"] | None = None
        self._embedding: Any = None

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self.backend.name

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Encode an RGB picture in [0, 255] once, for all prompts that follow.

        Raises:
            ValueError: not (h, w, 3) of uint8, or empty.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(
                f"a picture is RGB uint8 of shape (h, w, 3), got {image.dtype} {image.shape}: see read_image"
            )
        self._embedding = encode_image(self.backend, image)
        self._image = image

    def predict(self, prompt: Prompt, *, multimask: bool = False) -> Prediction:
        """Matte what one prompt points at.

        Args:
            prompt: in pixels of the original picture.
            multimask: answer with all candidates of the model instead of one; they are neither zoomed nor refined.

        Raises:
            ValueError: no picture is set, or the prompt lies outside it.
            UnsupportedPrompt: the model cannot serve this kind of prompt.
        """
        return self.predict_many([prompt], multimask=multimask)[0]

    def predict_many(self, prompts: Sequence[Prompt], *, multimask: bool = False) -> list[Prediction]:
        """Matte what each prompt points at; see `predict`."""
        if not prompts:
            return []
        size = self._checked(prompts)
        assert self._image is not None
        soft = not multimask and self.refinement is not None and self.refinement.wants_uncertainty
        predictions = self._decode(self._embedding, prompts, size, multimask, soft=soft)
        if multimask:
            return predictions
        if self.zoom is not None and max(size) > self.backend.frame_px:
            predictions = [self._zoomed(p, q, self.zoom, soft) for p, q in zip(prompts, predictions, strict=True)]
        if self.refinement is not None:
            predictions = [
                Prediction(self.refinement.refine(self._image, q.alpha, p)[None], q.scores)
                for p, q in zip(prompts, predictions, strict=True)
            ]
        return predictions

    def predict_logits(
        self, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Answers as the decoder gives them: for choosing among many before any is enlarged to the picture.

        Returns:
            Logits over the padded frame at the decoder's own stride, without zoom and refinement, and scores.
        """
        framed = self._framed(prompts, self._checked(prompts))
        return self.backend.decode(self._embedding, framed, multimask=multimask)

    def _checked(self, prompts: Sequence[Prompt]) -> tuple[int, int]:
        """Size (H, W) of the picture, on which all prompts can be served."""
        if self._image is None:
            raise ValueError("no picture is set: call set_image(image) first")
        size = self._image.shape[0], self._image.shape[1]
        for prompt in prompts:
            prompt.check_inside(size)
            self._check_supported(prompt)
        return size

    def _check_supported(self, prompt: Prompt) -> None:
        backend = self.backend
        if prompt.alpha is not None and not backend.supports_alpha:
            raise UnsupportedPrompt(f"{backend.name} takes no coarse matte: use clicks or a box, or another model")
        if prompt.points is not None and prompt.box is not None and not backend.supports_clicks_and_box:
            raise UnsupportedPrompt(
                f"{backend.name} takes clicks or a box, not both: drop one, or use a torch model (zim_tiny)"
            )

    def _decode(
        self, embedding: Any, prompts: Sequence[Prompt], size: tuple[int, int], multimask: bool, *, soft: bool = False
    ) -> list[Prediction]:
        """Predictions at the image's size; `soft` gives a hard segmenter's probabilities."""
        backend, stretched = self.backend, is_stretched(self.backend)
        activation = "sigmoid" if soft else backend.activation
        logits, scores = backend.decode(embedding, self._framed(prompts, size), multimask=multimask)
        return [
            Prediction(logits_to_alphas(one, size, backend.frame_px, activation, stretched=stretched), score)
            for one, score in zip(logits, scores, strict=True)
        ]

    def _framed(self, prompts: Sequence[Prompt], size: tuple[int, int]) -> list[Prompt]:
        """The prompts on an image of `size` (H, W) as the backend's frame has them."""
        stretched = is_stretched(self.backend)
        return [prompt_to_frame(p, size, self.backend.frame_px, stretched=stretched) for p in prompts]

    def _zoomed(self, prompt: Prompt, first: Prediction, zoom: Zoom, soft: bool) -> Prediction:
        """Look again at the object's crop, at the model's full resolution; the rest of the picture becomes 0."""
        assert self._image is not None
        height, width = self._image.shape[:2]
        crop = zoom_crop(first.alpha, prompt, zoom)
        if crop is None or max(height, width) < zoom.min_gain * max(crop[2] - crop[0], crop[3] - crop[1]):
            return first
        x1, y1, x2, y2 = crop
        piece = np.ascontiguousarray(self._image[y1:y2, x1:x2])
        embedding = encode_image(self.backend, piece)
        inner = self._prompt_in_crop(prompt, first.alpha, crop, zoom)
        again = self._decode(embedding, [inner], (y2 - y1, x2 - x1), multimask=False, soft=soft)[0]
        alpha = np.zeros((height, width), dtype=np.float32)
        alpha[y1:y2, x1:x2] = again.alpha
        return Prediction(alpha[None], again.scores)

    def _prompt_in_crop(
        self, prompt: Prompt, alpha: Float32[np.ndarray, "h w"], crop: tuple[int, int, int, int], zoom: Zoom
    ) -> Prompt:
        """The prompt as the crop sees it; what the first pass found is passed on in the form that the model takes."""
        x1, y1, x2, y2 = crop
        origin = np.array([x1, y1], dtype=np.float64)
        points, labels = prompt.points, prompt.labels
        if points is not None and labels is not None:
            inside = ((points >= origin) & (points <= [x2, y2])).all(1)
            points, labels = (points[inside] - origin, labels[inside]) if inside.any() else (None, None)
        box = None
        if prompt.box is not None:
            box = np.clip(prompt.box - np.tile(origin, 2), 0, [x2 - x1, y2 - y1, x2 - x1, y2 - y1])
        if self.backend.supports_alpha:
            return Prompt(points=points, labels=labels, box=box, alpha=np.ascontiguousarray(alpha[y1:y2, x1:x2]))
        if box is None:  # a matte cannot be passed on: its extent can
            extent = support_box(alpha, zoom.support)
            assert extent is not None
            box = extent - np.tile(origin, 2)
            if not self.backend.supports_clicks_and_box:
                points = labels = None
        return Prompt(points=points, labels=labels, box=box)


def zoom_crop(alpha: Float32[np.ndarray, "h w"], prompt: Prompt, zoom: Zoom) -> tuple[int, int, int, int] | None:
    """The crop X1 Y1 X2 Y2 [px] to look at again: the matte's extent, box and foreground clicks, with room round them.

    None where the first pass found nothing.
    """
    height, width = alpha.shape
    extent = support_box(alpha, zoom.support)
    if extent is None:
        return None
    boxes = [extent]
    if prompt.box is not None:
        boxes.append(prompt.box)
    if prompt.points is not None and prompt.labels is not None:
        boxes += [np.concatenate([p, p]) for p in prompt.points[prompt.labels == 1]]
    low, high = np.stack(boxes)[:, :2].min(0), np.stack(boxes)[:, 2:].max(0)
    room = zoom.margin * (high - low).max()
    x1, y1 = np.floor(np.maximum(low - room, 0)).astype(int)
    x2, y2 = np.ceil(np.minimum(high + room, [width, height])).astype(int)
    return int(x1), int(y1), int(x2), int(y2)
