"""Converter checkpoints: one safetensors file that carries its own config."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from zim_plugins.core.errors import CheckpointError
from zim_plugins.label_converter.backbone import TinyBackboneConfig
from zim_plugins.label_converter.hiera import HieraConfig
from zim_plugins.label_converter.network import ConverterConfig, ConverterNetwork

_BACKBONES = {"tiny": TinyBackboneConfig, "hiera": HieraConfig}


def config_to_dict(config: ConverterConfig) -> dict[str, Any]:
    """A config as plain JSON values."""
    kind = next(name for name, cls in _BACKBONES.items() if isinstance(config.backbone, cls))
    return asdict(config) | {"backbone_kind": kind}


def config_from_dict(values: dict[str, Any]) -> ConverterConfig:
    """The config that `config_to_dict` wrote."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    backbone = _BACKBONES[values.pop("backbone_kind")]
    shape = {k: tuple(v) if isinstance(v, list) else v for k, v in values.pop("backbone").items()}
    return ConverterConfig(backbone(**shape), **values)


def save_converter(
    network: ConverterNetwork, path: Path, metadata: dict[str, str], dtype: torch.dtype = torch.float16
) -> None:
    """Write the weights with their config; the file appears whole or not at all."""
    from safetensors.torch import save_file

    state = {
        k: v.detach().to("cpu", dtype if v.is_floating_point() else v.dtype).contiguous()
        for k, v in network.state_dict().items()
    }
    temporary = path.with_name(path.name + ".tmp")
    save_file(state, temporary, metadata | {"converter_config": json.dumps(config_to_dict(network.config))})
    temporary.chmod(0o644)  # the library writes files that only their owner may read
    os.replace(temporary, path)


def load_converter(path: Path) -> tuple[ConverterNetwork, dict[str, str]]:
    """A network in float32, ready to convert, and its metadata, as `save_converter` wrote them.

    Raises:
        CheckpointError: the file is no converter of this project, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {k: file.get_tensor(k) for k in file.keys()}
        network = ConverterNetwork(config_from_dict(json.loads(metadata.pop("converter_config"))))
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not a label converter of this project: {error}") from error
    return network.eval(), metadata
