"""What the machine does of large matrix products and copies, what it is, and how much memory a call takes."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import zim_plugins

PRODUCTS, COPY_BYTES = 4, 256 << 20
PACKAGES = ("torch", "numpy", "onnxruntime", "segment-anything", "zim_anything", "lama-cleaner")
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


def provenance(device: str) -> dict[str, Any]:
    """Commit, date, machine and versions."""
    folder = Path(zim_plugins.__file__).parents[1]
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else "no GPU"
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {gpu}",
        "load_average_before": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
