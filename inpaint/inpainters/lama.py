"""LaMa: holes filled by one pass of a Fourier-convolution network, from the TorchScript file that lama-cleaner uses."""

from pathlib import Path

import numpy as np

from zim_plugins.core import CheckpointError, resolve_device
from zim_plugins.imaging import unit_values

from .base import Hole, Rgb, paste, refuse_a_full_hole
from .torchscript import load_torchscript
from .weights import require_lama

MULTIPLE_PX = 8
"""The network halves its input three times."""


class LamaInpainter:
    """Fill by Suvorov et al., "Resolution-robust Large Mask Inpainting with Fourier Convolutions" (2022).

    The file is a traced `forward(image, mask)`: image (1, 3, h, w) RGB in [0, 1], mask (1, 1, h, w) with 1 in the hole,
    sides multiples of 8; it answers with an image like the first. Padding and rounding are lama-cleaner's, so the same
    file gives the same bytes. All is float32: half-precision Fourier transforms need sides of a power of two.

    Args:
        path: the TorchScript file; by default the one that `weights.lama_file` finds, its digest checked.
        device: auto, cpu or cuda[:N]. Apple's GPU does not run it.

    Raises:
        CheckpointError: the file is missing, another than expected, or no TorchScript.
        ValueError: the device is not here.
    """

    name: str = "lama"
    work_side_px: int | None = 1024

    def __init__(self, path: Path | None = None, *, device: str = "auto") -> None:
        self.device = resolve_device(device)
        if self.device == "mps":
            self.device = "cpu"
        self.network = load_torchscript(path or require_lama()).to(self.device)
        if path is not None:
            self.name = str(path)
            self._check_kind(path)

    def _check_kind(self, path: Path) -> None:
        """Raise CheckpointError where the network takes, or gives, something else than LaMa does."""
        import torch

        image, mask = torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
        mask[..., 24:40, 24:40] = 1
        try:
            with torch.inference_mode():
                painted = self.network(image.to(self.device), mask.to(self.device))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-160:]
            raise CheckpointError(f"{path} is TorchScript, but not LaMa's forward(image, mask): {reason}") from error
        if not isinstance(painted, torch.Tensor) or painted.shape != image.shape:
            shape = tuple(painted.shape) if isinstance(painted, torch.Tensor) else type(painted).__name__
            raise CheckpointError(f"{path} is TorchScript, but not of LaMa's kind: it returns {shape}, not an image")

    def fill(self, image: Rgb, hole: Hole) -> Rgb:
        """Repaint the hole; see `Inpainter.fill`."""
        import torch

        refuse_a_full_hole(hole)
        height, width = hole.shape
        pad = ((0, -height % MULTIPLE_PX), (0, -width % MULTIPLE_PX))
        padded = unit_values(np.pad(image, (*pad, (0, 0)), mode="symmetric"))
        padded_hole = np.pad(hole, pad, mode="symmetric").astype(np.float32)
        pixels = torch.from_numpy(padded).permute(2, 0, 1)[None].to(self.device)
        mask = torch.from_numpy(padded_hole)[None, None].to(self.device)
        with torch.inference_mode():
            painted = self.network(pixels, mask)[0].permute(1, 2, 0).clamp(0, 1).mul(255)
        return paste(image, painted.to(torch.uint8).cpu().numpy()[:height, :width], hole)
