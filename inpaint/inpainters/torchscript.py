"""TorchScript files: the format in which LaMa's and Inception's weights are published."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from zim_plugins.core import CheckpointError

if TYPE_CHECKING:
    import torch


def load_torchscript(path: Path) -> "torch.jit.ScriptModule":
    """Load a TorchScript file to the CPU, ready for inference.

    torch deprecates the format (DeprecationWarning in 2.13, FutureWarning from 2.14 on) and still reads it; the
    published weights come in no other, so the warning is kept from the user, for this call alone.

    Raises:
        CheckpointError: the file cannot be read as TorchScript.
    """
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.load")
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{path} is no TorchScript file that torch can read: {reason}") from error
