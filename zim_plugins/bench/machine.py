"""Speed of large matrix products and copies on this machine, and the memory that a call takes."""

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

PRODUCTS, COPY_BYTES = 4, 256 << 20
PEERS = ("segment-anything", "zim_anything", "lama-cleaner")
"""Distributions that are measured beside ours."""
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Work:
    """Something that the machine does as fast as it can."""

    call: Callable[[], Any]
    amount: float
    """Operations or bytes."""


def matrix_product(device: str, dtype: torch.dtype) -> Work:
    """Large matrix products, and their floating-point operations."""
    side = 8192 if device.startswith("cuda") else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)

    def products() -> None:
        for _ in range(PRODUCTS):
            torch.mm(a, a)

    return Work(products, PRODUCTS * 2.0 * side**3)


def memory_copy(device: str) -> Work:
    """A large copy, and its bytes read and written."""
    a = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return Work(lambda: b.copy_(a), 2.0 * COPY_BYTES)


def synchronise(device: str) -> None:
    """Wait for what was asked of a GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    """Forget the largest memory so far; of the process only where the system can (Linux)."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    elif STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: str) -> float:
    """Largest memory since `reset_peak` [MiB]: of torch on a GPU, else resident of the whole process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    if STATUS.exists():
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
