"""ImagePredictor: geometry over any backend, so that a model in any runtime is a `Predictor`."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.backends.base import Backend, encode_image, is_stretched
from zim_plugins.core.encoding import CoarseAnswers
from zim_plugins.core.encoding import EncodedImage as EncodedImage
from zim_plugins.core.encoding import Predictor as Predictor
from zim_plugins.core.one_thread import OneThread
from zim_plugins.core.prediction import Prediction
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.refinement.base import Refiner
from zim_plugins.core.transforms import logits_to_alphas, prompt_to_frame, support_box, within_image
from zim_plugins.errors import UnsupportedPrompt
from zim_plugins.imaging.geometry import paste
from zim_plugins.imaging.ranges import ImageArray, to_uint8


@dataclass(frozen=True)
class Zoom:
    """The second pass on the object's own crop, for images larger than the model's frame.

    >>> Zoom(margin=0.1).min_gain
    1.25
    """

    margin: float = 0.2
    """Room round the object on each side, as a share of its longer side."""
    min_gain: float = 1.25
    """Least magnification that is worth another encoding."""
    support: float = 0.3
    """Opacity above which a pixel of the first pass belongs to the object's extent."""
    frame_px: int | None = None
    """Side of the second pass's frame [px] where a box was given and the crop has more pixels than the model's own
    frame, for backends with `at_frame`. The mean of both passes is the answer; a larger frame counts as magnification.
    None keeps to the model's own."""
    frame_margin: float = 0.15
    """Room round the object in that larger frame, as `margin`."""
    small_px: int | None = None
    """Longer side of a given box [px] below which its object is small. It is looked at twice, with `margin` and with
    `small_margin`, by box and clicks alone, since a first matte of so few pixels misleads; the mean of both looks is
    the answer. None knows no small objects, and a box that comes with an earlier matte is never small."""
    small_margin: float = 0.6
    """Room round a small object in its other look, as `margin`."""

    def is_small(self, prompt: Prompt) -> bool:
        """Return whether the prompt's box is one of a small object.

        >>> zoom = Zoom(small_px=64)
        >>> zoom.is_small(Prompt.from_box(0, 0, 63, 20)), zoom.is_small(Prompt.from_box(0, 0, 64, 20))
        (True, False)
        """
        if self.small_px is None or prompt.box is None or prompt.alpha is not None:
            return False
        return float((prompt.box[2:] - prompt.box[:2]).max()) < self.small_px


class ImagePredictor:
    """A `Predictor` over one backend: resizing, padding, coordinates, zoom; all in pixels of the original image.

    It has two faces. `set_image(image)` and `predict(prompt)` remember the image between calls and are for one thread:
    two threads that use them at once get `SharedAcrossThreads`. `encoded = encode(image)` and
    `predict(prompt, encoded=encoded)` remember nothing and are safe in any number of threads.

    Args:
        backend: the model.
        zoom: how objects are looked at a second time in images larger than the model's frame; None never does.
        refinement: what improves mattes at the end; None leaves them as they are.

    >>> from zim_plugins.core import load_predictor
    >>> predictor = load_predictor("zim_tiny", device="cpu")
    >>> encoded = predictor.encode(np.zeros((60, 80, 3), np.uint8))
    >>> predictor.predict(Prompt.from_point(40, 30), encoded=encoded).alpha.shape
    (60, 80)
    """

    def __init__(self, backend: Backend, *, zoom: Zoom | None = None, refinement: Refiner | None = None) -> None:
        self.backend = backend
        self.zoom = zoom
        self.refinement = refinement
        self.encodings = 0
        """Runs of the image encoder so far, zoomed crops counted."""
        self._encoded: EncodedImage | None = None
        self._guard, self._counting = OneThread(), threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the locks: a copy is another predictor, with a thread of its own."""
        return {name: value for name, value in vars(self).items() if name not in ("_guard", "_counting")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._guard, self._counting = OneThread(), threading.Lock()

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self.backend.name

    @property
    def frame_px(self) -> int:
        """Side of the frame that images are resized to [px]."""
        return self.backend.frame_px

    def encode(self, image: ImageArray) -> EncodedImage:
        """Encode an image without remembering it; safe in threads.

        Args:
            image: RGB, uint8, uint16 or floating-point in [0, 1]; it is copied.

        Raises:
            TypeError: no array.
            ValueError: of another shape, type or range.
        """
        rgb = to_uint8(image, copy=True)
        features = self._encode(rgb)
        rgb.setflags(write=False)
        return EncodedImage(rgb, features, self.backend)

    def set_image(self, image: ImageArray) -> None:
        """Encode an RGB image once, for all prompts that follow from this thread.

        Where it raises, no image is set, the one before neither.

        Args:
            image: as for `encode`; it is copied, and may be changed afterwards.

        Raises:
            TypeError: no array.
            ValueError: of another shape, type or range.
            SharedAcrossThreads: another thread is using this predictor.
        """
        with self._guard.use(sets_image=True):
            self._encoded = None
            self._encoded = self.encode(image)

    def reset_image(self) -> None:
        """Forget the image."""
        with self._guard.use(sets_image=True):
            self._encoded = None

    def predict(self, prompt: Prompt, *, multimask: bool = False, encoded: EncodedImage | None = None) -> Prediction:
        """Matte what one prompt points at.

        Args:
            prompt: in pixels of the original image.
            multimask: answer with all candidates of the model instead of one; they are neither zoomed nor refined.
            encoded: the image, where it is not the one that is set.

        Raises:
            ValueError: no image is set, the prompt lies outside it, or `encoded` is another model's.
            UnsupportedPrompt: the model cannot serve this kind of prompt.
            SharedAcrossThreads: another thread is using this predictor; never with `encoded`.
        """
        return self.predict_many([prompt], multimask=multimask, encoded=encoded)[0]

    def predict_many(
        self,
        prompts: Sequence[Prompt],
        *,
        multimask: bool = False,
        finished: bool | None = None,
        encoded: EncodedImage | None = None,
    ) -> list[Prediction]:
        """Matte what each prompt points at; see `predict`.

        Args:
            prompts: in pixels of the original image.
            multimask: answer with all candidates of the model instead of one.
            finished: zoom and refine, as this predictor does; None does so for single candidates alone.
            encoded: the image, where it is not the one that is set.
        """
        with self._image_for(encoded) as image:
            if not prompts:
                return []
            self._check(prompts, image.size)
            if finished is None:
                finished = not multimask
            soft = finished and self.refinement is not None and self.refinement.wants_uncertainty
            predictions = self._decode(image.features, prompts, image.size, multimask, soft=soft)
            if not finished:
                return predictions
            return [self._finished(p, q, image, soft) for p, q in zip(prompts, predictions, strict=True)]

    def predict_logits(
        self, prompts: Sequence[Prompt], *, multimask: bool = False, encoded: EncodedImage | None = None
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Answers as the decoder gives them: for choosing among many before any is enlarged to the image.

        Returns:
            Logits over the padded frame at the decoder's own stride, without zoom and refinement, and scores.
        """
        with self._image_for(encoded) as image:
            self._check(prompts, image.size)
            framed = _framed(prompts, image.size, self.backend)
            return self.backend.decode(image.features, framed, multimask=multimask)

    def predict_coarse(
        self, prompts: Sequence[Prompt], *, multimask: bool = False, encoded: EncodedImage | None = None
    ) -> CoarseAnswers:
        """Answer with logits over the image at the decoder's own stride; one is enlarged when it is chosen."""
        with self._image_for(encoded) as image:
            size, backend, stretched = image.size, self.backend, is_stretched(self.backend)
            logits, scores = self.predict_logits(prompts, multimask=multimask, encoded=encoded)

        def enlarge(row: int, candidate: int) -> Float32[np.ndarray, "h w"]:
            chosen = logits[row][candidate][None]
            return logits_to_alphas(chosen, size, backend.frame_px, backend.activation, stretched=stretched)[0]

        return CoarseAnswers(within_image(logits, size, backend.frame_px, stretched=stretched), scores, True, enlarge)

    def _encode(self, rgb: UInt8[np.ndarray, "h w 3"], backend: Backend | None = None) -> Any:
        """Run the encoder, and count."""
        features = encode_image(backend or self.backend, rgb)
        with self._counting:
            self.encodings += 1
        return features

    @contextmanager
    def _image_for(self, encoded: EncodedImage | None) -> Iterator[EncodedImage]:
        """The image that is meant; the one that is set is held for this thread."""
        if encoded is not None:
            if not isinstance(encoded, EncodedImage):
                raise TypeError(f"encoded is what encode(image) returns, got {type(encoded).__name__}")
            if encoded.backend is not self.backend:
                raise ValueError(f"this image was encoded by another model, {encoded.backend.name}: encode it here")
            yield encoded
            return
        with self._guard.use():
            if self._encoded is None:
                raise ValueError("no image is set: call set_image(image) first")
            yield self._encoded

    def _check(self, prompts: Sequence[Prompt], size: tuple[int, int]) -> None:
        """Raise where a prompt cannot be served on an image of `size` (H, W)."""
        for prompt in prompts:
            if not isinstance(prompt, Prompt):
                raise TypeError(f"a prompt is a zim_plugins.core.Prompt, got {type(prompt).__name__}")
            prompt.check_inside(size)
            self._check_supported(prompt)

    def _check_supported(self, prompt: Prompt) -> None:
        backend = self.backend
        if prompt.is_salient and not getattr(backend, "supports_salient", False):
            raise UnsupportedPrompt(
                f"{backend.name} finds no object by itself: give a click or a box, or take zim_tiny, which does"
            )
        if prompt.alpha is not None and not backend.supports_alpha:
            raise UnsupportedPrompt(f"{backend.name} takes no coarse matte: use clicks or a box, or another model")
        if prompt.points is not None and prompt.box is not None and not backend.supports_clicks_and_box:
            raise UnsupportedPrompt(
                f"{backend.name} takes clicks or a box, not both: drop one, or use a torch model (zim_tiny)"
            )

    def _decode(
        self,
        embedding: Any,
        prompts: Sequence[Prompt],
        size: tuple[int, int],
        multimask: bool,
        *,
        soft: bool = False,
        backend: Backend | None = None,
    ) -> list[Prediction]:
        """Predictions at the image's size; `soft` gives a hard segmenter's probabilities."""
        backend = backend or self.backend
        stretched = is_stretched(backend)
        activation = "sigmoid" if soft else backend.activation
        logits, scores = backend.decode(embedding, _framed(prompts, size, backend), multimask=multimask)
        return [
            Prediction.owning(
                logits_to_alphas(one, size, backend.frame_px, activation, stretched=stretched), score.copy()
            )
            for one, score in zip(logits, scores, strict=True)
        ]

    def _finished(self, prompt: Prompt, prediction: Prediction, image: EncodedImage, soft: bool) -> Prediction:
        """The candidates, each looked at again in its own crop and refined."""
        zoomed = self.zoom is not None and max(image.size) > self.backend.frame_px
        if not zoomed and self.refinement is None:
            return prediction
        alphas, scores = [], []
        for alpha, score in zip(prediction.alphas, prediction.scores, strict=True):
            if zoomed and self.zoom is not None:
                alpha, score = self._zoomed(prompt, alpha, score, image.rgb, self.zoom, soft)
            if self.refinement is not None:
                alpha = self.refinement.refine(image.rgb, alpha, prompt)
            alphas.append(alpha)
            scores.append(score)
        if len(alphas) == 1:
            return Prediction.owning(alphas[0][None], np.array(scores, dtype=np.float32))
        return Prediction.owning(np.stack(alphas), np.array(scores, dtype=np.float32))

    def _zoomed(
        self,
        prompt: Prompt,
        first: Float32[np.ndarray, "h w"],
        score: np.float32,
        rgb: UInt8[np.ndarray, "h w 3"],
        zoom: Zoom,
        soft: bool,
    ) -> tuple[Float32[np.ndarray, "h w"], np.float32]:
        """Look again at the object's crop, at the model's full resolution; the rest of the image becomes 0."""
        looks, is_found = [], support_box(first, zoom.support) is not None
        for room in (zoom.margin, zoom.small_margin) if zoom.is_small(prompt) else (zoom.margin,):
            crop, backend = zoom_crop(first, prompt, replace(zoom, margin=room)), self.backend
            if crop is None:
                return first, score
            if zoom.frame_px is not None and prompt.box is not None and _side(crop) > backend.frame_px:
                crop = zoom_crop(first, prompt, replace(zoom, margin=zoom.frame_margin)) or crop
                backend = backend.at_frame(zoom.frame_px)  # pyright: ignore
            gain = max(rgb.shape[:2]) / _side(crop) * backend.frame_px / self.backend.frame_px
            if gain < zoom.min_gain - 1e-9:
                continue
            # Look again at the crop, which has more of the frame's pixels than it had in the whole image.
            x1, y1, x2, y2 = crop
            embedding = self._encode(rgb[y1:y2, x1:x2].copy(), backend)
            inner = self._prompt_in_crop(prompt, first, crop, zoom)
            again = self._decode(embedding, [inner], (y2 - y1, x2 - x1), False, soft=soft, backend=backend)[0]
            found = again.alpha
            if backend is not self.backend and is_found:  # each errs on its own: their mean is better than either
                found = (found + first[y1:y2, x1:x2]) / 2
            looks.append((paste(found, crop, rgb.shape[:2]), again.scores[again.best]))
        if not looks:
            return first, score
        alpha = looks[0][0] if len(looks) == 1 else (looks[0][0] + looks[1][0]) / 2
        return alpha, np.float32(np.mean([score for _, score in looks]))

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
        extent = support_box(alpha, zoom.support)
        if self.backend.supports_alpha and extent is not None and not zoom.is_small(prompt):
            return Prompt(points=points, labels=labels, box=box, alpha=np.ascontiguousarray(alpha[y1:y2, x1:x2]))
        if box is None:  # a matte cannot be passed on: its extent can
            assert extent is not None
            box = extent - np.tile(origin, 2)
            if not self.backend.supports_clicks_and_box:
                points = labels = None
        return Prompt(points=points, labels=labels, box=box)


def _side(crop: tuple[int, int, int, int]) -> int:
    """Longer side of a crop X1 Y1 X2 Y2 [px]."""
    return max(crop[2] - crop[0], crop[3] - crop[1])


def _framed(prompts: Sequence[Prompt], size: tuple[int, int], backend: Backend) -> list[Prompt]:
    """The prompts on an image of `size` (H, W) as the backend's frame has them."""
    stretched = is_stretched(backend)
    return [prompt_to_frame(p, size, backend.frame_px, stretched=stretched) for p in prompts]


def zoom_crop(alpha: Float32[np.ndarray, "h w"], prompt: Prompt, zoom: Zoom) -> tuple[int, int, int, int] | None:
    """The crop X1 Y1 X2 Y2 [px] to look at again: the matte's extent, box and foreground clicks, with room round them.

    None where the first pass found nothing and no box says where to look.
    """
    height, width = alpha.shape
    extent = support_box(alpha, zoom.support)
    if extent is None and prompt.box is None:
        return None
    boxes = [box for box in (extent, prompt.box) if box is not None]
    if prompt.points is not None and prompt.labels is not None:
        boxes += [np.concatenate([p, p]) for p in prompt.points[prompt.labels == 1]]
    low, high = np.stack(boxes)[:, :2].min(0), np.stack(boxes)[:, 2:].max(0)
    room = zoom.margin * (high - low).max()
    x1, y1 = np.floor(np.maximum(low - room, 0)).astype(int)
    x2, y2 = np.ceil(np.minimum(high + room, [width, height])).astype(int)
    return int(x1), int(y1), int(x2), int(y2)
