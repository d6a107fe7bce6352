"""Weights to start from: SAM's official file, or a checkpoint of this project."""

from pathlib import Path

from zim_plugins.core.backends.sam import load_sam
from zim_plugins.core.modeling.zim import Zim, ZimConfig, load_weights
from zim_plugins.core.modeling.zim_lite import LiteConfig, ZimLite
from zim_plugins.errors import CheckpointError


def start_from(path: Path, config: ZimConfig | LiteConfig) -> Zim | ZimLite:
    """A network of this configuration that starts with the weights of a file, all of them.

    Of SAM's `.pth` all that both have is taken over; the detail stem and the pixel decoder stay as initialised.

    Args:
        path: SAM's `.pth`, or a `.safetensors` of this project.
        config: of the network.

    Raises:
        CheckpointError: the file is missing, damaged or of another size.
    """
    if path.suffix != ".safetensors":
        if isinstance(config, LiteConfig):
            raise CheckpointError(
                f"{path} is SAM's; the recipe's network is zim_tiny's: start from a .safetensors of it"
            )
        return Zim.from_sam(load_sam(path).state_dict(), config)
    zim, _ = load_weights(path)
    if zim.config != config:
        raise CheckpointError(f"{path} holds another network ({zim.config}) than the recipe's ({config})")
    return zim
