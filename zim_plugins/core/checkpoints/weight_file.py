"""Weight files of this project: safetensors that carry the network's own configuration."""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zim_plugins.core.checkpoints.damage import UNREADABLE, check_config, why_unreadable
from zim_plugins.errors import CheckpointError
from zim_plugins.imaging.files import atomic_path


def write_weight_file(
    network: nn.Module,
    path: Path,
    config_key: str,
    config: dict[str, Any],
    metadata: dict[str, str],
    dtype: torch.dtype,
) -> None:
    """Write a network's weights, floating-point ones in `dtype`; the file appears whole or not at all.

    Args:
        network: whose state dict is written.
        config_key: under which the configuration stands in the metadata; it tells kinds of networks apart.
        config: JSON values.
        metadata: what else the file says of itself.
        dtype: of floating-point weights.
    """
    state = {
        k: v.detach().to("cpu", dtype if v.is_floating_point() else v.dtype).contiguous()
        for k, v in network.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata | {config_key: json.dumps(config)})
        temporary.chmod(0o644)  # the library writes files that only their owner may read


def read_weight_file(
    path: Path, config_key: str, kind: str
) -> tuple[dict[str, Shaped[Tensor, "..."]], dict[str, Any], dict[str, str]]:
    """Weights (floating-point ones in float32), configuration and the other metadata.

    Args:
        config_key: as it was written.
        kind: what the file should be, for the message.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {k: file.get_tensor(k) for k in file.keys()}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except (SafetensorError, *UNREADABLE):
        raise CheckpointError(f"{path} is not a {kind} of this project: {why_unreadable(path)}") from None
    if config_key not in metadata:
        raise CheckpointError(f"{path} is not a {kind} of this project: it does not say which network it is for")
    try:
        config = json.loads(metadata.pop(config_key))
        if not isinstance(config, dict):
            raise ValueError("no object")
        check_config(config)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a {kind} of this project: broken configuration, {error}") from error
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, config, metadata
