"""SamModel: what segment-anything's programs hold between the registry and a predictor."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from zim_plugins.core.backends.base import Backend
from zim_plugins.core.checkpoints.records import CHECKPOINTS
from zim_plugins.core.load import load_predictor, resolve_device
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.sam_compat.answers import answer_prompts, from_frame, prompts_for

if TYPE_CHECKING:
    import torch


class SamModel:
    """A model under the names by which segment-anything's programs use theirs.

    Args:
        predictor: any `ImagePredictor`; `sam_model_registry` and `SamPredictor` make this of it.

    >>> SamModel(load_predictor("zim_tiny", device="cpu")).image_encoder.img_size
    384
    """

    mask_threshold = 0.0
    """Log-odds above which a pixel belongs to the mask."""
    image_format = "RGB"

    def __init__(self, predictor: ImagePredictor) -> None:
        self.predictor = predictor

    @property
    def image_encoder(self) -> SimpleNamespace:
        """Holds `img_size`, the side of the model's frame [px]."""
        return SimpleNamespace(img_size=self.predictor.backend.frame_px)

    @property
    def device(self) -> "torch.device":
        """Device that the model runs on."""
        import torch

        return torch.device(str(getattr(self.predictor.backend, "device", "cpu")))

    def to(self, device: Any = "cpu") -> "SamModel":
        """Move the model to a device.

        Raises:
            ValueError: the device is not here, or the runtime takes its device at loading only.
        """
        wanted = resolve_device(device)
        if wanted != str(self.device):
            move = getattr(self.predictor.backend, "move", None)
            if move is None:
                raise ValueError(
                    f"{self.predictor.name} stays on {self.device}: choose with load_predictor(..., device={wanted!r})"
                )
            move(wanted)
        return self

    def cuda(self) -> "SamModel":
        """Move the model to the GPU."""
        return self.to("cuda")

    def eval(self) -> "SamModel":
        """Do nothing: the model is ready for use as it is."""
        return self

    def __call__(self, batched_input: Sequence[Mapping[str, Any]], multimask_output: bool) -> list[dict[str, Any]]:
        """Answer a batch of images and prompts, as SAM's model itself does.

        Args:
            batched_input: for each image `image`, a tensor (3, h, w) in [0, 255] already in the frame; `original_size`;
                and, in the frame's pixels, `boxes` (b, 4), or `point_coords` (b, n, 2) with `point_labels` (b, n);
                `mask_inputs` (b, 1, 256, 256).
            multimask_output: three masks for each prompt instead of one.

        Returns:
            For each image `masks` (b, c, H, W) of bool, `iou_predictions` (b, c), `low_res_logits` (b, c, 256, 256).
        """
        import torch

        predictor, answers = self.predictor, []
        for one in batched_input:
            unknown = set(one) - {"image", "original_size", "boxes", "point_coords", "point_labels", "mask_inputs"}
            if unknown:
                raise ValueError(f"an image of the batch holds {', '.join(sorted(unknown))}, which nobody reads")
            image = from_frame(predictor, one["image"][None], tuple(one["original_size"]))
            given = [one.get(name) for name in ("point_coords", "point_labels", "boxes", "mask_inputs")]
            prompts = prompts_for(predictor, image, image.in_frame(predictor.backend.frame_px), *given)
            answer = answer_prompts(predictor, image, prompts, multimask_output)
            values = {
                "masks": answer.shown(False, False),
                "iou_predictions": answer.scores,
                "low_res_logits": answer.low_res,
            }
            answers.append({name: torch.from_numpy(array).to(self.device) for name, array in values.items()})
        return answers


def as_model(model: SamModel | ImagePredictor) -> SamModel:
    """Return the model that a face was given.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(model, SamModel):
        return model
    if isinstance(getattr(model, "backend", None), Backend):
        return SamModel(model)
    raise TypeError(
        f"the model comes from sam_model_registry[...]() or load_predictor(...), got {type(model).__name__}"
    )


def _build(name: str, checkpoint: str | Path | None = None) -> SamModel:
    """Load a model; see `sam_model_registry`."""
    return SamModel(load_predictor(name if checkpoint is None else checkpoint, device="cpu"))


_SAM_NAMES = {"default": "sam_vit_h", "vit_h": "sam_vit_h", "vit_l": "sam_vit_l", "vit_b": "sam_vit_b"}
sam_model_registry: dict[str, Callable[..., SamModel]] = {
    **{theirs: partial(_build, ours) for theirs, ours in _SAM_NAMES.items()},
    **{name: partial(_build, name) for name in CHECKPOINTS},
}
"""Builders by SAM's names and ours: `sam_model_registry["vit_b"](checkpoint="sam_vit_b_01ec64.pth")` reads the file,
whose own shape decides; `sam_model_registry["zim_tiny"]()` takes what is on this machine. Models start on the CPU."""
