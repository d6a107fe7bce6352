"""Answers behind SAM's faces: an image with its encoding, prompts in its pixels, candidates with their log-odds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.core.backends.base import is_stretched
from zim_plugins.core.predictor import EncodedImage, ImagePredictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.sam_compat.low_resolution import enlarged, from_low_resolution, log_odds, logit, low_resolution
from zim_plugins.core.sam_compat.prompts import prompts_of
from zim_plugins.core.transforms import frame_size
from zim_plugins.imaging.ranges import as_array

CANDIDATES = 3
"""Masks of a multimask answer, as SAM's."""


@dataclass(frozen=True, eq=False)
class SetImage:
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
class Answer:
    """Answers to b prompts with c candidates each."""

    alphas: Float32[np.ndarray, "b c h w"]
    logits: Float32[np.ndarray, "b c h w"] | None
    """The model's own log-odds at full size, of models that answer with hard masks."""
    scores: Float32[np.ndarray, "b c"]
    low_res: Float32[np.ndarray, "b c s s"]

    def shown(self, return_logits: bool, mattes: bool) -> Bool[np.ndarray, "..."] | Float32[np.ndarray, "..."]:
        """Return masks, mattes or log-odds, whichever was asked for."""
        if return_logits and mattes:
            raise ValueError("return_logits and mattes exclude each other")
        if mattes:
            return self.alphas
        if not return_logits:
            return self.alphas > 0.5
        return logit(self.alphas) if self.logits is None else self.logits


def from_frame(predictor: ImagePredictor, transformed_image: Any, original_size: Sequence[int]) -> SetImage:
    """Encode an image that is in the frame already.

    Args:
        transformed_image: tensor (1, 3, h, w) in [0, 255], the longest side the frame's.
        original_size: (H, W) that the answers shall have [px].

    Raises:
        TypeError: no array.
        ValueError: another shape or range.
    """
    array, side = as_array(transformed_image, "transformed_image"), predictor.backend.frame_px
    if array.ndim != 4 or array.shape[:2] != (1, 3) or max(array.shape[2:]) != side or 0 in array.shape:
        raise ValueError(f"transformed_image is (1, 3, h, w) with a longest side of {side} px, got {array.shape}")
    if len(original_size) < 2 or min(original_size[:2]) < 1:
        raise ValueError(f"original_image_size is (height, width) [px], got {original_size}")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise ValueError("transformed_image holds values in [0, 255]")
    rgb = np.ascontiguousarray(np.round(array[0]).astype(np.uint8).transpose(1, 2, 0))
    return SetImage(predictor.encode(rgb), (int(original_size[0]), int(original_size[1])))


def prompts_for(predictor: ImagePredictor, image: SetImage, scale: tuple[float, float], *given: Any) -> list[Prompt]:
    """Prompts in the pixels of the image that was encoded; `given` are clicks, labels, boxes and masks."""
    coords, labels, boxes, mask_input = given
    alphas = None
    if mask_input is not None:
        backend = predictor.backend
        alphas = from_low_resolution(
            mask_input, image.encoded.size, low_res_px(predictor), stretched=is_stretched(backend)
        )
    return prompts_of(coords, labels, boxes, alphas, scale)


def low_res_px(predictor: ImagePredictor) -> int:
    """Side of the low-resolution log-odds [px]: 256, as SAM's of 1024-px frames."""
    backend = predictor.backend
    return backend.frame_px // 4 if backend.activation == "step" else 256


def answer_prompts(predictor: ImagePredictor, image: SetImage, prompts: Sequence[Prompt], multimask: bool) -> Answer:
    """Answer prompts with one candidate each, or with three."""
    backend = predictor.backend
    stretched, side = is_stretched(backend), low_res_px(predictor)
    count = CANDIDATES if multimask else 1
    if backend.activation == "step" and predictor.zoom is None and predictor.refinement is None:
        # A hard segmenter as it is: its own log-odds, enlarged as SAM enlarges them.
        raw, estimates = predictor.predict_logits(prompts, multimask=multimask, encoded=image.encoded)
        scores, low_res = _chosen(list(zip(estimates, raw, strict=True)), count)
        logits = log_odds(low_res, image.original_size, backend.frame_px, stretched=stretched)
        return Answer((logits > 0).astype(np.float32), logits, scores, enlarged(low_res, (side, side)))
    found = predictor.predict_many(prompts, multimask=multimask, finished=True, encoded=image.encoded)
    scores, alphas = _chosen([(p.scores, p.alphas) for p in found], count)
    alphas = enlarged(alphas, image.original_size).clip(0, 1)
    return Answer(alphas, None, scores, low_resolution(alphas, side, stretched=stretched))


def _chosen(
    candidates: Sequence[tuple[Float32[np.ndarray, " _"], Float32[np.ndarray, "_ _ _"]]], count: int
) -> tuple[Float32[np.ndarray, "b c"], Float32[np.ndarray, "b c _ _"]]:
    """Scores and maps of the best scored candidates of each prompt, in the model's own order."""
    kept = [np.sort(np.argsort(-scores, kind="stable")[:count]) for scores, _ in candidates]
    return (
        np.stack([scores[k] for (scores, _), k in zip(candidates, kept, strict=True)]),
        np.stack([maps[k] for (_, maps), k in zip(candidates, kept, strict=True)]),
    )
