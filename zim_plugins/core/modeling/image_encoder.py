"""SAM's image encoder (Kirillov et al. 2023): a windowed ViT with relative positions."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zim_plugins.core.modeling.layers import LayerNorm2d, Linear, MLPBlock, in_cache
from zim_plugins.core.modeling.relative_position import attend, relative_rows


@dataclass(frozen=True)
class ViTConfig:
    """Shape of one of SAM's encoders."""

    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    """Indices of the blocks that attend over the whole image; the others attend within windows."""
    frame_px: int = 1024
    patch_px: int = 16
    window: int = 14
    out_channels: int = 256


VIT_CONFIGS = {
    "vit_b": ViTConfig(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": ViTConfig(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": ViTConfig(1280, 32, 16, (7, 15, 23, 31)),
}


BAND = 14
"""Rows of tokens that go through a layer at once where layers work for the cache: 896 of an image."""


class PatchEmbed(nn.Module):
    """Image to tokens by one strided convolution."""

    def __init__(self, patch_px: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_px, patch_px)

    def forward(self, x: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w c"]:
        return self.proj(x).permute(0, 2, 3, 1)


class RelPosAttention(nn.Module):
    """Self-attention over an h x w grid with SAM's decomposed relative position."""

    def __init__(self, dim: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))

    def forward(self, x: Float[Tensor, "b h w c"], window: int = 0) -> Float[Tensor, "b h w c"]:
        """Attend over the whole grid, or within windows; those at the edges see zeros beyond it, as in SAM."""
        b, h, w, c = x.shape
        side_h, side_w = (window, window) if window else (h, w)
        rows, columns = (h + side_h - 1) // side_h, (w + side_w - 1) // side_w  # floor division as ONNX has it
        qkv = self._padded(self.qkv(x), rows * side_h - h, columns * side_w - w)
        qkv = qkv.reshape(b, rows, side_h, columns, side_w, 3, self.heads, c // self.heads)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(1, 3)  # 3, b rows columns, heads, side_h, side_w, d
        rel_h = torch.einsum("bnhwc,hkc->bnhwk", qkv[0], relative_rows(self.rel_pos_h, side_h).to(qkv.dtype))
        rel_w = torch.einsum("bnhwc,wkc->bnhwk", qkv[0], relative_rows(self.rel_pos_w, side_w).to(qkv.dtype))
        q, k, v = qkv.flatten(3, 4).unbind(0)
        out = attend(q * q.shape[-1] ** -0.5, k, v, rel_h.flatten(2, 3), rel_w.flatten(2, 3))
        out = out.reshape(b, rows, columns, self.heads, side_h, side_w, -1).permute(0, 1, 4, 2, 5, 3, 6)
        return self.proj(out.reshape(b, rows * side_h, columns * side_w, c)[:, :h, :w])

    def _padded(self, qkv: Float[Tensor, "b h w c3"], below: int, right: int) -> Float[Tensor, "b H W c3"]:
        """Queries, keys and values of the image, with those that zeros have beyond its edges."""
        if below == 0 and right == 0:
            return qkv
        b, h, w, c = qkv.shape
        empty = self.qkv(qkv.new_zeros(1, c // 3))
        qkv = torch.cat([qkv, empty.expand(b, h, right, c)], dim=2)
        return torch.cat([qkv, empty.expand(b, below, w + right, c)], dim=1)


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
        if not in_cache(x):
            return self._perceive(self._attend(x))
        if self.window == 0:
            return torch.cat([self._perceive(band) for band in self._attend(x).split(BAND, 1)], 1)
        return torch.cat([self._perceive(self._attend(band)) for band in x.split(self.window, 1)], 1)

    def _attend(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        return x + self.attn(self.norm1(x), self.window)

    def _perceive(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        return x + self.mlp(self.norm2(x))


class ImageEncoderViT(nn.Module):
    """SAM's encoder: a normalised, padded image to an embedding of stride 16."""

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
        if len(x) > 1 and in_cache(x):
            return torch.cat([self(one) for one in x.split(1)])
        x = (self.patch_embed(x) + self.pos_embed).contiguous()  # channels last in memory: every layer reads them so
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))
