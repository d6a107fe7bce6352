"""SAM's image encoder (Kirillov et al. 2023): a windowed ViT whose relative position rides inside SDPA."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zim_plugins.core.modeling.layers import LayerNorm2d, MLPBlock


@dataclass(frozen=True)
class ViTConfig:
    """Shape of one of SAM's encoders."""

    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    """Indices of the blocks that attend over the whole picture; the others attend within windows."""
    frame_px: int = 1024
    patch_px: int = 16
    window: int = 14
    out_channels: int = 256


VIT_CONFIGS = {
    "vit_b": ViTConfig(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": ViTConfig(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": ViTConfig(1280, 32, 16, (7, 15, 23, 31)),
}


class PatchEmbed(nn.Module):
    """Picture to tokens by one strided convolution."""

    def __init__(self, patch_px: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_px, patch_px)

    def forward(self, x: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w c"]:
        return self.proj(x).permute(0, 2, 3, 1)


class RelPosAttention(nn.Module):
    """Self-attention over an h x w grid with SAM's decomposed relative position.

    The bias rel_h[q, k_y] + rel_w[q, k_x] is a dot product of the query's two rows with one-hot keys, so it is
    appended to queries and keys and one `scaled_dot_product_attention` computes the exact result.
    """

    def __init__(self, dim: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        b, h, w, c = x.shape
        d = c // self.heads
        qkv = self.qkv(x).reshape(b, h * w, 3, self.heads, d).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        grid_q = q.reshape(b, self.heads, h, w, d)
        rel_h = torch.einsum("bnhwc,hkc->bnhwk", grid_q, relative_rows(self.rel_pos_h, h).to(q.dtype))
        rel_w = torch.einsum("bnhwc,wkc->bnhwk", grid_q, relative_rows(self.rel_pos_w, w).to(q.dtype))
        rows = torch.eye(h, dtype=q.dtype, device=q.device).repeat_interleave(w, 0)
        columns = torch.eye(w, dtype=q.dtype, device=q.device).repeat(h, 1)
        one_hot = torch.cat([rows, columns], dim=-1).expand(b, self.heads, h * w, h + w)
        queries = torch.cat([q * d**-0.5, rel_h.flatten(2, 3), rel_w.flatten(2, 3)], dim=-1)
        keys = torch.cat([k, one_hot], dim=-1)
        values = F.pad(v, (0, h + w))  # equal head widths keep the fused kernels eligible
        out = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., :d]
        return self.proj(out.transpose(1, 2).reshape(b, h, w, c))


def relative_rows(table: Float[Tensor, "r d"], grid: int) -> Float[Tensor, "g g d"]:
    """Row [q, k] of the learned table for a query at q and a key at k; stretched where the grid has another size."""
    needed = 2 * grid - 1
    if table.shape[0] != needed:
        table = F.interpolate(table.T[None], size=needed, mode="linear")[0].T
    at = torch.arange(grid, device=table.device)
    return table[at[:, None] - at[None, :] + grid - 1]


class Block(nn.Module):
    """Pre-norm transformer block; `window` 0 attends over the whole grid."""

    def __init__(self, dim: int, heads: int, window: int, grid: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = RelPosAttention(dim, heads, window or grid)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, 4 * dim)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        y = self.norm1(x)
        if self.window:
            y = self._attend_in_windows(y)
        else:
            y = self.attn(y)
        x = x + y
        return x + self.mlp(self.norm2(x))

    def _attend_in_windows(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        b, h, w, c = x.shape
        s = self.window
        rows, columns = (h + s - 1) // s, (w + s - 1) // s  # negative floor division does not survive ONNX
        x = F.pad(x, (0, 0, 0, columns * s - w, 0, rows * s - h))
        x = x.reshape(b, rows, s, columns, s, c).transpose(2, 3).reshape(-1, s, s, c)
        x = self.attn(x)
        x = x.reshape(b, rows, columns, s, s, c).transpose(2, 3).reshape(b, rows * s, columns * s, c)
        return x[:, :h, :w]


class ImageEncoderViT(nn.Module):
    """SAM's encoder: a normalised, padded picture to an embedding of stride 16."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        grid = config.frame_px // config.patch_px
        self.config = config
        self.gradient_checkpointing = False
        self.patch_embed = PatchEmbed(config.patch_px, config.dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, 0 if i in config.global_blocks else config.window, grid)
            for i in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(config.dim, config.out_channels, 1, bias=False),
            LayerNorm2d(config.out_channels),
            nn.Conv2d(config.out_channels, config.out_channels, 3, padding=1, bias=False),
            LayerNorm2d(config.out_channels),
        )

    def forward(self, x: Float[Tensor, "b 3 f f"]) -> Float[Tensor, "b c g g"]:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))
