"""Recipe: everything that decides a training run, as frozen data; Task: what is trained, seen from the loop."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from zim_plugins.training.distributed import WHOLE, Share


@runtime_checkable
class Task(Protocol):
    """Model, data and loss as the training loop needs them."""

    def identity(self) -> dict[str, Any]:
        """JSON values that tell one architecture from another; a checkpoint resumes its own only."""
        ...

    def build(self) -> nn.Module:
        """A freshly initialised model on the CPU."""
        ...

    def parameter_groups(self, model: Any, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups, each with `lr` and an equal `base_lr`."""
        ...

    def batches(self, start: int, stop: int, frame_px: int, batch_size: int, share: Share = WHOLE) -> Iterator[Any]:
        """This process's rows of the batches of steps `start` to `stop`; the n-th batch is always the same."""
        ...

    def loss(self, model: Any, batch: Any, step: int, device: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its parts for the log."""
        ...

    def check(self, model: Any, frame_px: int, device: str, batches: int) -> dict[str, float] | None:
        """Scores on held-out data, `error` (lower is better) among them; None where there is no such data."""
        ...

    def images(self, model: Any, frame_px: int, device: str, count: int) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        """Samples, held-out ones where there are any: input with its prompt, matte, target, side by side."""
        ...

    def save(self, model: Any, path: Path, metadata: dict[str, str]) -> None:
        """Write a checkpoint for use."""
        ...


@runtime_checkable
class TaskSettings(Protocol):
    """Frozen settings of a task, and how to set it up."""

    def task(self, library: Any, held_out: Any, seed: int) -> Task:
        """The task on its data, and on what is kept apart for choosing a checkpoint (None: nothing is)."""
        ...


@dataclass(frozen=True)
class Stage:
    """Part of a run at one frame."""

    frame_px: int
    batch_size: int
    """Images in one step, of all processes together."""
    steps: int


@dataclass(frozen=True)
class Recipe:
    """One training run."""

    name: str
    settings: TaskSettings
    stages: tuple[Stage, ...]
    lr: float
    """Peak learning rate; linear warm-up, then cosine to a hundredth."""
    warmup_steps: int = 100
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    seed: int = 3407
    save_every: int = 100
    """Steps between two states to resume from."""
    check_every: int = 400
    """Steps between two held-out checks."""
    check_batches: int = 6
    """Held-out batches of one check."""

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(s.steps for s in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of a step, and the first step after that stage."""
        end = 0
        for stage in self.stages:
            end += stage.steps
            if step < end:
                return stage, end
        raise ValueError(f"step {step} is beyond the recipe's {self.steps} steps")


def autocast(device: str, dtype: torch.dtype) -> torch.autocast:
    """Compute in `dtype`; float32 switches it off."""
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32)
