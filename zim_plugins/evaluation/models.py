"""Models that are scored: checkpoints, GrabCut, anybody's predictor by `FILE.py:FACTORY` or `MODULE:FACTORY`."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zim_plugins.core.checkpoints.hub import PAGE, hub_folder, is_hub_name
from zim_plugins.core.checkpoints.outside import is_outside as is_outside
from zim_plugins.core.checkpoints.outside import load_outside
from zim_plugins.core.checkpoints.records import CHECKPOINTS, find
from zim_plugins.core.encoding import Predictor
from zim_plugins.core.load import Dtype, Refine, load_predictor, resolve_device
from zim_plugins.errors import CheckpointError
from zim_plugins.imaging.files import file_digest

GRABCUT = "grabcut"


@dataclass(frozen=True)
class ModelOptions:
    """Options of running checkpoints; outside predictors see to themselves."""

    device: str = "auto"
    dtype: Dtype = "fp32"
    zoom: bool | None = None
    """The second pass on the object's surroundings; None: for matting models. The paper's numbers are without."""
    refine: Refine = "auto"
    """What improves mattes at the end, as `load_predictor` takes it; auto: the image's colours, for small models."""


def load_model(spec: str, options: ModelOptions = ModelOptions(), *, worker: int = 0) -> Predictor:
    """Build a model.

    Args:
        spec: a checkpoint's name or file, `grabcut`, or where a function stands that makes a `Predictor`.
        options: how to run it; an outside function that takes one argument is given the device.
        worker: number of this process; on several GPUs, workers take them in turn.

    Raises:
        CheckpointError: there is no such checkpoint or function, or what the function makes is no `Predictor`.
    """
    if spec == GRABCUT:
        from zim_plugins.evaluation.baselines import GrabCut

        return GrabCut()
    device = resolve_device(options.device)
    if device == "cuda":
        import torch

        device = f"cuda:{worker % torch.cuda.device_count()}"
    if is_outside(spec):
        return load_outside(spec, device)
    return load_predictor(spec, device=device, dtype=options.dtype, zoom=options.zoom, refine=options.refine)


def describe_model(spec: str) -> dict[str, Any]:
    """Return where a model comes from: name, and the checkpoint's hash and licence where it has any.

    Raises:
        CheckpointError: the checkpoint is not on this machine.
    """
    if spec == GRABCUT:
        from zim_plugins.evaluation.baselines import GrabCut

        return {"model": spec, "sha256": None, "licence": None, "opencv": GrabCut().version}
    if is_outside(spec):
        place = Path(spec.rpartition(":")[0])
        digest = file_digest(place) if place.is_file() else None
        return {"model": spec, "sha256": digest, "licence": None}
    if is_hub_name(spec):
        folder = hub_folder(spec)
        return {"model": spec, "sha256": _content_hash(folder), "licence": f"see the card on {PAGE}"}
    path = find(spec) if spec in CHECKPOINTS else Path(spec).expanduser()
    if path is None or not path.exists():
        if spec != "auto":
            load_predictor(spec)  # says how to get it
        raise CheckpointError(f"{spec}: name a checkpoint, so that the report can say which it was")
    licence = CHECKPOINTS[spec].licence if spec in CHECKPOINTS else None
    return {"model": spec, "sha256": _content_hash(path), "licence": licence}


def model_slug(spec: str) -> str:
    """A folder name for a model's results."""
    short = re.sub(r"[^A-Za-z0-9_.-]+", "_", spec).strip("_.")
    return short if short == spec else f"{short[-40:]}-{hashlib.sha256(spec.encode()).hexdigest()[:8]}"


def _content_hash(path: Path) -> str:
    """SHA-256 of a file, or over those of a folder's files."""
    if path.is_file():
        return file_digest(path)
    digests = [f"{file.name} {file_digest(file)}\n" for file in sorted(path.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
