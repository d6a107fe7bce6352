"""Description of a run: models with their digests, options, data and versions."""

import hashlib
import json
import platform
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .io.pairing import CaseFiles
from .protocol.evaluate_scan import Place
from .protocol.models import PromptedModel

PACKAGES = (
    *("torch", "onnxruntime", "transformers", "numpy", "scipy", "nibabel", "pydicom", "highdicom", "SimpleITK"),
    *("scikit-image", "opencv-python-headless", "pillow"),
)
"""What figures may depend on."""


def describe_models(models: Sequence[PromptedModel]) -> dict[str, dict[str, Any]]:
    """Return where each model comes from, by name: checkpoint digest, zoom, refinement, or a rival's parameters."""
    return {model.name: dict(model.origin) for model in models}


def describe_cases(found: Sequence[tuple[Place, CaseFiles]]) -> str:
    """Return a digest of which cases a run has, and whose they are; their names cannot be read from it."""
    listed = [[place.dataset, place.patient, place.case, case.key] for place, case in found]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def text_digest(path: Path) -> str:
    """Return the SHA-256 of a small file, such as one of prompts."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Return versions of Python, this project and the packages that figures may depend on."""
    from importlib.metadata import PackageNotFoundError, version

    from zim_plugins import __version__

    found = {"python": platform.python_version(), "zim-plugins": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


_PATHS = ("data", "out", "prompts_from", "write_id_map")
"""Options that are paths: the record names them by their option, since paths may name patients."""


def command_of(args: Any) -> str:
    """Return the command line that gives these options, paths left out.

    >>> from medical.cli import Args
    >>> command_of(Args(data="/home/me/doe", prompts="box", resume=True))
    'zim-medseg --data DATA --prompts box'
    """
    words = ["zim-medseg"]
    for option in fields(args):
        value = getattr(args, option.name)
        if value == option.default or option.name in ("resume", "debug", "verbose", "quiet"):
            continue
        words.append("--model" if option.name == "models" else "--" + option.name.replace("_", "-"))
        if option.name in _PATHS:
            value = option.name.upper()
        elif option.name == "text_model":
            value = _without_folder(value)
        elif option.name == "text":
            value = " --text ".join(f'"{words}"' for words in value)
        elif option.name == "models":
            value = ",".join(_without_folder(spec) for spec in value.split(","))
        elif option.name == "dataset":
            value = ",".join(re.sub(r":[^#]*", ":FOLDER", spec) for spec in value.split(","))
        elif option.name == "groups" and value != "cases":
            value = "pattern:REGEX" if value.startswith("pattern:") else "GROUPS"
        if not isinstance(value, bool):
            words.append(str(value))
    return " ".join(words)


def _without_folder(spec: str) -> str:
    """A model's name, or the file's where it is given by a path."""
    return re.split(r"[/\\]", spec)[-1]
