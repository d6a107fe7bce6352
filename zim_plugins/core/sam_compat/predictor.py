"""SamPredictor: segment-anything's predictor, and sam2's additions to it, over this project's models."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Shaped

from zim_plugins.core.one_thread import OneThread
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.sam_compat.answers import SetImage, answer_prompts, from_frame, prompts_for
from zim_plugins.core.sam_compat.model import SamModel, as_model
from zim_plugins.core.sam_compat.resizing import ResizeLongestSide
from zim_plugins.imaging.ranges import ImageArray, to_uint8

if TYPE_CHECKING:
    import torch


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
        self._images: list[SetImage] = []
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
            images.append(SetImage(encoded, encoded.size))

    def set_torch_image(self, transformed_image: "torch.Tensor", original_image_size: tuple[int, ...]) -> None:
        """Encode an image that is in the frame already: zoom and refinement see no more than that.

        Args:
            transformed_image: (1, 3, h, w) in [0, 255], the longest side the frame's.
            original_image_size: (H, W) that the answers shall have [px].
        """
        with self._replaced(is_batch=False) as images:
            images.append(from_frame(self.predictor, transformed_image, original_image_size))

    def set_image_batch(self, image_list: Sequence[Shaped[np.ndarray, "_ _ 3"]]) -> None:
        """Encode several RGB images, for `predict_batch`; each as `set_image` takes it."""
        if not isinstance(image_list, list | tuple):
            raise TypeError(f"set_image_batch takes a list of arrays, got {type(image_list).__name__}")
        with self._replaced(is_batch=True) as images:
            for image in image_list:
                encoded = self.predictor.encode(image)
                images.append(SetImage(encoded, encoded.size))

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
            prompts = prompts_for(self.predictor, image, scale, point_coords, point_labels, box, mask_input)
            answer = answer_prompts(self.predictor, image, prompts, multimask_output)
        shown = answer.shown(return_logits, mattes)
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
                prompts = prompts_for(
                    self.predictor, image, image.in_original if normalize_coords else image.in_shares, *own
                )
                answer = answer_prompts(self.predictor, image, prompts, multimask_output)
                row = answer.shown(return_logits, mattes), answer.scores, answer.low_res
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
            prompts = prompts_for(self.predictor, image, scale, point_coords, point_labels, boxes, mask_input)
            answer = answer_prompts(self.predictor, image, prompts, multimask_output)
        values = answer.shown(return_logits, mattes), answer.scores, answer.low_res
        masks, scores, low_res = (torch.from_numpy(v).to(self.device) for v in values)
        return masks, scores, low_res

    @contextmanager
    def _replaced(self, *, is_batch: bool) -> Iterator[list[SetImage]]:
        """Replace what is set by what is put into the list; where that raises nothing is set."""
        with self._guard.use(sets_image=True):
            self._images, self._is_batch = [], False
            images: list[SetImage] = []
            yield images
            self._images, self._is_batch = images, is_batch

    def _the_image(self) -> SetImage:
        if self._is_batch:
            raise ValueError("a batch of images is set: call predict_batch, or set_image(image)")
        if not self._images:
            raise ValueError("an image must be set first: call set_image(image)")
        return self._images[0]


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
