"""Small layers that several networks share."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MANY_ROWS = 256
"""From here on a convolution's own preparation is worth it."""


def in_cache(x: Tensor) -> bool:
    """Return whether to work for a CPU's cache: on a CPU, without gradients, not while a graph is being made."""
    tracing = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
    return x.device.type == "cpu" and not (torch.is_grad_enabled() or tracing)


class Linear(nn.Linear):
    """A linear layer that is a convolution of 1x1 where that is faster: for many rows in fp32 on a CPU.

    There oneDNN's convolution does 1.3 to 1.5 times the operations a second of the matrix library (AMD EPYC, MKL).
    """

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        rows = x.numel() // x.shape[-1]
        if rows < MANY_ROWS or x.dtype != torch.float32 or not (in_cache(x) and torch.backends.mkldnn.is_available()):
            return super().forward(x)
        pixels = x if x.ndim == 4 else x.reshape(1, 1, rows, -1)
        pixels = F.conv2d(pixels.permute(0, 3, 1, 2), self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1)
        return pixels.reshape(*x.shape[:-1], -1)


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of a (b, c, h, w) map, as SAM's neck and decoder use it."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them (SAM's `lin1`, `lin2`)."""

    def __init__(self, dim: int, hidden_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = Linear(dim, hidden_dim)
        self.lin2 = Linear(hidden_dim, dim)
        self.act = act()

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        return self.lin2(self.act(self.lin1(x)))


class MLP(nn.Module):
    """Linear layers with ReLU between them (SAM's hyper-networks and IoU head)."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(dims))

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def upsample(x: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Float[Tensor, "b c s t"]:
    """Bilinear resize to `size` (H, W), pixel centres at half integers."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
