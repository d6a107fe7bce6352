"""Calls timed in turns, so that what else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zim_plugins.bench.machine import peak_mb, reset_peak, synchronise

REST_S = 0.25
"""Before a call that follows another's: thread pools spin for a while after their work."""


@dataclass
class Timing:
    """Runs of one call."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    """Of all threads of the process: what to go by where the machine does other work."""
    peak_mb: float = 0.0
    added_mb: float = 0.0
    """The peak beyond what was there before the call."""

    def to_json(self) -> dict[str, Any]:
        """Medians and spread [s], runs, peak memory [MiB]."""
        return {
            "median_s": statistics.median(self.seconds),
            "least_s": min(self.seconds),
            "most_s": max(self.seconds),
            "cpu_median_s": statistics.median(self.cpu_seconds),
            "runs": len(self.seconds),
            "peak_memory_mb": round(self.peak_mb, 1),
            "added_memory_mb": round(self.added_mb, 1),
        }


def alternate(
    calls: Mapping[str, Callable[[], Any]],
    device: str,
    *,
    budget_s: float,
    least: int = 1,
    most: int = 15,
    warm_up: bool = True,
) -> dict[str, Timing]:
    """Time calls in turns until the budget is spent.

    Args:
        device: where they run; a GPU is waited for before and after each.
        budget_s: no new round is begun after this time, once there are `least` rounds.
        least: rounds, at least.
        most: rounds, at most.
        warm_up: run each once untimed before.
    """
    if warm_up:
        for call in calls.values():
            call()
    timings = {name: Timing() for name in calls}
    begin = time.perf_counter()
    for done in range(1, most + 1):
        for name, call in calls.items():
            time.sleep(REST_S if len(calls) > 1 else 0.0)
            reset_peak(device)
            synchronise(device)
            before_mb = peak_mb(device)
            start, start_cpu = time.perf_counter(), time.process_time()
            call()
            synchronise(device)
            timings[name].cpu_seconds.append(time.process_time() - start_cpu)
            timings[name].seconds.append(time.perf_counter() - start)
            timings[name].peak_mb = max(timings[name].peak_mb, peak_mb(device))
            timings[name].added_mb = max(timings[name].added_mb, peak_mb(device) - before_mb)
        if done >= least and time.perf_counter() - begin > budget_s:
            break
    return timings
