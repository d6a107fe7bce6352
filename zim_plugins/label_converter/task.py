"""Training the label converter: composites whose labels were spoilt, and photographs whose labels were not."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from zim_plugins.label_converter.checkpoint import save_converter
from zim_plugins.label_converter.hiera import HieraTrunk, load_trunk
from zim_plugins.label_converter.losses import ConverterLossWeights, converter_loss
from zim_plugins.label_converter.network import ConverterConfig, ConverterNetwork, config_to_dict, refine
from zim_plugins.label_converter.samples.batches import ConverterBatch, ConverterSampling, ConverterSource
from zim_plugins.label_converter.samples.selective import without_soft_classes
from zim_plugins.training.distributed import WHOLE, Share
from zim_plugins.training.hooks import set_frozen
from zim_plugins.training.losses import gradient_l1
from zim_plugins.training.progress_images import from_standardised, strip
from zim_plugins.training.samples.library import Library

CHECK_BATCH = 8
"""Images of one held-out batch."""


@dataclass(frozen=True)
class ConverterSettings:
    """Network, samples and judgement of a training."""

    config: ConverterConfig
    sampling: ConverterSampling = ConverterSampling()
    loss: ConverterLossWeights = ConverterLossWeights()
    max_widths_px: tuple[int, int] = (30, 15)
    """Uncertainty spreads by a random width below these in training, to strides 4 and 1."""
    guided_steps: int = 10_000
    """So long the target's edges guide the refinement, then in half of the steps until three times that; then never."""
    stl_masks: Path | None = None
    """Folder of object masks named by class; photographs of classes with hair, leaves or glass are left out of STL."""
    trunk_weights: Path | None = None
    """SAM 2's or Hiera's published file to start the backbone from."""
    frozen: tuple[str, ...] = ()
    """Parts that stay as they are, such as "backbone"."""
    gradient_checkpointing: bool = False
    """Keep a Hiera's activations at block borders only and compute the rest twice: less memory, a third more time."""

    def task(self, library: Library, held_out: Library | None, seed: int) -> "ConverterTask":
        """The task on its data."""
        return ConverterTask(self, library, held_out, seed)


@dataclass(frozen=True, eq=False)
class ConverterTask:
    """The converter's network, samples and loss, as the training loop sees them."""

    settings: ConverterSettings
    library: Library
    held_out: Library | None
    seed: int

    def identity(self) -> dict[str, Any]:
        """The network's configuration, and what of it stays as it is."""
        frozen = {"frozen": sorted(self.settings.frozen)} if self.settings.frozen else {}
        return config_to_dict(self.settings.config) | frozen

    def build(self) -> ConverterNetwork:
        """A network whose backbone holds the published weights, where they were named.

        Raises:
            CheckpointError: the backbone's weights are missing or do not fit.
        """
        network = ConverterNetwork(self.settings.config)
        if self.settings.trunk_weights is not None:
            if not isinstance(network.backbone, HieraTrunk):
                raise ValueError(f"{self.settings.trunk_weights} holds a Hiera, this converter's backbone is none")
            load_trunk(network.backbone, self.settings.trunk_weights)
        if self.settings.gradient_checkpointing:
            if not isinstance(network.backbone, HieraTrunk):
                raise ValueError("gradient checkpointing is for converters on a Hiera")
            network.backbone.gradient_checkpointing = True
        set_frozen(network, self.settings.frozen)
        return network

    def parameter_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Weight decay on matrices and kernels, none on biases, norms and position embeddings."""
        decayed, plain = [], []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                (plain if parameter.ndim < 2 or "embed" in name.rsplit(".", 1)[-1] else decayed).append(parameter)
        return [
            {"params": decayed, "lr": lr, "base_lr": lr, "weight_decay": weight_decay},
            {"params": plain, "lr": lr, "base_lr": lr, "weight_decay": 0.0},
        ]

    def batches(
        self, start: int, stop: int, frame_px: int, batch_size: int, share: Share = WHOLE
    ) -> Iterator[ConverterBatch]:
        """This process's rows of the batches of steps `start` to `stop`."""
        source = self._source(self.library, frame_px, batch_size, self.seed, self.settings.sampling, share)
        return source.batches(start, stop)

    def loss(self, model: nn.Module, batch: ConverterBatch, step: int, device: str) -> tuple[Tensor, dict[str, Tensor]]:
        """L1 + 10 Grad at every level, with random widths of the doubtful bands."""
        rng = np.random.default_rng((self.seed, step))
        below4, below1 = self.settings.max_widths_px
        widths = int(rng.integers(1, below4)), int(rng.integers(1, below1))
        heads = model(batch.images.to(device, memory_format=torch.channels_last), batch.masks.to(device))
        targets, valid = batch.targets.to(device), batch.valid.to(device)
        guided = self.settings.guided_steps
        self_guided = step >= 3 * guided or (step >= guided and bool(rng.random() < 0.5))
        return converter_loss(heads, targets, valid, widths, self.settings.loss, self_guided)

    @torch.no_grad()
    def check(self, model: nn.Module, frame_px: int, device: str, batches: int) -> dict[str, float] | None:
        """MSE and Grad on held-out samples, always the same ones, beside those of the masks that were given.

        `error` is the MSE on mattes plus the MSE on labels that are to stay as they are.
        """
        if self.held_out is None:
            return None
        sampling = replace(self.settings.sampling, stl_from=0)
        source = self._source(self.held_out, frame_px, CHECK_BATCH, seed=1, sampling=sampling)
        rows = []
        for step in range(batches):
            batch = source.batch(step)
            heads = model(batch.images.to(device, memory_format=torch.channels_last), batch.masks.to(device))
            alpha = refine(heads)[0].os1.float().cpu()
            for found in (alpha, batch.masks):
                square = ((found - batch.targets) ** 2 * batch.valid).flatten(1).sum(1) / batch.valid.flatten(1).sum(1)
                rows += [square, gradient_l1(found[:, 0], batch.targets[:, 0], batch.valid[:, 0])]
            rows.append(batch.selective.float())
        scores = torch.stack([torch.cat(rows[i::5]) for i in range(5)])
        names = ("mse", "grad", "mask_mse", "mask_grad")
        matting, stl = scores[4] == 0, scores[4] == 1
        result = {f"held_out_{n}": float(v) for n, v in zip(names, scores[:4, matting].mean(1), strict=True)}
        result["error"] = result["held_out_mse"]
        if stl.any():
            result["held_out_stl_mse"] = float(scores[0, stl].mean())
            result["error"] += result["held_out_stl_mse"]
        return result

    @torch.no_grad()
    def images(self, model: nn.Module, frame_px: int, device: str, count: int) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        """Samples, held-out ones where there are any: input with the matte, matte, mask it was given, target."""
        source = self._source(self.held_out or self.library, frame_px, count, seed=1, sampling=self.settings.sampling)
        batch = source.batch(self.settings.sampling.stl_from)
        heads = model(batch.images.to(device, memory_format=torch.channels_last), batch.masks.to(device))
        alpha = refine(heads)[0].os1.float().cpu()
        maps = [(alpha[i, 0], batch.masks[i, 0], batch.targets[i, 0]) for i in range(count)]
        return [strip(from_standardised(batch.images[i]), [m.numpy() for m in maps[i]]) for i in range(count)]

    def save(self, model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        """Write a safetensors file that `MatteConverter.load` takes."""
        if not isinstance(model, ConverterNetwork):
            raise TypeError(f"this task trains a ConverterNetwork, got {type(model).__name__}")
        save_converter(model, path, metadata)

    def _source(
        self,
        library: Library,
        frame_px: int,
        batch_size: int,
        seed: int,
        sampling: ConverterSampling,
        share: Share = WHOLE,
    ) -> ConverterSource:
        plain = Library()
        if self.settings.stl_masks is not None:
            plain = without_soft_classes(library, self.settings.stl_masks)
        return ConverterSource(library, frame_px, batch_size, seed, sampling, plain, share)
