"""A row of the table: this project's call, its peers', and the floor that the machine sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from zim_plugins.bench.machine import Work, matrix_product, memory_copy
from zim_plugins.bench.timing import alternate

OURS, PRODUCT, COPY = "zim_plugins", "matrix product", "copy"

Call = Callable[[], Any]


@dataclass(frozen=True)
class Floor:
    """Least work that a call must do."""

    flops: float
    """Operations that the formula of this project's network needs."""
    bytes: float
    """Moved at least: weights, input and answer, once."""


@dataclass(frozen=True)
class Row:
    """Calls that are timed together."""

    name: str
    calls: Mapping[str, Call | str]
    """By whose they are; this project's is `OURS`. A text says why a peer cannot run."""
    floor: Floor | None = None
    dtype: torch.dtype = torch.float32
    budget_s: float = 20.0
    least: int = 1
    """Rounds, at least."""
    warm_up: bool = True

    def measure(self, device: str) -> dict[str, Any]:
        """Time everybody and compare; the machine's own rates are timed in the same turns, since they vary."""
        calls = {k: v for k, v in self.calls.items() if not isinstance(v, str)}
        limits: dict[str, Work] = {}
        if self.floor is not None:
            limits = {PRODUCT: matrix_product(device, self.dtype), COPY: memory_copy(device)}
            for limit in limits.values():
                limit.call()
        calls |= {k: v.call for k, v in limits.items()}
        timings = alternate(calls, device, budget_s=self.budget_s, least=self.least, warm_up=self.warm_up)
        times = {k: v.to_json() for k, v in timings.items()}
        ours, peers = times[OURS], {k: v for k, v in times.items() if k != OURS and k not in limits}
        record: dict[str, Any] = {
            "name": self.name,
            "timings": {OURS: ours} | peers,
            "times_as_fast_as": {k: v["median_s"] / ours["median_s"] for k, v in peers.items()},
            "times_as_fast_as_by_cpu": {k: v["cpu_median_s"] / ours["cpu_median_s"] for k, v in peers.items()},
            "skipped": {k: v for k, v in self.calls.items() if isinstance(v, str)},
        }
        if self.floor is not None:
            product, copied = (limits[k].amount / times[k]["median_s"] for k in (PRODUCT, COPY))
            bound_s = max(self.floor.flops / product, self.floor.bytes / copied)
            record["floor"] = {
                "gflop": self.floor.flops / 1e9,
                "megabytes": self.floor.bytes / 1e6,
                "matmul_gflop_per_second": product / 1e9,
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
