"""Curves and images of a run for TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from zim_plugins.errors import MissingExtra


class TensorBoard:
    """Writes event files; what an earlier, killed run wrote of later steps is hidden.

    Raises:
        MissingExtra: tensorboard is not installed.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("tensorboard", "train") from error
        self._writer = SummaryWriter(folder, purge_step=first_step or None)

    def scalars(self, step: int, values: Mapping[str, float], group: str) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def images(self, step: int, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> None:
        """Add images, one strip each."""
        for number, image in enumerate(images):
            self._writer.add_image(f"held_out/{number}", image, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Write what is waiting."""
        self._writer.close()
