"""Mask-guided matting with progressive refinement (arXiv 2012.06722), after the paper's description."""

import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor, nn

from zim_plugins.core.checkpoints.pretrained import PretrainedModule
from zim_plugins.core.modeling.layers import upsample
from zim_plugins.core.transforms import PIXEL_MEAN, PIXEL_STD
from zim_plugins.label_converter.backbone import BackboneConfig, TinyBackboneConfig, build_backbone
from zim_plugins.label_converter.hiera import HIERA_CONFIGS, HieraConfig

_BACKBONES = {"tiny": TinyBackboneConfig, "hiera": HieraConfig}
STRIDE = 32
"""Sides are padded to a multiple of this."""
TEST_WIDTHS = (15, 7)
"""How far uncertainty spreads at test time, to strides 4 and 1 [px]."""


@dataclass(frozen=True)
class ConverterConfig:
    """Everything that decides the shape of a `ConverterNetwork`."""

    backbone: BackboneConfig = TinyBackboneConfig()
    context_channels: int = 128
    """After the pyramid of dilated convolutions at stride 32."""
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    decoder_channels: tuple[int, int, int, int, int] = (128, 96, 64, 32, 32)
    """At strides 16, 8, 4, 2 and 1."""
    decoder_depths: tuple[int, int, int, int, int] = (1, 1, 1, 1, 0)
    """Residual blocks at strides 16, 8, 4, 2 and 1."""
    shortcut_depth: int = 1
    """Convolutions in each shortcut."""
    head_channels: int = 32
    mask_logit: float = 0.0
    """Added to each head's logits inside the mask, subtracted outside: training starts from the mask itself."""


CONVERTER_CONFIGS = {
    "tiny": ConverterConfig(mask_logit=3.0),
    "hiera_bp": ConverterConfig(
        HIERA_CONFIGS["sam2_hiera_base_plus"],
        context_channels=512,
        decoder_channels=(256, 128, 64, 32, 32),
        decoder_depths=(2, 3, 3, 2, 0),
        shortcut_depth=2,
    ),
    "hiera_bp_224": ConverterConfig(
        HIERA_CONFIGS["hiera_base_plus"],
        context_channels=512,
        decoder_channels=(256, 128, 64, 32, 32),
        decoder_depths=(2, 3, 3, 2, 0),
        shortcut_depth=2,
    ),
}
"""Converters by name; `dataclasses.replace` makes the variants."""


class Levels(NamedTuple):
    """One map for each of the strides 8, 4 and 1, all at the image's own size."""

    os8: Float[Tensor, "b 1 h w"]
    os4: Float[Tensor, "b 1 h w"]
    os1: Float[Tensor, "b 1 h w"]


def standardised(rgb: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "3 h w"]:
    """SRGB to the network's input; zero is the mean colour, and what padding is filled with."""
    mean, std = np.array(PIXEL_MEAN, np.float32), np.array(PIXEL_STD, np.float32)
    return ((rgb - mean) / std).transpose(2, 0, 1)


def uncertain(alpha: Float[Tensor, "b 1 h w"], width_px: int) -> Bool[Tensor, "b 1 h w"]:
    """Return where a matte is neither 0 nor 1 at 8 bits, spread by a square of `width_px`, made odd."""
    return _spread(((alpha >= 1 / 255) & (alpha <= 254 / 255)).to(alpha.dtype), width_px) > 0


def edge_band(alpha: Float[Tensor, "b 1 h w"], width_px: int) -> Bool[Tensor, "b 1 h w"]:
    """The unknown part of a trimap: where a square of `width_px`, at least 3, is not wholly 0 or wholly 1."""
    width_px = max(3, width_px)
    return (_spread(alpha, width_px) > 1 / 255) & (_spread(1 - alpha, width_px) > 1 / 255)


def _spread(x: Float[Tensor, "b 1 h w"], width_px: int) -> Float[Tensor, "b 1 h w"]:
    reach = width_px // 2
    x = F.max_pool2d(x, (1, 2 * reach + 1), 1, (0, reach))
    return F.max_pool2d(x, (2 * reach + 1, 1), 1, (reach, 0))


def refine(
    heads: Levels, widths_px: tuple[int, int] = TEST_WIDTHS, truth: Float[Tensor, "b 1 h w"] | None = None
) -> tuple[Levels, Levels]:
    """Progressive refinement: a finer head speaks only where the coarser matte is uncertain.

    Args:
        heads: mattes of the three heads in [0, 1].
        widths_px: how far uncertainty spreads before stride 4 and before stride 1.
        truth: early in training, the matte whose edges say where the finer heads speak; None: the coarser head says so.

    Returns:
        The fused mattes, the last of which is the answer, and where each head had its say (0 or 1).
    """
    guide4 = uncertain(heads.os8.detach(), widths_px[0]) if truth is None else edge_band(truth, widths_px[0])
    fused4 = torch.where(guide4, heads.os4, heads.os8)
    guide1 = uncertain(fused4.detach(), widths_px[1]) if truth is None else edge_band(truth, widths_px[1])
    fused1 = torch.where(guide1, heads.os1, fused4)
    guides = Levels(torch.ones_like(heads.os8), guide4.to(heads.os4.dtype), guide1.to(heads.os1.dtype))
    return Levels(heads.os8, fused4, fused1), guides


def _conv_norm(inputs: int, outputs: int, dilation: int = 1, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and GroupNorm: batches are small and of mixed images, so no batch statistics here."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(min(8, outputs // 4), outputs))


def _shortcut(inputs: int, outputs: int, depth: int, stride: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [_conv_norm(inputs if i == 0 else outputs, outputs, stride=stride if i == 0 else 1), nn.ReLU()]
    return nn.Sequential(*layers)


class ContextPyramid(nn.Module):
    """Dilated convolutions side by side with the mean of the whole image (ASPP, arXiv 1706.05587)."""

    def __init__(self, inputs: int, outputs: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        middle = outputs // 2
        self.branches = nn.ModuleList(_conv_norm(inputs, middle, dilation) for dilation in dilations)
        self.whole = nn.Conv2d(inputs, middle, 1)
        self.merge = nn.Conv2d(middle * (len(dilations) + 1), outputs, 1, bias=False)
        self.norm = nn.GroupNorm(8, outputs)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Same size in and out."""
        whole = self.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, x.shape[2], x.shape[3])
        seen = torch.cat([*(branch(x) for branch in self.branches), whole], dim=1)
        return F.relu(self.norm(self.merge(F.relu(seen))))


class DecoderBlock(nn.Module):
    """Two convolutions with GroupNorm round a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv_norm(channels, channels)
        self.second = _conv_norm(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same size in and out."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class DecoderStage(nn.Module):
    """Twice the size, the backbone's features of that stride added, then residual blocks."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.reduce = _conv_norm(inputs, outputs)
        self.blocks = nn.Sequential(*(DecoderBlock(outputs) for _ in range(depth)))

    def forward(self, x: Float[Tensor, "b c h w"], shortcut: Float[Tensor, "b d s t"]) -> Float[Tensor, "b d s t"]:
        """Enlarge to the size and channels of the shortcut."""
        wide = upsample(self.reduce(x), (shortcut.shape[-2], shortcut.shape[-1]))
        return self.blocks(F.relu(wide + shortcut))


class AlphaHead(nn.Sequential):
    """Features to the logit of a matte at their own stride."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__(_conv_norm(inputs, channels), nn.ReLU(), nn.Conv2d(channels, 1, 3, padding=1))


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


class ConverterNetwork(PretrainedModule):
    """Image and coarse mask to mattes at strides 8, 4 and 1; any size."""

    model_type = "zim_plugins.label_converter"
    config_key = "converter_config"

    def __init__(self, config: ConverterConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        stride4, stride8, stride16, stride32 = self.backbone.channels
        self.context = ContextPyramid(stride32, config.context_channels, config.dilations)
        widths, depth = config.decoder_channels, config.shortcut_depth
        self.shortcuts = nn.ModuleList(
            _shortcut(inputs, outputs, depth, stride)
            for inputs, outputs, stride in zip((stride16, stride8, stride4, 4, 4), widths, (1, 1, 1, 2, 1), strict=True)
        )
        self.stages = nn.ModuleList(
            DecoderStage(inputs, outputs, blocks)
            for inputs, outputs, blocks in zip(
                (config.context_channels, *widths[:-1]), widths, config.decoder_depths, strict=True
            )
        )
        self.heads = nn.ModuleList(AlphaHead(widths[i], config.head_channels) for i in (1, 2, 4))

    def config_values(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        return json.loads(json.dumps(config_to_dict(self.config)))

    @classmethod
    def from_config_values(cls, values: dict[str, Any]) -> "ConverterNetwork":
        """Return the network that `config_values` described, with fresh weights."""
        return cls(config_from_dict(values))

    def forward(self, image: Float[Tensor, "b 3 h w"], mask: Float[Tensor, "b 1 h w"]) -> Levels:
        """Mattes of the three heads, in float32.

        Args:
            image: standardised RGB.
            mask: coarse mask, 0 or 1.
        """
        height, width = image.shape[-2:]
        x = torch.cat([image, mask.to(image.dtype)], dim=1)
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE))
        stride4, stride8, stride16, stride32 = self.backbone(x)
        sources = (stride16, stride8, stride4, x, x)
        decoded, outputs = self.context(stride32), []
        for stage, shortcut, source in zip(self.stages, self.shortcuts, sources, strict=True):
            decoded = stage(decoded, shortcut(source))
            outputs.append(decoded)
        size = (x.shape[-2], x.shape[-1])
        levels = []
        for head, i, stride in zip(self.heads, (1, 2, 4), (8, 4, 1), strict=True):
            logits = head(outputs[i]).float()
            if self.config.mask_logit:
                logits = logits + self.config.mask_logit * (2 * F.avg_pool2d(x[:, 3:].float(), stride) - 1)
            levels.append(upsample(logits, size)[..., :height, :width].sigmoid())
        return Levels(*levels)

    def matte(self, image: Float[Tensor, "b 3 h w"], mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """The refined matte in [0, 1], as at test time."""
        return refine(self(image, mask))[0].os1
