"""The encoder of zim_tiny: convolutions down to stride 8, a few transformer blocks at stride 16, made for CPUs.

Its own early stages are the details that the pixel decoder joins, so there is no second stem. Positions come from
depthwise convolutions and zero padding only, so any frame that is a multiple of 16 works.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zim_plugins.core.modeling.mask_decoder import FusionBlock


@dataclass(frozen=True)
class TinyConfig:
    """Widths and depths of the small encoder."""

    channels: tuple[int, int, int] = (32, 64, 128)
    """At strides 2, 4 and 8."""
    blocks: tuple[int, int, int] = (0, 1, 2)
    """Residual blocks at strides 2, 4 and 8."""
    dim: int = 192
    """Width of the transformer at stride 16."""
    depth: int = 4
    heads: int = 6
    out_channels: int = 256


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


def downsample(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution of stride 2 with batch norm and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class TinyImageEncoder(nn.Module):
    """A normalised, padded image to an embedding of stride 16 and details at strides 2, 4 and 8."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        widths = (3, *config.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(downsample(a, b), *(ResidualBlock(b) for _ in range(n)))
            for a, b, n in zip(widths[:-1], widths[1:], config.blocks, strict=True)
        )
        self.patch_merge = downsample(config.channels[-1], config.dim)
        self.blocks = nn.ModuleList(FusionBlock(config.dim, config.heads, 3 * config.dim) for _ in range(config.depth))
        self.neck = nn.Conv2d(config.dim, config.out_channels, 1)

    def forward(self, x: Float[Tensor, "b 3 f f"]) -> tuple[Float[Tensor, "b c g g"], list[Float[Tensor, "b _ _ _"]]]:
        details = []
        for stage in self.stages:
            x = stage(x)
            details.append(x)
        x = self.patch_merge(x)
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.neck(x), details
