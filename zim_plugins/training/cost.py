"""Cost of a run: hours, memory and money, from the seconds that its first steps took."""

import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from zim_plugins.training.recipe import Recipe, Stage

WARM_UP_STEPS = 2
"""Steps that are not timed: memory is found, kernels are chosen."""
TIMED_STEPS = 5


@dataclass(frozen=True)
class Cost:
    """Cost of the rest of a run."""

    hours: float
    memory_gb: float
    """Largest so far, of one process [1e9 bytes]; of the GPU where there is one."""
    processes: int = 1
    hourly_price: float | None = None
    """Of one process: a GPU, or this machine."""
    tflop_a_step: float | None = None
    """Of one process, forward and backward."""
    measured: str = "the first steps"

    @property
    def price(self) -> float | None:
        """Return the price of all processes together, in the hourly price's currency."""
        return None if self.hourly_price is None else self.hours * self.processes * self.hourly_price

    def describe(self) -> str:
        """One line for the log."""
        count = "1 process" if self.processes == 1 else f"{self.processes} processes"
        parts = [f"about {self.hours:.3g} hours on {count}", f"{self.memory_gb:.1f} GB of memory each"]
        if self.tflop_a_step is not None:
            parts.append(f"{self.tflop_a_step:.3g} TFLOP a step and process")
        if self.price is not None:
            parts.append(f"{self.price:.2f} at {self.hourly_price:g} an hour and process")
        return f"cost: {', '.join(parts)} (from {self.measured}; held-out checks and saving not counted)"


class StepTimes:
    """Seconds of the steps of each stage, waiting for data included."""

    def __init__(self) -> None:
        self._seconds: dict[Stage, list[float]] = {}

    def add(self, stage: Stage, seconds: float) -> bool:
        """Note a step; whether the stage has just been timed well enough."""
        kept = self._seconds.setdefault(stage, [])
        kept.append(seconds)
        return len(kept) == WARM_UP_STEPS + TIMED_STEPS

    def medians(self) -> dict[Stage, float]:
        """Seconds of a step of each stage that was timed."""
        timed = {s: v[WARM_UP_STEPS : WARM_UP_STEPS + TIMED_STEPS] or v[-1:] for s, v in self._seconds.items()}
        return {stage: statistics.median(v) for stage, v in timed.items()}


def hours_left(recipe: Recipe, step: int, seconds: Mapping[Stage, float]) -> float:
    """Hours from a step to the end of the recipe, from the seconds of one step by stage.

    A stage that was not timed costs as much more or less than the one timed last as its batch has more or fewer pixels.

    Raises:
        ValueError: no stage was timed.
    """
    if not seconds:
        raise ValueError("no step was timed")
    like, its_seconds = list(seconds.items())[-1]
    total, begin = 0.0, 0
    for stage in recipe.stages:
        left = max(0, begin + stage.steps - max(step, begin))
        scaled = its_seconds * _pixels(stage) / _pixels(like)
        total += left * seconds.get(stage, scaled)
        begin += stage.steps
    return total / 3600


def peak_memory_gb(device: str) -> float:
    """Largest memory so far [1e9 bytes]: allocated on the GPU, or resident where there is none."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _pixels(stage: Stage) -> int:
    return stage.frame_px**2 * stage.batch_size
