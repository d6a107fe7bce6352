"""Training ZIM itself: prompts drawn from mattes, the network's answer, the loss on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zim_plugins.core.modeling.layers import upsample
from zim_plugins.core.modeling.zim import Zim, ZimConfig, config_to_dict, save_weights
from zim_plugins.training.hooks import parameter_groups
from zim_plugins.training.library import Library
from zim_plugins.training.losses import LossWeights, matte_loss
from zim_plugins.training.prompting import PromptSampling
from zim_plugins.training.samples import Batch, SampleSource
from zim_plugins.training.scenes import SceneMix

CHECK_BATCH = 16
"""Pictures of one held-out batch."""


@dataclass(frozen=True)
class ZimSettings:
    """What to train, on which scenes, asked how, judged how."""

    config: ZimConfig
    loss: LossWeights = LossWeights()
    coarse_loss: LossWeights | None = None
    """Weights at frames below `coarse_below_px`, where shapes are learnt before edges; None: `loss` throughout."""
    coarse_below_px: int = 256
    mix: SceneMix = SceneMix()
    sampling: PromptSampling = PromptSampling()
    prompts_per_image: int = 2
    second_look: float = 0.0
    """Steps in which the model first answers without gradient, then again with its own matte as part of the prompt."""
    layer_decay: float = 1.0
    """Learning rate of an encoder block, as a share of the next one's."""

    def task(self, library: Library, held_out: Library | None, seed: int) -> "ZimTask":
        """The task on its data."""
        return ZimTask(self, library, held_out, seed)


@dataclass(frozen=True, eq=False)
class ZimTask:
    """ZIM, its scenes and its loss."""

    settings: ZimSettings
    library: Library
    held_out: Library | None
    seed: int

    def identity(self) -> dict[str, Any]:
        """The network's configuration."""
        return config_to_dict(self.settings.config)

    def build(self) -> Zim:
        """A freshly initialised network."""
        return Zim(self.settings.config)

    def parameter_groups(self, model: Zim, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups with layer-wise learning rates."""
        return parameter_groups(model, lr, weight_decay, self.settings.layer_decay)

    def batches(self, start: int, stop: int, frame_px: int, batch_size: int) -> Iterator[Batch]:
        """Batches of steps `start` to `stop`."""
        return self._source(self.library, frame_px, batch_size, self.seed).batches(start, stop)

    def loss(self, model: Zim, batch: Batch, step: int, device: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode once, decode every prompt; in some steps twice, then with the first answer in the prompt."""
        m = batch.labels.shape[1]
        coords, labels = batch.coords.flatten(0, 1).to(device), batch.labels.flatten(0, 1).to(device)
        targets = batch.targets.flatten(0, 1).to(device)
        valid = batch.valid.repeat_interleave(m, 0).to(device)
        edge = batch.edge.repeat_interleave(m, 0).to(device)
        images = batch.images.to(device, memory_format=torch.channels_last)
        features = model.encode(images).repeated(m)
        alpha = None
        rng = np.random.default_rng((self.seed, step))
        if rng.random() < self.settings.second_look:
            with torch.no_grad():
                first, _ = model.decode(features, coords, labels)
                # the zoom pass sees a first answer that was smaller: blurred by a random reduction
                reduced = F.avg_pool2d(first[:, :1].float().sigmoid(), int(rng.integers(1, 5)))
                alpha = upsample(reduced, (images.shape[-2], images.shape[-1]))
        logits, scores = model.decode(features, coords, labels, alpha)
        return matte_loss(logits, scores, targets, valid, edge, self._weights(images.shape[-1]))

    def _weights(self, frame_px: int) -> LossWeights:
        coarse = self.settings.coarse_loss
        return coarse if coarse is not None and frame_px < self.settings.coarse_below_px else self.settings.loss

    @torch.no_grad()
    def check(self, model: Zim, frame_px: int, device: str, batches: int) -> dict[str, float] | None:
        """IoU of alpha > 0.5 and MAE on held-out scenes, always the same ones."""
        if self.held_out is None:
            return None
        source = self._source(self.held_out, frame_px, CHECK_BATCH, seed=1)
        iou, mae = [], []
        for step in range(batches):
            batch = source.batch(step)
            m = batch.labels.shape[1]
            features = model.encode(batch.images.to(device, memory_format=torch.channels_last)).repeated(m)
            coords, labels = batch.coords.flatten(0, 1).to(device), batch.labels.flatten(0, 1).to(device)
            logits, _ = model.decode(features, coords, labels)
            alpha = upsample(logits[:, :1].float(), (frame_px, frame_px)).sigmoid()[:, 0].cpu()
            target, valid = batch.targets.flatten(0, 1), batch.valid.repeat_interleave(m, 0)
            found, wanted = (alpha > 0.5) & (valid > 0), target > 0.5
            both, either = (found & wanted).flatten(1).sum(1), (found | wanted).flatten(1).sum(1)
            iou.append(both / either.clamp(min=1))
            mae.append(((alpha - target).abs() * valid).flatten(1).sum(1) / valid.flatten(1).sum(1))
        mean_iou = float(torch.cat(iou).mean())
        return {"error": 1 - mean_iou, "held_out_iou": mean_iou, "held_out_mae": float(torch.cat(mae).mean())}

    def save(self, model: Zim, path: Path, metadata: dict[str, str]) -> None:
        """Write a safetensors file that `load_predictor` takes."""
        save_weights(model, path, metadata)

    def _source(self, library: Library, frame_px: int, batch_size: int, seed: int) -> SampleSource:
        s = self.settings
        return SampleSource(library, frame_px, batch_size, s.prompts_per_image, seed, s.mix, s.sampling)
