"""TransformersBackend: a promptable segmenter of transformers behind this project's `Backend`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from zim_plugins.core.backends.transformers.families import family_of
from zim_plugins.core.checkpoints.whole_model import load_whole
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import CheckpointError, UnsupportedPrompt

BATCH_PROMPTS = 32
"""Prompts decoded at once, at most."""
SURE = 1e-3
"""A coarse matte becomes logits between those of this opacity and of one less it."""


class TransformersBackend:
    """A SAM, SAM-HQ, SAM 2, EdgeTAM or SAM 3 tracker of transformers: hard masks, no matte.

    Coordinates, normalisation and score are the family's own, as its processor and its post-processing have them.

    Args:
        folder: as `save_pretrained` writes it.
        name: for records and messages.
        device: a torch device.
        dtype: what encoder and decoder compute in; prompts are placed in float32.

    Raises:
        CheckpointError: the folder holds no such model, or not all of its weights.
        MissingExtra: transformers, or what the family needs beside it, is not installed.
    """

    activation: Literal["sigmoid", "step"] = "step"

    def __init__(self, folder: Path, *, name: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.name = name
        self.family = family_of(folder)
        self.device, self.dtype = torch.device(device), dtype
        self.prompts = self.family.prompts()
        self.supports_clicks_and_box = self.prompts["clicks"] and self.prompts["box"]
        self.supports_alpha = self.prompts["mask"]
        self.model = load_whole(self.family.load_class(), folder)
        self.preprocessing = self.family.preprocessing.read(folder)
        self.frame_px = self.preprocessing.frame_px
        self.stretched = self.preprocessing.stretched
        encoder_px = _side(self.model.config.prompt_encoder_config.image_size)
        if encoder_px != self.frame_px:
            raise CheckpointError(
                f"{folder} is inconsistent: its network takes {encoder_px} px, its preprocessor gives {self.frame_px}"
            )
        self.model.to(device)
        _cast(self.model, dtype)

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
        """Encode an RGB image; what comes back stays on the device."""
        return self.encode_original(image)

    @torch.inference_mode()
    def encode_original(self, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
        """Encode an RGB image of any size, resized by the family's own filter."""
        pixels = self.preprocessing(image).to(self.device, self.dtype)
        return self.family.encode(self.model, pixels)

    @torch.inference_mode()
    def decode(
        self, embedding: dict[str, Any], prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Decode prompts in frame coordinates [px].

        Prompts alike in kind and number of clicks share a batch without padding, so that an answer does not depend on
        its neighbours. One candidate comes back where `multimask` is False, else all that the model offers.

        Raises:
            UnsupportedPrompt: the model's class takes no such prompt.
        """
        groups: dict[tuple[int, bool, bool], list[int]] = {}
        for i, prompt in enumerate(prompts):
            self._check(prompt)
            clicks = 0 if prompt.points is None else len(prompt.points)
            groups.setdefault((clicks, prompt.box is not None, prompt.alpha is not None), []).append(i)
        logits: list[Any] = [None] * len(prompts)
        scores: list[Any] = [None] * len(prompts)
        for members in groups.values():
            for start in range(0, len(members), BATCH_PROMPTS):
                batch = members[start : start + BATCH_PROMPTS]
                masks, quality = self._decode_alike(embedding, [prompts[i] for i in batch], multimask)
                for row, i in enumerate(batch):
                    logits[i], scores[i] = masks[row], quality[row]
        return np.stack(logits), np.stack(scores)

    def _check(self, prompt: Prompt) -> None:
        given = {
            "clicks": prompt.points is not None,
            "negatives": prompt.labels is not None and not prompt.labels.all(),
            "box": prompt.box is not None,
            "mask": prompt.alpha is not None,
        }
        refused = [word for word, there in given.items() if there and not self.prompts[word]]
        if refused:
            raise UnsupportedPrompt(
                f"{self.name} ({self.family.title}) takes no {', '.join(refused)}: use another prompt"
            )

    def _decode_alike(
        self, embedding: dict[str, Any], prompts: Sequence[Prompt], multimask: bool
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Decode prompts of one kind: as objects of one image, or, with masks of their own, as images of one object."""
        count = len(prompts)
        with_alpha = prompts[0].alpha is not None
        layout = (count, 1) if with_alpha else (1, count)
        given: dict[str, Any] = {}
        if prompts[0].points is not None:
            points, labels = np.stack([p.points for p in prompts]), np.stack([p.labels for p in prompts])  # pyright: ignore
            given["input_points"] = self._tensor(points).view(*layout, -1, 2)
            given["input_labels"] = torch.from_numpy(labels).to(self.device).view(*layout, -1)
        if prompts[0].box is not None:
            given["input_boxes"] = self._tensor(np.stack([p.box for p in prompts])).view(*layout, 4)  # pyright: ignore
        if with_alpha:
            given["input_masks"] = self._mask_logits(np.stack([p.alpha for p in prompts]))  # pyright: ignore
            embedding = {key: _repeated(value, count) for key, value in embedding.items()}
        answer = self.model(**embedding, **given, multimask_output=multimask)
        masks = answer.pred_masks.float().flatten(0, 1).cpu().numpy()
        return masks, answer.iou_scores.float().flatten(0, 1).cpu().numpy()

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)

    def _mask_logits(self, alphas: Float32[np.ndarray, "b f f"]) -> Float[Tensor, "b 1 m m"]:
        """Coarse mattes over the frame as the logits that the family's mask input takes, at its own size."""
        side = mask_input_px(self.model)
        small = torch.nn.functional.adaptive_avg_pool2d(self._tensor(alphas)[:, None], side)
        return torch.logit(small.clamp(SURE, 1 - SURE))


def mask_input_px(model: Any) -> int:
    """Return the side [px] of the mask that a model's prompt encoder takes: four cells for each of the embedding's."""
    config = model.config.prompt_encoder_config
    return 4 * (_side(config.image_size) // _side(config.patch_size))


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, list | tuple) else size)


def _repeated(value: Any, count: int) -> Any:
    """The features of one image, seen as those of `count` images."""
    if isinstance(value, list):
        return [_repeated(one, count) for one in value]
    return value.expand(count, *value.shape[1:])


def _cast(model: Any, dtype: torch.dtype) -> None:
    """Let a model compute in `dtype`, positions of prompts and of the image excepted, whose answers are cast."""
    if dtype == torch.float32:
        return
    kept = {"prompt_encoder", "shared_image_embedding"}
    for part, module in model.named_children():
        if part in kept:
            module.register_forward_hook(lambda module, inputs, output: _as_dtype(output, dtype))
        else:
            module.to(dtype)
    for name, parameter in model.named_parameters(recurse=False):
        setattr(model, name, torch.nn.Parameter(parameter.to(dtype), requires_grad=False))


def _as_dtype(output: Any, dtype: torch.dtype) -> Any:
    if isinstance(output, tuple):
        return tuple(_as_dtype(one, dtype) for one in output)
    return None if output is None else output.to(dtype)
