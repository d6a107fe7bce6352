"""ZIM's hierarchical pixel decoder: the embedding is doubled step by step and joined with details of the image.

Widths and strides follow arXiv 2411.00626 as far as they are known; the public release hides its norm, activation
and order of concatenation inside ONNX, so these three are this project's choice (LayerNorm, GELU, embedding first).
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from zim_plugins.core.modeling.layers import LayerNorm2d, upsample

Norm = Literal["layer", "batch"]


def norm_act(channels: int, norm: Norm) -> nn.Sequential:
    """LayerNorm and GELU as in SAM, or batch norm and ReLU, which are several times faster on a CPU."""
    if norm == "layer":
        return nn.Sequential(LayerNorm2d(channels), nn.GELU())
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


class DetailStem(nn.Module):
    """Three 3x3 convolutions of stride 2 on the image itself: features at strides 2, 4 and 8."""

    def __init__(self, channels: Sequence[int] = (64, 128, 256), norm: Norm = "layer") -> None:
        super().__init__()
        widths = (3, *channels)
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), *norm_act(b, norm))
            for a, b in itertools.pairwise(widths)
        )

    def forward(self, x: Float[Tensor, "b 3 f f"]) -> list[Float[Tensor, "b _ _ _"]]:
        features = []
        for conv in self.convs:
            x = conv(x)
            features.append(x)
        return features


class HierarchicalPixelDecoder(nn.Module):
    """Decoder from stride 16 to stride 2: bilinear doubling, concatenation with details, 3x3 convolution, three times.

    `prompt_channels` features of the drawn prompts are concatenated at stride 4 in a model that has them. A convolution
    of a concatenation is the sum of the convolutions of its parts: what the details add is the same for every prompt
    and made once (`project`), and nothing is concatenated.
    """

    def __init__(
        self,
        dim: int = 256,
        detail_channels: Sequence[int] = (64, 128, 256),
        channels: Sequence[int] = (128, 64, 32),
        norm: Norm = "layer",
        prompt_channels: int = 0,
    ) -> None:
        super().__init__()
        self.parts = (
            (dim, detail_channels[2], 0),
            (channels[0], detail_channels[1], prompt_channels),
            (channels[1], detail_channels[0], 0),
        )
        self.fuse = nn.ModuleList(
            nn.Sequential(nn.Conv2d(sum(widths), c, 3, padding=1, bias=False), *norm_act(c, norm))
            for widths, c in zip(self.parts, channels, strict=True)
        )

    def project(self, details: Sequence[Float[Tensor, "_ _ _ _"]]) -> list[Float[Tensor, "_ _ _ _"]]:
        """Return what the details, strides 2, 4 and 8, add to the convolutions at strides 8, 4 and 2."""
        return [self._convolve(step, 1, detail) for step, detail in enumerate(reversed(details))]

    def forward(
        self,
        embedding: Float[Tensor, "b c g g"],
        projected: Sequence[Float[Tensor, "_ _ _ _"]],
        drawn: Float[Tensor, "b p m m"] | None = None,
    ) -> Float[Tensor, "b 32 s s"]:
        """Decode.

        Args:
            embedding: stride 16, one per prompt.
            projected: of the details, as `project` answers; one per image or one per prompt.
            drawn: features of the drawn prompts at stride 4, if the model was built for them.
        """
        x = embedding
        for step, (fuse, detail) in enumerate(zip(self.fuse, projected, strict=True)):
            x = self._convolve(step, 0, upsample(x, (detail.shape[-2], detail.shape[-1]))).add_(detail)
            if drawn is not None and step == 1:
                x = x.add_(self._convolve(step, 2, drawn))
            for norm_or_act in list(fuse.children())[1:]:
                x = norm_or_act(x)
        return x

    def _convolve(self, step: int, part: int, x: Float[Tensor, "b _ s s"]) -> Float[Tensor, "b _ s s"]:
        """The convolution of one part of what is concatenated: embedding, details, drawn prompts."""
        start = sum(self.parts[step][:part])
        weight = self.fuse[step].get_parameter("0.weight")[:, start : start + self.parts[step][part]]
        return F.conv2d(x, weight, padding=1)
