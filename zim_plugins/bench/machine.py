"""What the machine does of large matrix products and copies, what it is, and how much memory a call takes."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import zim_plugins

MATMUL_SIDE, COPY_BYTES, REPEATS = 2048, 256 << 20, 7
PACKAGES = ("torch", "numpy", "onnxruntime", "segment-anything", "zim_anything", "lama-cleaner")
STATUS = Path("/proc/self/status")


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product: the best of some."""
    a = torch.randn(MATMUL_SIDE, MATMUL_SIDE, device=device, dtype=dtype)
    return 2 * MATMUL_SIDE**3 / _best_seconds(lambda: a @ a, device)


def copy_rate(device: str) -> float:
    """Bytes a second, read and written, of a large copy: the best of some."""
    a = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * COPY_BYTES / _best_seconds(lambda: b.copy_(a), device)


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


def _best_seconds(call: Callable[[], Any], device: str) -> float:
    call()
    seconds = []
    for _ in range(REPEATS):
        synchronise(device)
        start = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
