"""The training loop: steps, checkpoints that resume exactly, held-out checks."""

import json
import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from zim_plugins.core.errors import CheckpointError
from zim_plugins.training.hooks import MovingAverage, TrainingHook, keep_frozen_in_eval
from zim_plugins.training.schedule import Recipe, Task, autocast

log = logging.getLogger(__name__)


@dataclass
class Trainer:
    """One run: model, optimiser, average and the number of steps taken."""

    recipe: Recipe
    task: Task
    out: Path
    """Folder of the run: `last.pt` to resume from, `log.jsonl`, `best.safetensors`."""
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    """What the network computes in; weights and optimiser stay in float32."""
    hooks: Sequence[TrainingHook] = ()
    save_every: int = 100
    check_every: int = 400
    check_batches: int = 6
    model: nn.Module = field(init=False)
    step: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        torch.manual_seed(self.recipe.seed)
        self.model = self._placed(self.task.build())
        groups = self.task.parameter_groups(self.model, self.recipe.lr, self.recipe.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, betas=self.recipe.betas, fused=True)
        self.average = MovingAverage(self.model, self.recipe.ema_decay)
        self.best = math.inf
        self.out.mkdir(parents=True, exist_ok=True)

    def resume(self) -> bool:
        """Continue from `last.pt` if there is one: the steps that follow are those of an undisturbed run.

        Raises:
            CheckpointError: the checkpoint belongs to another model.
        """
        path = self.out / "last.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        if json.loads(state["identity"]) != json.loads(json.dumps(self.task.identity())):
            raise CheckpointError(f"{path} holds another model than recipe {self.recipe.name!r}: use another folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.state = state["average"]
        self.step, self.best = state["step"], state["best"]
        return True

    def save(self) -> None:
        """Write `last.pt`, whole or not at all."""
        state = {
            "identity": json.dumps(self.task.identity()),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "step": self.step,
            "best": self.best,
        }
        temporary = self.out / "last.pt.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.out / "last.pt")

    def run(self, max_steps: int | None = None) -> None:
        """Train to the end of the recipe, or for `max_steps` more steps."""
        stop = self.recipe.steps if max_steps is None else min(self.recipe.steps, self.step + max_steps)
        while self.step < stop:
            stage, stage_end = self.recipe.stage_at(self.step)
            for batch in self.task.batches(self.step, min(stop, stage_end), stage.frame_px, stage.batch_size):
                self._step(batch, stage.frame_px)
                if self.step % self.check_every == 0 or self.step == self.recipe.steps:
                    self.check(stage.frame_px)
                if self.step % self.save_every == 0 or self.step == stop:
                    self.save()

    def learning_rate(self, step: int) -> float:
        """Factor on the peak learning rate: linear warm-up, then cosine to 0.01."""
        warm = min(1.0, (step + 1) / max(1, self.recipe.warmup_steps))
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.recipe.steps)))

    def check(self, frame_px: int) -> dict[str, float] | None:
        """Score the averaged weights on held-out data; the best so far, and the last, become `best.safetensors`."""
        model = self._placed(self.task.build())
        model.load_state_dict(self.average.state_dict())
        model.eval()
        with autocast(self.device, self.dtype):
            result = self.task.check(model, frame_px, self.device, self.check_batches)
        if result is None:
            return None
        if result["error"] < self.best or self.step == self.recipe.steps:
            self.best = result["error"]
            self.task.save(model, self.out / "best.safetensors", {"recipe": self.recipe.name, "step": str(self.step)})
        self._log({"step": self.step, "frame_px": frame_px} | result)
        return result

    def _step(self, batch: Any, frame_px: int) -> None:
        start = time.perf_counter()
        for hook in self.hooks:
            hook.before_step(self.model, self.step)
        self.model.train()
        keep_frozen_in_eval(self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * self.learning_rate(self.step)
        with self._attention():
            with autocast(self.device, self.dtype):
                loss, terms = self.task.loss(self.model, batch, self.step, self.device)
            loss.backward()
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.model, self.step)
        self.step += 1
        values = {"loss": float(loss.detach())} | {k: float(v) for k, v in terms.items()}
        for hook in self.hooks:
            hook.after_step(self.model, self.step - 1, values)
        if self.step % 20 == 0 or self.step <= 5:
            record = {"step": self.step, "frame_px": frame_px, "norm": float(norm)} | values
            self._log(record | {"seconds": time.perf_counter() - start})

    def _placed(self, model: nn.Module) -> nn.Module:
        """Moved to the device, convolutions in the memory order that is fast there."""
        return model.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _attention(self) -> AbstractContextManager[Any]:
        """On a CPU the fused attention's backward pass is slower than plain matrix products at these sizes."""
        return sdpa_kernel(SDPBackend.MATH) if self.device == "cpu" else nullcontext()

    def _log(self, record: dict[str, Any]) -> None:
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        log.info(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items()))
