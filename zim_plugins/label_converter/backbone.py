"""Backbones of the converter behind one interface: image and mask in, features at strides 4, 8, 16 and 32 out."""

import itertools
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from zim_plugins.label_converter.hiera import HieraConfig, HieraTrunk


@dataclass(frozen=True)
class TinyBackboneConfig:
    """A few dense 3x3 convolutions: the kind of layer that CPUs run fastest."""

    channels: tuple[int, int, int, int, int] = (32, 64, 96, 128, 160)
    """At strides 2, 4, 8, 16 and 32; multiples of 32 fill the vector units."""


BackboneConfig = TinyBackboneConfig | HieraConfig


def conv_norm_relu(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, BatchNorm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two convolutions round a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm_relu(channels, channels)
        self.second = conv_norm_relu(channels, channels)[:2]
        self.act = nn.ReLU()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same size in and out."""
        return self.act(x + self.second(self.first(x)))


class TinyBackbone(nn.Module):
    """Stride-2 convolutions, each followed by a residual block from stride 4 on."""

    def __init__(self, config: TinyBackboneConfig) -> None:
        super().__init__()
        widths = config.channels
        self.channels = widths[1:]
        self.stem = conv_norm_relu(4, widths[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv_norm_relu(a, b, stride=2), ResidualBlock(b)) for a, b in itertools.pairwise(widths)
        )
        nn.init.zeros_(self.stem.get_parameter("0.weight")[:, 3])

    def forward(self, x: Float[Tensor, "b 4 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Standardised RGB and mask to features at strides 4, 8, 16 and 32."""
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def build_backbone(config: BackboneConfig) -> TinyBackbone | HieraTrunk:
    """The backbone that a config describes; its mask channel starts at zero, as in MGMatting."""
    return TinyBackbone(config) if isinstance(config, TinyBackboneConfig) else HieraTrunk(config)
