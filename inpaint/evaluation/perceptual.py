"""LPIPS, where its weights are on this machine. Nothing is ever downloaded."""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8

from zim_plugins.imaging import window_of

BACKBONES = {"alex": "alexnet-owt-7be5be79.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth", "vgg": "vgg16-397923af.pth"}
"""torchvision's files, in the folder `hub/checkpoints` of TORCH_HOME."""
MARGIN_PX, LEAST_PX = 16, 64
"""Surroundings of the object that are compared with it, and the least side of the crop [px]."""


class Lpips:
    """Learned perceptual similarity (Zhang et al. 2018) as torchmetrics has it: 0 alike, about 1 unlike.

    Args:
        net: backbone; the paper's figures are with `alex`.

    Raises:
        FileNotFoundError: torchmetrics, torchvision or the backbone's weights are not there; the message says which.
    """

    def __init__(self, net: Literal["alex", "squeeze", "vgg"] = "alex") -> None:
        import torch

        weights = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[net]
        try:
            from torchmetrics.functional.image.lpips import _NoTrainLpips
        except ImportError as error:
            raise FileNotFoundError(f"LPIPS needs torchmetrics and torchvision: {error}") from error
        if not weights.is_file():
            place = "hub/checkpoints of torch's cache (TORCH_HOME, else ~/.cache/torch)"  # reports take it up: no path
            raise FileNotFoundError(f"LPIPS needs torchvision's {BACKBONES[net]} in {place}")
        self._network = _NoTrainLpips(net=net)

    def __call__(
        self, result: UInt8[np.ndarray, "h w 3"], clean: UInt8[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"]
    ) -> float:
        """Compare two images in the box of the marked pixels, with some surroundings."""
        import torch

        ys, xs = _crop(where)

        def ready(image: np.ndarray) -> "torch.Tensor":
            return torch.from_numpy(image[ys, xs].astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]

        with torch.inference_mode():
            return float(self._network(ready(result), ready(clean)).item())


def _crop(where: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    slices = []
    for side, extent in zip(where.shape, window_of(where), strict=True):
        low, high = extent.start - MARGIN_PX, extent.stop + MARGIN_PX
        short = max(0, LEAST_PX - (high - low))
        low, high = low - short // 2, high + short - short // 2
        slices.append(slice(max(0, low), min(side, high)))
    return slices[0], slices[1]
