"""The training loop: steps, checkpoints that resume exactly, held-out checks."""

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from zim_plugins.errors import CheckpointError
from zim_plugins.imaging.files import atomic_write
from zim_plugins.training.cost import Cost, StepTimes, hours_left, peak_memory_gb
from zim_plugins.training.distributed import ALONE, Processes
from zim_plugins.training.hooks import MovingAverage, TrainingHook, keep_frozen_in_eval
from zim_plugins.training.recipe import Recipe, Stage, Task, autocast
from zim_plugins.training.tensorboard import TensorBoard

log = logging.getLogger(__name__)

SHOWN = 4
"""Samples in TensorBoard at each held-out check."""


class Objective(nn.Module):
    """Model and loss as one module, whose forward pass DDP and FSDP2 take hold of."""

    def __init__(self, model: nn.Module, task: Task, device: str) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.device = device

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its parts."""
        return self.task.loss(self.model, batch, step, self.device)


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
    processes: Processes = ALONE
    """All of the run; only the leading one writes files."""
    hourly_price: float | None = None
    """Of one process, for the estimate of what the run costs."""
    board: TensorBoard | None = None
    model: nn.Module = field(init=False)
    step: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        torch.manual_seed(self.recipe.seed)
        self.model = self.processes.prepared(self._placed(self.task.build()))
        self._objective = self.processes.wrapped(Objective(self.model, self.task, self.device))
        groups = self.task.parameter_groups(self.model, self.recipe.lr, self.recipe.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, betas=self.recipe.betas, fused=True)
        self.average = MovingAverage(self.model, self.recipe.ema_decay, self.processes.local)
        self.best = math.inf
        if self.processes.leads:
            self.out.mkdir(parents=True, exist_ok=True)

    def resume(self) -> bool:
        """Continue from `last.pt` if there is one: the steps that follow are those of an undisturbed run.

        With several processes, all of them read the file, and their number may change between two runs.

        Raises:
            CheckpointError: the checkpoint belongs to another model.
        """
        path = self.out / "last.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        if json.loads(state["identity"]) != json.loads(json.dumps(self.task.identity())):
            raise CheckpointError(f"{path} holds another model than recipe {self.recipe.name!r}: use another folder")
        average = self.processes.split(state["average"], self.average.state)
        self.processes.load(self.model, self.optimizer, state["model"], state["optimizer"])
        self.average.state = average
        self.step, self.best = state["step"], state["best"]
        return True

    def save(self) -> None:
        """Write `last.pt`, whole or not at all."""
        state = {
            "identity": json.dumps(self.task.identity()),
            "model": self.processes.whole(self.model.state_dict()),
            "optimizer": self.processes.whole(self.optimizer.state_dict()),
            "average": self.processes.whole(self.average.state_dict()),
            "step": self.step,
            "best": self.best,
        }
        if not self.processes.leads:
            return
        with atomic_write(self.out / "last.pt", durable=True) as stream:
            torch.save(state, stream)

    def run(self, max_steps: int | None = None) -> None:
        """Train to the end of the recipe, or for `max_steps` more steps."""
        stop = self.recipe.steps if max_steps is None else min(self.recipe.steps, self.step + max_steps)
        times = StepTimes()
        for stage, seconds in self.advance(stop):
            if times.add(stage, seconds):
                log.info("%s", self.cost(times, f"{stage.frame_px} px").describe())
            if self.step % self.check_every == 0 or self.step == self.recipe.steps:
                self.check(stage.frame_px)
            if self.step % self.save_every == 0 or self.step == stop:
                self.save()

    def advance(self, stop: int) -> Iterator[tuple[Stage, float]]:
        """Take steps to `stop`, without checks and saving: after each, its stage and its seconds."""
        while self.step < stop:
            stage, stage_end = self.recipe.stage_at(self.step)
            batches = self.task.batches(
                self.step, min(stop, stage_end), stage.frame_px, stage.batch_size, self.processes.share
            )
            start = time.perf_counter()
            for batch in batches:
                self._step(batch, stage.frame_px, start)
                yield stage, time.perf_counter() - start
                start = time.perf_counter()

    def cost(self, times: StepTimes, measured: str, tflop_a_step: float | None = None) -> Cost:
        """Return the cost of the rest of the run, by the seconds of the steps so far."""
        return Cost(
            hours_left(self.recipe, self.step, times.medians()),
            peak_memory_gb(self.device),
            self.processes.share.world,
            self.hourly_price,
            tflop_a_step,
            measured,
        )

    def learning_rate(self, step: int) -> float:
        """Factor on the peak learning rate: linear warm-up, then cosine to 0.01."""
        warm = min(1.0, (step + 1) / max(1, self.recipe.warmup_steps))
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.recipe.steps)))

    def check(self, frame_px: int) -> dict[str, float] | None:
        """Score the averaged weights on held-out data; the best so far, and the last, become `best.safetensors`.

        Only the leading process checks; the others wait at their next step.
        """
        averaged = self.processes.whole(self.average.state_dict())
        if not self.processes.leads:
            return None
        model = self._placed(self.task.build())
        model.load_state_dict(averaged)
        model.eval()
        with autocast(self.device, self.dtype):
            result = self.task.check(model, frame_px, self.device, self.check_batches)
            if self.board is not None:
                self.board.images(self.step, self.task.images(model, frame_px, self.device, SHOWN))
        error = math.inf if result is None else result["error"]
        if error < self.best or self.step == self.recipe.steps:
            self.best = error
            self.task.save(model, self.out / "best.safetensors", {"recipe": self.recipe.name, "step": str(self.step)})
        if result is None:
            return None
        if self.board is not None:
            self.board.scalars(self.step, result, "held_out")
        self._log({"step": self.step, "frame_px": frame_px} | result)
        return result

    def _step(self, batch: Any, frame_px: int, start: float) -> None:
        for hook in self.hooks:
            hook.before_step(self.model, self.step)
        self._objective.train()
        keep_frozen_in_eval(self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * self.learning_rate(self.step)
        # On a CPU the fused attention's backward pass is slower than plain matrix products at these sizes.
        with sdpa_kernel(SDPBackend.MATH) if self.device == "cpu" else nullcontext():
            with autocast(self.device, self.dtype):
                loss, terms = self._objective(batch, self.step)
            loss.backward()
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        norm = self.processes.whole(torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.model, self.step)
        self.step += 1
        values = self.processes.mean({"loss": loss} | terms)
        for hook in self.hooks:
            hook.after_step(self.model, self.step - 1, values)
        if self.step % 20 == 0 or self.step <= 5:
            record = {"step": self.step, "frame_px": frame_px, "norm": float(norm)} | values
            self._log(record | {"seconds": time.perf_counter() - start})
            if self.board is not None:
                rate = self.recipe.lr * self.learning_rate(self.step - 1)
                self.board.scalars(self.step, values | {"norm": float(norm), "learning_rate": rate}, "train")

    def _placed(self, model: nn.Module) -> nn.Module:
        """Moved to the device, convolutions in the memory order that is fast there; FSDP2 splits plain order only."""
        model = model.to(self.device)
        if self.processes.sharded:
            return model
        return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _log(self, record: dict[str, Any]) -> None:
        if not self.processes.leads:
            return
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        log.info(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items()))


def rehearse(trainer: Trainer, steps: int) -> Cost:
    """Take a few steps of each stage, save nothing, and say what the whole recipe costs.

    The trainer is of no use afterwards.
    """
    from torch.utils.flop_counter import FlopCounterMode

    times, tflop, begin = StepTimes(), 0.0, 0
    for stage in trainer.recipe.stages:
        trainer.step = begin
        with FlopCounterMode(display=False) as counter:
            taken = [seconds for _, seconds in trainer.advance(begin + 1)]
        tflop = max(tflop, counter.get_total_flops() / 1e12)
        taken = [s for _, s in trainer.advance(min(begin + stage.steps, begin + 1 + steps))] or taken
        for seconds in taken:
            times.add(stage, seconds)
        begin += stage.steps
    trainer.step = 0
    count = len(trainer.recipe.stages)
    return trainer.cost(times, f"{steps} steps at each of {count} stages" if count > 1 else f"{steps} steps", tflop)
