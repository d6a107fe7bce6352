"""Converter checkpoints: one safetensors file that carries its own config."""

from pathlib import Path

import torch

from zim_plugins.core.checkpoints.weight_file import read_weight_file, write_weight_file
from zim_plugins.errors import CheckpointError
from zim_plugins.label_converter.network import ConverterNetwork, config_from_dict, config_to_dict

CONVERTER_TINY = Path(__file__).parent / "weights" / "converter_tiny.safetensors"
"""This project's own small converter, shipped with it; its card lies beside it."""


def save_converter(
    network: ConverterNetwork, path: Path, metadata: dict[str, str], dtype: torch.dtype = torch.float16
) -> None:
    """Write the weights with their config; the file appears whole or not at all."""
    write_weight_file(network, path, "converter_config", config_to_dict(network.config), metadata, dtype)


def load_converter(path: Path) -> tuple[ConverterNetwork, dict[str, str]]:
    """A network in float32, ready to convert, and its metadata, as `save_converter` wrote them.

    Raises:
        CheckpointError: the file is missing, damaged, or no converter of this project.
    """
    state, config, metadata = read_weight_file(path, "converter_config", "label converter")
    try:
        network = ConverterNetwork(config_from_dict(config))
        network.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} describes no label converter of this version: {error}") from error
    return network.eval(), metadata
