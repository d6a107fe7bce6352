"""A row of the table: this project's call, its peers', and the floor that the machine sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from zim_plugins.bench.machine import copy_rate, matmul_rate
from zim_plugins.bench.timing import alternate

OURS = "zim_plugins"


Call = Callable[[], Any]


@dataclass(frozen=True)
class Floor:
    """What a call must do at least."""

    flops: float
    """Operations that the formula of this project's network needs."""
    bytes: float
    """Moved at least: weights, input and answer, once."""


@dataclass(frozen=True)
class Row:
    """What is timed together."""

    name: str
    calls: Mapping[str, Call | str]
    """By whose they are; this project's is `OURS`. A text says why a peer cannot run."""
    floor: Floor | None = None
    dtype: torch.dtype = torch.float32
    budget_s: float = 20.0
    warm_up: bool = True

    def measure(self, device: str) -> dict[str, Any]:
        """Time everybody and compare."""
        calls = {k: v for k, v in self.calls.items() if not isinstance(v, str)}
        timings = alternate(calls, device, budget_s=self.budget_s, warm_up=self.warm_up)
        record: dict[str, Any] = {"name": self.name, "timings": {k: v.to_json() for k, v in timings.items()}}
        ours = record["timings"][OURS]
        peers = {k: v for k, v in record["timings"].items() if k != OURS}
        record["times_as_fast_as"] = {k: v["median_s"] / ours["median_s"] for k, v in peers.items()}
        record["times_as_fast_as_by_cpu"] = {k: v["cpu_median_s"] / ours["cpu_median_s"] for k, v in peers.items()}
        record["skipped"] = {k: v for k, v in self.calls.items() if isinstance(v, str)}
        if self.floor is not None:
            matmul, copied = _rates(device, self.dtype)
            bound_s = max(self.floor.flops / matmul, self.floor.bytes / copied)
            record["floor"] = {
                "gflop": self.floor.flops / 1e9,
                "megabytes": self.floor.bytes / 1e6,
                "matmul_gflop_per_second": matmul / 1e9,
                "copy_gb_per_second": copied / 1e9,
                "seconds": bound_s,
                "share_reached": bound_s / ours["median_s"],
            }
        return record


def count_flops(call: Callable[[], Any]) -> float:
    """Operations of matrix products, convolutions and attention; the tensors may be on the meta device."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


@cache
def _rates(device: str, dtype: torch.dtype) -> tuple[float, float]:
    return matmul_rate(device, dtype), copy_rate(device)
