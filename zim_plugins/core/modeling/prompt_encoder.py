"""SAM's prompt encoder: clicks and box corners to tokens, a coarse mask to a dense embedding."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zim_plugins.core.modeling.layers import LayerNorm2d
from zim_plugins.core.tokens import PAD


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of positions in [0, 1] (Tancik et al. 2020), as SAM uses them."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, positions: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n c"]:
        """Encode XY positions, each in [0, 1] of the frame."""
        matrix = self.positional_encoding_gaussian_matrix
        angles = 2 * math.pi * ((2 * positions.to(matrix.dtype) - 1) @ matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self, rows: int, columns: int) -> Float[Tensor, "1 c rows columns"]:
        """Encode the cell centres of a grid over the whole frame."""
        matrix = self.positional_encoding_gaussian_matrix
        ys = (torch.arange(rows, device=matrix.device, dtype=matrix.dtype) + 0.5) / rows
        xs = (torch.arange(columns, device=matrix.device, dtype=matrix.dtype) + 0.5) / columns
        positions = torch.stack([xs[None, :].expand(rows, -1), ys[:, None].expand(-1, columns)], dim=-1)
        return self(positions).permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Tokens for clicks and box corners; a dense embedding for a coarse mask or its absence."""

    def __init__(self, dim: int = 256, frame_px: int = 1024, mask_channels: int = 16) -> None:
        super().__init__()
        self.frame_px = frame_px
        self.pe_layer = PositionEmbeddingRandom(dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, 2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, 2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def forward(self, coords: Float[Tensor, "b n 2"], labels: Int[Tensor, "b n"]) -> Float[Tensor, "b n c"]:
        """Tokens of clicks and corners, XY in frame pixels; a label of -1 is padding."""
        position = self.pe_layer((coords + 0.5) / self.frame_px)
        kinds = torch.cat([e.get_parameter("weight") for e in self.point_embeddings])
        real = (labels != PAD)[..., None]
        tokens = position + kinds[labels.clamp(min=0)]
        return torch.where(real, tokens, self.not_a_point_embed.weight[0].to(tokens.dtype))

    def dense(self, mask_logits: Float[Tensor, "b 1 m m"] | None, batch: int, grid: int) -> Float[Tensor, "b c g g"]:
        """The dense embedding of a coarse mask given as logits at stride 4, or the learned embedding of no mask."""
        if mask_logits is None:
            return self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(batch, -1, grid, grid)
        return self.mask_downscaling(mask_logits)
