"""Training ZIM itself: prompts drawn from mattes, the network's answer, the loss on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from zim_plugins.core.modeling.layers import upsample
from zim_plugins.core.modeling.zim import Zim, ZimConfig, build_network, config_to_dict, save_weights
from zim_plugins.core.modeling.zim_lite import LiteConfig, ZimLite
from zim_plugins.training.distributed import WHOLE, Share
from zim_plugins.training.hooks import add_lora, parameter_groups, set_frozen, without_lora
from zim_plugins.training.losses import LossWeights, matte_loss
from zim_plugins.training.progress_images import from_standardised, prompt_of_tokens, strip
from zim_plugins.training.samples.batches import Batch
from zim_plugins.training.samples.compositing import SceneMix
from zim_plugins.training.samples.interactive import look_again
from zim_plugins.training.samples.library import Library
from zim_plugins.training.samples.mixed import MixedLibrary, MixedSource
from zim_plugins.training.samples.prompts import PromptSampling
from zim_plugins.training.samples.shards import ShardLibrary, ShardSource
from zim_plugins.training.samples.source import SampleSource
from zim_plugins.training.starting import start_from

CHECK_BATCH = 16
"""Images of one held-out batch, up to a frame of 256 px; fewer in larger frames, in more batches."""


AnyLibrary = Library | ShardLibrary | MixedLibrary


@runtime_checkable
class BatchSource(Protocol):
    """Batches by number."""

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        ...

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of steps `start` to `stop`."""
        ...


@dataclass(frozen=True)
class ZimSettings:
    """Network, scenes, prompts and judgement of a training."""

    config: ZimConfig | LiteConfig
    loss: LossWeights = LossWeights()
    coarse_loss: LossWeights | None = None
    """Weights at frames below `coarse_below_px`, where shapes are learnt before edges; None: `loss` throughout."""
    coarse_below_px: int = 256
    mix: SceneMix = SceneMix()
    sampling: PromptSampling = PromptSampling()
    prompts_per_image: int = 2
    objects_share: float | None = None
    """Of the images that show whole objects, where parts and whole objects are given apart; None: they are not."""
    second_look: float = 0.0
    """Steps in which the model first answers without gradient, then again with its own matte as part of the prompt."""
    layer_decay: float = 1.0
    """Learning rate of an encoder block, as a share of the next one's."""
    start: Path | None = None
    """SAM's official `.pth` or a `.safetensors` of this project to start from."""
    frozen: tuple[str, ...] = ()
    """Parts that stay as they are, such as "image_encoder"."""
    lora_rank: int = 0
    """Train low-rank adapters in the encoder instead of the encoder; 0 for none."""
    gradient_checkpointing: bool = False
    """Keep the encoder's activations at block borders only and compute the rest twice."""

    def task(self, library: "AnyLibrary", held_out: "AnyLibrary | None", seed: int) -> "ZimTask":
        """The task on its data."""
        return ZimTask(self, library, held_out, seed)


@dataclass(frozen=True, eq=False)
class ZimTask:
    """ZIM, its scenes and its loss."""

    settings: ZimSettings
    library: "AnyLibrary"
    held_out: "AnyLibrary | None"
    seed: int

    def identity(self) -> dict[str, Any]:
        """The network's configuration, and what of it is trained."""
        trained = {"frozen": sorted(self.settings.frozen), "lora_rank": self.settings.lora_rank}
        return config_to_dict(self.settings.config) | {k: v for k, v in trained.items() if v}

    def build(self) -> Zim | ZimLite:
        """A network as training starts with it.

        Raises:
            CheckpointError: the weights to start from do not fit.
            ValueError: there is no part of a name that is to be frozen.
        """
        s = self.settings
        zim = build_network(s.config) if s.start is None else start_from(s.start, s.config)
        set_frozen(zim, s.frozen)
        if s.lora_rank:
            add_lora(zim, s.lora_rank)
        if not isinstance(zim, ZimLite):
            zim.image_encoder.gradient_checkpointing = s.gradient_checkpointing
        return zim

    def parameter_groups(self, model: Zim | ZimLite, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups with layer-wise learning rates."""
        return parameter_groups(model, lr, weight_decay, self.settings.layer_decay)

    def batches(self, start: int, stop: int, frame_px: int, batch_size: int, share: Share = WHOLE) -> Iterator[Batch]:
        """This process's rows of the batches of steps `start` to `stop`."""
        return self._source(self.library, frame_px, batch_size, self.seed, share).batches(start, stop)

    def loss(self, model: Zim | ZimLite, batch: Batch, step: int, device: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode once, decode every prompt; in some steps twice, then with the first answer in the prompt."""
        m = batch.labels.shape[1]
        coords, labels = batch.coords.flatten(0, 1).to(device), batch.labels.flatten(0, 1).to(device)
        targets = batch.targets.flatten(0, 1).to(device)
        valid = batch.valid.repeat_interleave(m, 0).to(device)
        edge = batch.edge.repeat_interleave(m, 0).to(device)
        images = batch.images.to(device, memory_format=torch.channels_last)
        features = model.encode(model.from_standardised(images)).repeated(m)
        alpha = None
        rng = np.random.default_rng((self.seed, step))
        if rng.random() < self.settings.second_look:
            with torch.no_grad():
                first, _ = model.decode(features, coords, labels)
            reduction = int(rng.integers(1, 5))
            each = [np.random.default_rng((self.seed, step, int(n), k)) for n in batch.numbers for k in range(m)]
            coords, labels, alpha = look_again(first[:, :1], targets, valid, coords, labels, each, reduction)
        logits, scores = model.decode(features, coords, labels, alpha)
        return matte_loss(logits, scores, targets, valid, edge, self._weights(images.shape[-1]))

    def _weights(self, frame_px: int) -> LossWeights:
        coarse = self.settings.coarse_loss
        return coarse if coarse is not None and frame_px < self.settings.coarse_below_px else self.settings.loss

    @torch.no_grad()
    def check(self, model: Zim | ZimLite, frame_px: int, device: str, batches: int) -> dict[str, float] | None:
        """IoU of alpha > 0.5 and MAE on held-out scenes, always the same ones."""
        if self.held_out is None:
            return None
        size = max(1, min(CHECK_BATCH, CHECK_BATCH * 256**2 // frame_px**2))  # of the same memory as at 256 px
        source = self._source(self.held_out, frame_px, size, seed=1)
        iou, mae = [], []
        for step in range(batches * CHECK_BATCH // size):
            batch = source.batch(step)
            alpha = self._answered(model, batch, device)
            target, valid = batch.targets.flatten(0, 1), batch.valid.repeat_interleave(batch.labels.shape[1], 0)
            found, wanted = (alpha > 0.5) & (valid > 0), target > 0.5
            both, either = (found & wanted).flatten(1).sum(1), (found | wanted).flatten(1).sum(1)
            iou.append(both / either.clamp(min=1))
            mae.append(((alpha - target).abs() * valid).flatten(1).sum(1) / valid.flatten(1).sum(1))
        mean_iou = float(torch.cat(iou).mean())
        return {"error": 1 - mean_iou, "held_out_iou": mean_iou, "held_out_mae": float(torch.cat(mae).mean())}

    @torch.no_grad()
    def images(self, model: Zim | ZimLite, frame_px: int, device: str, count: int) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        """Samples, held-out ones where there are any: input with its prompt, matte, target, side by side."""
        batch = self._source(self.held_out or self.library, frame_px, count, seed=1).batch(0)
        alpha = self._answered(model, batch, device)[:: batch.labels.shape[1]]
        return [
            strip(
                from_standardised(batch.images[i]),
                (alpha[i].numpy(), batch.targets[i, 0].numpy()),
                prompt_of_tokens(batch.coords[i, 0], batch.labels[i, 0]),
            )
            for i in range(count)
        ]

    def _answered(self, model: Zim | ZimLite, batch: Batch, device: str) -> Float[Tensor, "b f f"]:
        """Mattes of all prompts of a batch, image by image, on the CPU."""
        images = batch.images.to(device, memory_format=torch.channels_last)
        features = model.encode(model.from_standardised(images))
        coords, labels = batch.coords.flatten(0, 1).to(device), batch.labels.flatten(0, 1).to(device)
        logits, _ = model.decode(features.repeated(batch.labels.shape[1]), coords, labels)
        return upsample(logits[:, :1].float(), (batch.images.shape[-2], batch.images.shape[-1])).sigmoid()[:, 0].cpu()

    def save(self, model: Zim | ZimLite, path: Path, metadata: dict[str, str]) -> None:
        """Write a safetensors file that `load_predictor` takes; adapters are added to the weights they adapt."""
        save_weights(without_lora(model), path, metadata)

    def _source(
        self, library: "AnyLibrary", frame_px: int, batch_size: int, seed: int, share: Share = WHOLE
    ) -> BatchSource:
        s = self.settings
        if isinstance(library, MixedLibrary):
            parts, objects = (
                self._plain_source(one, frame_px, batch_size, seed, share) for one in (library.parts, library.objects)
            )
            return MixedSource(parts, objects, 0.5 if s.objects_share is None else s.objects_share, seed)
        return self._plain_source(library, frame_px, batch_size, seed, share)

    def _plain_source(
        self, library: Library | ShardLibrary, frame_px: int, batch_size: int, seed: int, share: Share
    ) -> SampleSource | ShardSource:
        s = self.settings
        if isinstance(library, ShardLibrary):
            zoomed = s.mix.zoomed
            return ShardSource(library, frame_px, batch_size, s.prompts_per_image, seed, zoomed, s.sampling, share)
        return SampleSource(library, frame_px, batch_size, s.prompts_per_image, seed, s.mix, s.sampling, share)
