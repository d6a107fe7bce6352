"""Provenance of a number: commit, date, machine and versions."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import zim_plugins

PACKAGES = ("torch", "numpy", "scipy", "opencv-python-headless", "onnxruntime")


def describe_process(device: str = "cpu", packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return commit, date, machine, load average and versions for a record of measurements.

    Args:
        device: torch device that is measured; a CUDA device is named.
        packages: distributions whose versions matter besides torch, numpy, scipy, OpenCV and onnxruntime.

    Example:
        >>> sorted(describe_process())
        ['commit', 'date', 'load_average_before', 'machine', 'versions']
    """
    import torch

    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else "no GPU"
    names = dict.fromkeys((*PACKAGES, *packages))
    return {
        "commit": source_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {gpu}",
        "load_average_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in names},
    }


def describe_run(settings: dict[str, Any], models: Sequence[dict[str, Any]], dataset: dict[str, Any]) -> dict[str, Any]:
    """Return how the numbers came about: settings, checkpoints, data, commit, machine and versions."""
    import torch

    return {
        "settings": settings,
        "models": list(models),
        "dataset": dataset,
        "commit": source_commit(),
        "machine": {
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
        },
        "versions": {"zim_plugins": zim_plugins.__version__, "python": platform.python_version()}
        | {name: _version(name) for name in ("torch", "numpy", "scipy")},
    }


def source_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, "+" if files differ; None where it is installed."""
    root = Path(zim_plugins.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit and commit + "+" * bool(changed)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        found = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:  # git is not there
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def _processor() -> str:
    """The processor's model as Linux names it, elsewhere its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
