"""SamPredictor: segment-anything's predictor, and sam2's additions to it, over this project's models."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from zim_plugins.core.backends.base import is_stretched
from zim_plugins.core.one_thread import OneThread
from zim_plugins.core.predictor import EncodedImage, ImagePredictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.sam_compat.low_resolution import (
    enlarged,
    from_low_resolution,
    log_odds,
    logit,
    low_resolution,
)
from zim_plugins.core.sam_compat.model import SamModel, as_model
from zim_plugins.core.sam_compat.prompts import prompts_of
from zim_plugins.core.sam_compat.resizing import ResizeLongestSide
from zim_plugins.core.transforms import frame_size
from zim_plugins.imaging.ranges import ImageArray, as_array, to_uint8

if TYPE_CHECKING:
    import torch

CANDIDATES = 3
"""Masks of a multimask answer, as SAM's."""


@dataclass(frozen=True, eq=False)
class _Set:
    """An image that is set."""

    encoded: EncodedImage
    original_size: tuple[int, int]
    """(H, W) that answers have [px]; not `encoded.size` where only the resized image was given."""

    # Pixels of the encoded image per unit of a prompt's coordinates, XY.

    @property
    def in_original(self) -> tuple[float, float]:
        """Scale where coordinates are pixels of the original image."""
        (height, width), (original_height, original_width) = self.encoded.size, self.original_size
        return width / original_width, height / original_height

    @property
    def in_shares(self) -> tuple[float, float]:
        """Scale where coordinates are shares of width and height."""
        return float(self.encoded.size[1]), float(self.encoded.size[0])

    def in_frame(self, side_px: int) -> tuple[float, float]:
        """Scale where coordinates are pixels of the frame."""
        height, width = frame_size(self.encoded.size, side_px)
        return self.encoded.size[1] / width, self.encoded.size[0] / height


@dataclass(frozen=True, eq=False)
class _Answer:
    """Answers to b prompts with c candidates each."""

    alphas: Float32[np.ndarray, "b c h w"]
    logits: Float32[np.ndarray, "b c h w"] | None
    """The model's own log-odds at full size, of models that answer with hard masks."""
    scores: Float32[np.ndarray, "b c"]
    low_res: Float32[np.ndarray, "b c s s"]


class SamPredictor:
    """segment-anything's `SamPredictor`, with sam2's `set_image_batch`, `predict_batch` and `normalize_coords`.

    Masks are bool, three of them unless `multimask_output=False`, and are this project's own answers, looked at again
    and refined as the predictor's settings say, cut at one half. `mattes=True` gives the opacities themselves.

    It differs from theirs in this: what the model cannot serve raises; masks of sam2's calls are bool, not float;
    the three masks of a matting model, which has four, are its best scored; with a matting model the logits are those
    of the finished matte. It remembers an image and is for one thread; `ImagePredictor.encode` is made for several.

    Args:
        sam_model: what `sam_model_registry[...]()` or `load_predictor(...)` returned.

    >>> from zim_plugins.core import load_predictor
    >>> predictor = SamPredictor(load_predictor("zim_tiny", device="cpu"))
    >>> predictor.set_image(np.zeros((60, 80, 3), np.uint8))
    >>> masks, scores, logits = predictor.predict(box=np.array([20, 15, 60, 45]))
    >>> masks.dtype, masks.shape, logits.shape
    (dtype('bool'), (3, 60, 80), (3, 256, 256))
    """

    def __init__(self, sam_model: SamModel | ImagePredictor) -> None:
        self.model = as_model(sam_model)
        self._guard = OneThread()
        self._images: list[_Set] = []
        self._is_batch = False

    @property
    def predictor(self) -> ImagePredictor:
        """The predictor behind this face."""
        return self.model.predictor

    @property
    def transform(self) -> ResizeLongestSide:
        """SAM's transform into the model's frame; `predict_torch` takes what it yields."""
        return ResizeLongestSide(self.model.image_encoder.img_size)

    @property
    def device(self) -> "torch.device":
        """Device that the model runs on."""
        return self.model.device

    @property
    def is_image_set(self) -> bool:
        """Return whether an image is set."""
        return bool(self._images)

    @property
    def original_size(self) -> tuple[int, int] | None:
        """(H, W) of the image that is set [px]; None without one."""
        return self._images[0].original_size if self._images else None

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(H, W) of it in the frame [px]; None without one."""
        if self.original_size is None:
            return None
        return ResizeLongestSide.get_preprocess_shape(*self.original_size, self.transform.target_length)

    def set_image(self, image: ImageArray, image_format: str = "RGB") -> None:
        """Encode an image, which is copied.

        Args:
            image: uint8, uint16 or floating-point in [0, 1], of shape (h, w, 3).
            image_format: order of its channels, RGB or BGR.

        Raises:
            TypeError: no array.
            ValueError: another shape, type, range or format.
            SharedAcrossThreads: another thread is using this predictor.
        """
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format is 'RGB' or 'BGR', got {image_format!r}")
        with self._replaced(is_batch=False) as images:
            rgb = to_uint8(image)
            encoded = self.predictor.encode(rgb if image_format == "RGB" else rgb[..., ::-1])
            images.append(_Set(encoded, encoded.size))

    def set_torch_image(self, transformed_image: "torch.Tensor", original_image_size: tuple[int, ...]) -> None:
        """Encode an image that is in the frame already: zoom and refinement see no more than that.

        Args:
            transformed_image: (1, 3, h, w) in [0, 255], the longest side the frame's.
            original_image_size: (H, W) that the answers shall have [px].
        """
        array = as_array(transformed_image, "transformed_image")
        side = self.transform.target_length
        if array.ndim != 4 or array.shape[:2] != (1, 3) or max(array.shape[2:]) != side:
            raise ValueError(f"transformed_image is (1, 3, h, w) with a longest side of {side} px, got {array.shape}")
        if len(original_image_size) < 2 or min(original_image_size[:2]) < 1:
            raise ValueError(f"original_image_size is (height, width) [px], got {original_image_size}")
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
            raise ValueError("transformed_image holds values in [0, 255]")
        rgb = np.ascontiguousarray(np.round(array[0]).astype(np.uint8).transpose(1, 2, 0))
        with self._replaced(is_batch=False) as images:
            images.append(_Set(self.predictor.encode(rgb), (int(original_image_size[0]), int(original_image_size[1]))))

    def set_image_batch(self, image_list: Sequence[Shaped[np.ndarray, "_ _ 3"]]) -> None:
        """Encode several RGB images, for `predict_batch`; each as `set_image` takes it."""
        if not isinstance(image_list, list | tuple):
            raise TypeError(f"set_image_batch takes a list of arrays, got {type(image_list).__name__}")
        with self._replaced(is_batch=True) as images:
            for image in image_list:
                encoded = self.predictor.encode(image)
                images.append(_Set(encoded, encoded.size))

    def reset_image(self) -> None:
        """Forget the image."""
        with self._replaced(is_batch=False):
            pass

    reset_predictor = reset_image

    def get_image_embedding(self) -> "torch.Tensor":
        """Return a copy of the embedding of the image that is set, (1, c, h, w)."""
        import torch

        features = self._the_image().encoded.features
        embedding = getattr(features, "embedding", None)
        if embedding is None and isinstance(features, dict):
            embedding = next(iter(features.values()))
        if embedding is None:
            raise ValueError(f"{self.predictor.name} keeps no embedding that could be handed out")
        if not isinstance(embedding, torch.Tensor):
            embedding = torch.from_numpy(np.array(embedding.numpy()))
        return embedding.detach().clone()

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
        *,
        mattes: bool = False,
    ) -> tuple[np.ndarray, Float32[np.ndarray, "..."], Float32[np.ndarray, "..."]]:
        """Mask what the prompt points at.

        Args:
            point_coords: XY of n clicks, (n, 2) [px]; (b, n, 2) for b prompts.
            point_labels: 1 foreground, 0 background, -1 none, (n,) or (b, n).
            box: X1 Y1 X2 Y2 [px]; (b, 4) for b prompts.
            mask_input: the third answer of an earlier call, (1, 256, 256).
            multimask_output: three masks, else one.
            return_logits: log-odds in (-inf, inf) instead of masks.
            normalize_coords: coordinates are pixels; False: shares of width and height, as in sam2.
            mattes: opacities in [0, 1], float32, instead of masks.

        Returns:
            Masks (c, h, w), their scores (c,) and log-odds (c, 256, 256) for the next call's `mask_input`. For b > 1
            prompts each with b in front.

        Raises:
            ValueError: no image or a batch is set, or the prompt makes no sense on it.
            UnsupportedPrompt: the model cannot serve this combination of prompts.
        """
        with self._guard.use():
            image = self._the_image()
            scale = image.in_shares if not normalize_coords else image.in_original
            prompts = self._prompts(image, scale, point_coords, point_labels, box, mask_input)
            answer = self._answer(image, prompts, multimask_output)
        shown = _shown(answer, return_logits, mattes)
        one = len(prompts) == 1
        return (shown[0], answer.scores[0], answer.low_res[0]) if one else (shown, answer.scores, answer.low_res)

    def predict_batch(
        self,
        point_coords_batch: Sequence[Any] | None = None,
        point_labels_batch: Sequence[Any] | None = None,
        box_batch: Sequence[Any] | None = None,
        mask_input_batch: Sequence[Any] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
        *,
        mattes: bool = False,
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """Mask what each image's prompts point at, as `predict` does: lists with one entry for each image set."""
        if not self._is_batch:
            raise ValueError("no batch is set: call set_image_batch(images) first")
        given = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        with self._guard.use():
            images = self._images
            for rows in given:
                if rows is not None and len(rows) != len(images):
                    raise ValueError(f"{len(rows)} entries do not match {len(images)} images")
            answers: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = ([], [], [])
            for i, image in enumerate(images):
                own = [None if rows is None else rows[i] for rows in given]
                prompts = self._prompts(image, image.in_original if normalize_coords else image.in_shares, *own)
                answer = self._answer(image, prompts, multimask_output)
                row = _shown(answer, return_logits, mattes), answer.scores, answer.low_res
                for kept, values in zip(answers, row, strict=True):
                    kept.append(values[0] if len(prompts) == 1 else values)
        return answers

    def predict_torch(
        self,
        point_coords: "torch.Tensor | None",
        point_labels: "torch.Tensor | None",
        boxes: "torch.Tensor | None" = None,
        mask_input: "torch.Tensor | None" = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        mattes: bool = False,
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Mask what b prompts point at, given and answered as tensors, coordinates as `transform` yields them.

        Args:
            point_coords: XY (b, n, 2) in the frame [px].
            point_labels: 1 foreground, 0 background, -1 none, (b, n).
            boxes: X1 Y1 X2 Y2 (b, 4) in the frame [px].
            mask_input: (b, 1, 256, 256), as this function returned it.
            multimask_output: three masks for each prompt, else one.
            return_logits: log-odds instead of masks.
            mattes: opacities in [0, 1] instead of masks.

        Returns:
            Masks (b, c, h, w), scores (b, c) and log-odds (b, c, 256, 256), on the model's device.
        """
        import torch

        with self._guard.use():
            image = self._the_image()
            if point_coords is not None and point_coords.ndim != 3:
                raise ValueError(f"point_coords are (b, n, 2), got {tuple(point_coords.shape)}")
            scale = image.in_frame(self.transform.target_length)
            prompts = self._prompts(image, scale, point_coords, point_labels, boxes, mask_input)
            answer = self._answer(image, prompts, multimask_output)
        values = _shown(answer, return_logits, mattes), answer.scores, answer.low_res
        masks, scores, low_res = (torch.from_numpy(v).to(self.device) for v in values)
        return masks, scores, low_res

    @contextmanager
    def _replaced(self, *, is_batch: bool) -> Iterator[list[_Set]]:
        """Replace what is set by what is put into the list; where that raises nothing is set."""
        with self._guard.use(sets_image=True):
            self._images, self._is_batch = [], False
            images: list[_Set] = []
            yield images
            self._images, self._is_batch = images, is_batch

    def _the_image(self) -> _Set:
        if self._is_batch:
            raise ValueError("a batch of images is set: call predict_batch, or set_image(image)")
        if not self._images:
            raise ValueError("an image must be set first: call set_image(image)")
        return self._images[0]

    def _prompts(self, image: _Set, scale: tuple[float, float], *given: Any) -> list[Prompt]:
        """Prompts in the pixels of the image that was encoded; `given` are clicks, labels, boxes and masks."""
        coords, labels, boxes, mask_input = given
        alphas = None
        if mask_input is not None:
            stretched = is_stretched(self.predictor.backend)
            alphas = from_low_resolution(mask_input, image.encoded.size, self._low_res_px(), stretched=stretched)
        return prompts_of(coords, labels, boxes, alphas, scale)

    def _low_res_px(self) -> int:
        """Side of the low-resolution log-odds: 256, as SAM's of 1024-px frames."""
        backend = self.predictor.backend
        return backend.frame_px // 4 if backend.activation == "step" else 256

    def _answer(self, image: _Set, prompts: Sequence[Prompt], multimask: bool) -> _Answer:
        predictor, backend = self.predictor, self.predictor.backend
        stretched, side = is_stretched(backend), self._low_res_px()
        count = CANDIDATES if multimask else 1
        if backend.activation == "step" and predictor.zoom is None and predictor.refinement is None:
            # A hard segmenter as it is: its own log-odds, enlarged as SAM enlarges them.
            raw, estimates = predictor.predict_logits(prompts, multimask=multimask, encoded=image.encoded)
            scores, low_res = _chosen(list(zip(estimates, raw, strict=True)), count)
            logits = log_odds(low_res, image.original_size, backend.frame_px, stretched=stretched)
            return _Answer((logits > 0).astype(np.float32), logits, scores, enlarged(low_res, (side, side)))
        found = predictor.predict_many(prompts, multimask=multimask, finished=True, encoded=image.encoded)
        scores, alphas = _chosen([(p.scores, p.alphas) for p in found], count)
        alphas = enlarged(alphas, image.original_size).clip(0, 1)
        return _Answer(alphas, None, scores, low_resolution(alphas, side, stretched=stretched))


class SamStylePredictor(SamPredictor):
    """Deprecated spelling of `SamPredictor` whose masks are opacities by default.

    Use `SamPredictor`, and `predict(..., mattes=True)` where opacities are wanted.
    """

    def __init__(self, predictor: SamModel | ImagePredictor) -> None:
        warnings.warn(
            "SamStylePredictor is deprecated: use SamPredictor, and predict(..., mattes=True) for opacities",
            DeprecationWarning,
            stacklevel=2,
        )
        super().__init__(predictor)

    def predict(self, *args: Any, mattes: bool = True, **kwargs: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `SamPredictor.predict`, with opacities by default."""
        return super().predict(*args, mattes=mattes, **kwargs)


def _shown(answer: _Answer, return_logits: bool, mattes: bool) -> Bool[np.ndarray, "..."] | Float32[np.ndarray, "..."]:
    """Masks, mattes or log-odds, whichever was asked for."""
    if return_logits and mattes:
        raise ValueError("return_logits and mattes exclude each other")
    if mattes:
        return answer.alphas
    if not return_logits:
        return answer.alphas > 0.5
    if answer.logits is not None:
        return answer.logits
    return logit(answer.alphas)


def _chosen(
    candidates: Sequence[tuple[Float32[np.ndarray, " _"], Float32[np.ndarray, "_ _ _"]]], count: int
) -> tuple[Float32[np.ndarray, "b c"], Float32[np.ndarray, "b c _ _"]]:
    """Scores and maps of the best scored candidates of each prompt, in the model's own order."""
    kept = [np.sort(np.argsort(-scores, kind="stable")[:count]) for scores, _ in candidates]
    return (
        np.stack([scores[k] for (scores, _), k in zip(candidates, kept, strict=True)]),
        np.stack([maps[k] for (_, maps), k in zip(candidates, kept, strict=True)]),
    )
