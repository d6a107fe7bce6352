"""Checkpoints of nerfstudio's splatfacto, read without nerfstudio, which exports them on CUDA only."""

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...numpy_scalars import allowed_scalars
from ..model import SH_C0
from .ply import InriaPly, PlyFile

logger = logging.getLogger(__name__)

TRANSFORM_FILE = "dataparser_transforms.json"
_PARTS = ("means", "scales", "quats", "features_dc", "features_rest", "opacities")


def find_checkpoint(path: Path) -> Path | None:
    """Return the newest checkpoint of a run by its config.yml or folder, or the checkpoint that is named itself.

    Args:
        path: what a user names as a scene.

    Returns:
        None where it is no run of nerfstudio and no checkpoint.

    Raises:
        ValueError: it is a run without a checkpoint.
    """
    if path.suffix == ".ckpt" and path.is_file():
        return path
    folder = path.parent if path.name == "config.yml" else path
    if not (folder / "config.yml").is_file():
        return None
    found = sorted(folder.rglob("step-*.ckpt"))
    if not found:
        raise ValueError(f"there is no step-*.ckpt below {folder}: that run has not finished or was never saved")
    return found[-1]


def find_transform(checkpoint: Path) -> Path | None:
    """Return where the run's data parser moved the capture to: dataparser_transforms.json beside config.yml."""
    places = (checkpoint.parent.parent / TRANSFORM_FILE, checkpoint.parent / TRANSFORM_FILE)
    return next((path for path in places if path.is_file()), None)


def read_checkpoint(path: Path) -> InriaPly:
    """Return a checkpoint's Gaussians, all of them, in the layout in which `ns-export gaussian-splat` writes them.

    Raises:
        ValueError: it is damaged, or of another method.
    """
    parts = _parts(path)
    count = len(parts["means"])
    if any(len(part) != count for part in parts.values()):
        raise ValueError(f"its Gaussians are not whole: { ({name: len(part) for name, part in parts.items()}) }")
    colours, rest = parts["features_dc"], parts["features_rest"].reshape(count, -1, 3)
    if rest.shape[1] == 0:  # without harmonics splatfacto trains colours behind a sigmoid
        colours = (torch.sigmoid(colours) - 0.5) / SH_C0
    named = {
        **_columns("", parts["means"], "xyz"),
        **_columns("n", torch.zeros(count, 3), "xyz"),
        **_columns("f_dc_", colours),
        **_columns("f_rest_", rest.transpose(1, 2).reshape(count, -1)),
        "opacity": parts["opacities"].reshape(count).numpy(),
        **_columns("scale_", parts["scales"]),
        **_columns("rot_", parts["quats"]),
    }
    rows = np.zeros(count, dtype=[(name, "<f4") for name in named])
    for name, values in named.items():
        rows[name] = values
    _warn_of_antialiasing(path)
    return InriaPly(PlyFile({"vertex": rows}, ("of a checkpoint of splatfacto", "Vertical Axis: z")))


def _parts(path: Path) -> dict[str, torch.Tensor]:
    try:
        with allowed_scalars():
            stored: Any = torch.load(path, map_location="cpu", weights_only=True)
        state = {
            name.removeprefix("_model.").removeprefix("module."): part for name, part in stored["pipeline"].items()
        }
    except pickle.UnpicklingError as error:  # its own text advises to run whatever the file holds
        raise ValueError("it is no checkpoint of nerfstudio, or damaged") from error
    except (KeyError, TypeError, AttributeError, RuntimeError, EOFError) as error:
        raise ValueError(f"it is no checkpoint of nerfstudio, or damaged: {' '.join(str(error).split())}") from error
    prefix = "gauss_params." if "gauss_params.means" in state else ""  # nerfstudio before 1.0.3 had none
    if missing := [name for name in _PARTS if f"{prefix}{name}" not in state]:
        raise ValueError(
            f"it is no checkpoint of splatfacto: it holds no {', '.join(missing)}; of a nerfacto "
            "`ns-train sa3d-zim --pipeline.nerf-config .../config.yml` cuts objects out"
        )
    return {name: state[f"{prefix}{name}"].detach().to(torch.float32) for name in _PARTS}


def _columns(prefix: str, values: torch.Tensor, names: str | None = None) -> dict[str, np.ndarray]:
    """Columns of a part by name, numbered where they have no names."""
    keys = [*names] if names else [str(i) for i in range(values.shape[1])]
    return {prefix + key: values[:, i].numpy() for i, key in enumerate(keys)}


def _warn_of_antialiasing(checkpoint: Path) -> None:
    config = checkpoint.parent.parent / "config.yml"
    if config.is_file() and re.search(r"rasterize_mode: antialiased", config.read_text("utf8", errors="replace")):
        logger.warning(
            "%s was trained with rasterize_mode antialiased: thin Gaussians are drawn a little wider", config
        )
