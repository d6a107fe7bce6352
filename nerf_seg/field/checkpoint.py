"""Trained nerfacto runs: found, checked against what is about to be built, and loaded, before any long work."""

import hashlib
import json
import pickle
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from zim_plugins.core import CheckpointError, MissingExtra

if TYPE_CHECKING:
    from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig, DataparserOutputs
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.models.nerfacto import NerfactoModel, NerfactoModelConfig

_TRANSFORMS = "dataparser_transforms.json"


@dataclass(frozen=True, eq=False)
class TrainedNerf:
    """One finished run of nerfacto or of a method built on it."""

    config_path: Path
    config: "TrainerConfig"
    """As the run was started; `implementation` is what the checkpoint was really written by."""
    checkpoint: Path
    state: dict[str, Tensor]
    """The model's state dict."""

    @property
    def model_config(self) -> "NerfactoModelConfig":
        """Configuration of the field."""
        return self.config.pipeline.model  # pyright: ignore[reportReturnType]

    @property
    def views(self) -> int | None:
        """Training views of the run, where its checkpoint tells: one row of the appearance embedding each."""
        for key in ("field.embedding_appearance.embedding.weight", "camera_optimizer.pose_adjustment"):
            if key in self.state:
                return len(self.state[key])
        return None

    def digest(self) -> str:
        """SHA-256 of all weights, as 16 hexadecimal digits: names this field in caches and reports."""
        sha = hashlib.sha256()
        for key in sorted(self.state):
            if not key.startswith("lpips."):
                sha.update(key.encode())
                sha.update(self.state[key].detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return sha.hexdigest()[:16]


def find_nerf(config_path: Path) -> TrainedNerf:
    """Read a run's configuration and its newest checkpoint.

    The checkpoint is looked for beside `config.yml`, so that a run may be moved, and used from any folder.

    Raises:
        CheckpointError: no such file, no checkpoint, not a nerfacto, or tiny-cuda-nn is needed and missing.
        MissingExtra: nerfstudio is not installed.
    """
    if config_path.is_dir():
        below = sorted(config_path.rglob("config.yml"))
        near = f", such as {below[-1]}" if below else ""
        raise CheckpointError(f"{config_path} is a folder: give the config.yml of a run{near}")
    if not config_path.is_file():
        raise CheckpointError(f"there is no {config_path}: give the config.yml that `ns-train nerfacto` wrote")
    try:
        import yaml
        from nerfstudio.configs.method_configs import all_methods  # noqa: F401  # their classes stand in config.yml
        from nerfstudio.engine.trainer import TrainerConfig
        from nerfstudio.models.nerfacto import NerfactoModelConfig
        from nerfstudio.models.splatfacto import SplatfactoModelConfig
    except ModuleNotFoundError as error:
        raise MissingExtra("nerfstudio", "nerf") from error
    config = yaml.load(config_path.read_text("utf8"), Loader=yaml.Loader)
    if isinstance(config, TrainerConfig) and isinstance(config.pipeline.model, SplatfactoModelConfig):
        manager: Any = config.pipeline.datamanager
        data = shlex.quote(str(manager.data or getattr(manager.dataparser, "data", "CAPTURE")))
        raise CheckpointError(
            f"{config_path} is a run of {config.method_name}, a splat; on a CPU too, not exported: zim-splat "
            f"{shlex.quote(str(config_path))} --cameras {data} --images {data} --view NAME --point x,y"
        )
    if not isinstance(config, TrainerConfig) or not isinstance(config.pipeline.model, NerfactoModelConfig):
        method = getattr(config, "method_name", type(config).__name__)
        raise CheckpointError(f"{config_path} is a run of {method}, and sa3d-zim stands on nerfacto and its variants")
    folder = config_path.parent / config.relative_model_dir
    checkpoints = sorted(folder.glob("step-*.ckpt"))
    if not checkpoints:
        raise CheckpointError(f"there is no step-*.ckpt in {folder}: that run has not finished or was never saved")
    try:
        stored = torch.load(checkpoints[-1], map_location="cpu", weights_only=True)
        state = {
            key.removeprefix("_model.").removeprefix("module."): value for key, value in stored["pipeline"].items()
        }
    except pickle.UnpicklingError as error:  # its own text advises to run whatever the file holds
        raise CheckpointError(f"{checkpoints[-1]} is no checkpoint, or damaged: train the NeRF again") from error
    except (OSError, EOFError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoints[-1]} cannot be read ({error}): train the NeRF again") from error
    implementation = _implementation(state)
    if implementation == "tcnn":
        _require_tcnn(checkpoints[-1])
    config.pipeline.model.implementation = implementation
    return TrainedNerf(config_path, config, checkpoints[-1], state)


def parsed(dataparser: "DataParserConfig", split: str) -> "DataparserOutputs":
    """Cameras and file names of one split of a capture.

    Raises:
        CheckpointError: the capture is not where its path says; relative paths count from the working folder.
    """
    data = dataparser.data  # pyright: ignore[reportAttributeAccessIssue]
    if not data.exists():
        raise CheckpointError(f"there is no capture {data}: give --data DIR, or start where the NeRF was trained")
    outputs = dataparser.setup().get_dataparser_outputs(split=split)
    missing = [path for path in outputs.image_filenames if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(outputs.image_filenames)} images that the capture {data} names are not there: "
            f"{missing[0]} for example"
        )
    return outputs


def check_capture(nerf: TrainedNerf, outputs: "DataparserOutputs") -> None:
    """Compare a run with the training views that it is to be used with.

    Raises:
        CheckpointError: another number of views, or another placement or scale of the cameras.
    """
    views = len(outputs.image_filenames)
    if nerf.views is not None and nerf.views != views:
        raise CheckpointError(
            f"{nerf.config_path} was trained on {nerf.views} views, and the data has {views} training views: "
            "leave the data parser's options out, or use those of that run"
        )
    placement = nerf.config_path.parent / _TRANSFORMS
    if not placement.is_file():
        return
    trained = json.loads(placement.read_text("utf8"))
    same = np.allclose(trained["transform"], outputs.dataparser_transform.numpy(), atol=1e-4)
    if not same or not np.isclose(trained["scale"], outputs.dataparser_scale, rtol=1e-4):
        raise CheckpointError(
            f"the cameras do not lie where {nerf.config_path} was trained: another capture, another split, or other "
            f"options of the data parser (scale {outputs.dataparser_scale:.6g}, trained with {trained['scale']:.6g})"
        )


def load_nerf(model: "NerfactoModel", nerf: TrainedNerf) -> None:
    """Fill a model with a run's weights and freeze it.

    Raises:
        CheckpointError: the weights do not fit, with the first that does not.
    """
    ours = {key: value for key, value in nerf.state.items() if not key.startswith(("lpips.", "device_indicator"))}
    expected = {key: value.shape for key, value in model.state_dict().items() if not key.startswith("lpips.")}
    for key, shape in expected.items():
        if not key.startswith("device_indicator") and (key not in ours or ours[key].shape != shape):
            found = tuple(ours[key].shape) if key in ours else "nothing"
            raise CheckpointError(f"{nerf.checkpoint} holds {found} for {key}, and {tuple(shape)} is needed")
    model.load_state_dict(ours, strict=False)
    model.requires_grad_(False)
    model.proposal_sampler.set_anneal(1.0)
    model.eval()


def _implementation(state: dict[str, Tensor]) -> Literal["tcnn", "torch"]:
    """Return the implementation, known by the weights' names: tiny-cuda-nn keeps a network in one vector, `params`."""
    return "tcnn" if any(key.endswith(".params") for key in state) else "torch"


def _require_tcnn(checkpoint: Path) -> None:
    from nerfstudio.utils.external import TCNN_EXISTS

    if not TCNN_EXISTS:
        raise CheckpointError(
            f"{checkpoint} was trained with tiny-cuda-nn, which is not installed here or needs a GPU: install it, or "
            "train with `--pipeline.model.implementation torch`"
        )
