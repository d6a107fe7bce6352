"""Hiera (arXiv 2306.00989) as SAM 2 has it (arXiv 2408.00714): SAM 2's weight names, and a fourth input channel."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zim_plugins.errors import CheckpointError


@dataclass(frozen=True)
class HieraConfig:
    """Shape of a Hiera trunk."""

    width: int = 112
    """Channels at stride 4; doubled from stage to stage."""
    heads: int = 2
    """At stride 4; doubled from stage to stage."""
    depths: tuple[int, ...] = (2, 3, 16, 3)
    windows: tuple[int, ...] = (8, 4, 14, 7)
    """Side of the attention windows of each stage [tokens]; 0 for attention over everything."""
    global_blocks: tuple[int, ...] = (12, 16, 20)
    """Blocks that attend over everything whatever their stage says."""
    position_grid: int = 14
    """Side of the coarse position embedding, stretched over the image."""

    def __post_init__(self) -> None:
        if len(self.windows) != len(self.depths) or any(side % 2 for side in self.windows[:-1]):
            raise ValueError(f"one window per stage, even sides but for the last stage's, got {self.windows}")


HIERA_CONFIGS = {
    "sam2_hiera_base_plus": HieraConfig(),
    "hiera_base_plus": HieraConfig(windows=(8, 4, 0, 0), global_blocks=(), position_grid=56),
}
"""SAM 2's trunk (Apache-2.0 weights, any size) and the original Hiera (CC BY-NC 4.0 weights, made for 224 px)."""


def _pool(x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b p q c"]:
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class MultiScaleAttention(nn.Module):
    """Attention inside a window; the queries are max-pooled where a stage begins."""

    def __init__(self, dim: int, dim_out: int, heads: int, pools: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pools = pools
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b p q d"]:
        """Windows in, windows of the same or half the side out."""
        b, h, w, _ = x.shape
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        if self.pools:
            query = _pool(query)
            h, w = query.shape[1:3]
        query, key, value = (t.reshape(b, -1, self.heads, t.shape[-1] // self.heads) for t in (query, key, value))
        out = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return self.proj(out.transpose(1, 2).reshape(b, h, w, -1))


class FeedForward(nn.Module):
    """SAM 2's two-layer perceptron (`layers.0`, `layers.1`)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)])

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Token by token."""
        return self.layers[1](F.gelu(self.layers[0](x)))


class HieraBlock(nn.Module):
    """Pre-norm transformer block in windows; the first of a stage halves the map and doubles the channels."""

    def __init__(self, dim: int, dim_out: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.pools = dim != dim_out
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = MultiScaleAttention(dim, dim_out, heads, self.pools)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = FeedForward(dim_out)
        if self.pools:
            self.proj = nn.Linear(dim, dim_out)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b p q d"]:
        """Tokens in rows and columns."""
        normed = self.norm1(x)
        shortcut = _pool(self.proj(normed)) if self.pools else x
        x = shortcut + self._windowed(normed, shortcut.shape[1], shortcut.shape[2])
        return x + self.mlp(self.norm2(x))

    def _windowed(self, x: Float[Tensor, "b h w c"], height: int, width: int) -> Float[Tensor, "b p q d"]:
        """Attention window by window over the zero-padded map, cut to `height` and `width` again."""
        if self.window == 0:
            return self.attn(x)
        b, h, w, c = x.shape
        side = self.window
        x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.view(b, rows, side, columns, side, c).transpose(2, 3).reshape(-1, side, side, c)
        x = self.attn(x)
        side = x.shape[1]
        x = x.view(b, rows, columns, side, side, -1).transpose(2, 3).reshape(b, rows * side, columns * side, -1)
        return x[:, :height, :width]


class PatchEmbed(nn.Module):
    """RGB and mask to tokens at stride 4; the mask's filters start at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(4, width, kernel_size=7, stride=4, padding=3)
        nn.init.zeros_(self.proj.weight[:, 3])

    def forward(self, x: Float[Tensor, "b 4 h w"]) -> Float[Tensor, "b p q c"]:
        """Channels last."""
        return self.proj(x).permute(0, 2, 3, 1)


class HieraTrunk(nn.Module):
    """SAM 2's image trunk on four channels; sides are multiples of 32."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        self.channels = tuple(config.width * 2**i for i in range(len(config.depths)))
        self.stage_ends = [n - 1 for n in itertools.accumulate(config.depths)]
        self.patch_embed = PatchEmbed(config.width)
        grid, window = config.position_grid, config.windows[0]
        self.pos_embed = nn.Parameter(torch.zeros(1, config.width, grid, grid))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.width, window, window))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_window, std=0.02)
        blocks, number = [], 0
        for stage, depth in enumerate(config.depths):
            for i in range(depth):
                first = i == 0 and stage > 0
                dim_out = self.channels[stage]
                # A stage's first block attends before it pools: in the windows of the stage before.
                window = 0 if number in config.global_blocks else config.windows[stage - first]
                blocks.append(HieraBlock(dim_out // 2 if first else dim_out, dim_out, config.heads * 2**stage, window))
                number += 1
        self.blocks = nn.ModuleList(blocks)
        self.gradient_checkpointing = False

    def forward(self, x: Float[Tensor, "b 4 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Standardised RGB and mask to features at strides 4, 8, 16 and 32."""
        x = self.patch_embed(x)
        x = x + self._positions(x.shape[1], x.shape[2])
        features = []
        for number, block in enumerate(self.blocks):
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
            if number in self.stage_ends:
                features.append(x.permute(0, 3, 1, 2))
        return features

    def _positions(self, height: int, width: int) -> Float[Tensor, "1 h w c"]:
        """Coarse embedding stretched over the image, plus one tile per window (arXiv 2311.05613)."""
        stretched = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        side = self.pos_embed_window.shape[-1]
        tiles = self.pos_embed_window.tile(1, 1, -(-height // side), -(-width // side))
        return (stretched + tiles[..., :height, :width]).permute(0, 2, 3, 1)


SAM2_PREFIX = "image_encoder.trunk."


def trunk_state(published: Mapping[str, object], window: int) -> dict[str, Tensor]:
    """The trunk's weights out of SAM 2's or Hiera's published file, under this module's names.

    Hiera learnt one position for each of its 56x56 tokens: what all windows have in common becomes the tile, the rest
    the stretched part, so that 224 px are as published and other sizes keep the pattern inside each window.

    Args:
        published: SAM 2's `{"model": ...}` or Hiera's `{"model_state": ...}`, or the state dict inside.
        window: side of the position tile [tokens].
    """
    state = published.get("model", published.get("model_state", published))
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError("this file holds no state dict of SAM 2 or Hiera")
    if any(k.startswith(SAM2_PREFIX) for k in state):
        state = {k.removeprefix(SAM2_PREFIX): v for k, v in state.items() if k.startswith(SAM2_PREFIX)}
    kept = {
        k.replace(".mlp.fc1.", ".mlp.layers.0.").replace(".mlp.fc2.", ".mlp.layers.1."): v
        for k, v in state.items()
        if k.startswith(("patch_embed.", "pos_embed", "blocks."))
    }
    positions = kept.get("pos_embed")
    if positions is not None and positions.ndim == 3:
        side = round(positions.shape[1] ** 0.5)
        grid = positions.transpose(1, 2).unflatten(2, (side, side))
        tiles = grid.unflatten(3, (-1, window)).unflatten(2, (-1, window))
        tile = tiles.mean((2, 4))
        kept["pos_embed_window"] = tile
        kept["pos_embed"] = grid - tile.tile(1, 1, side // window, side // window)
    stem = kept.get("patch_embed.proj.weight")
    if stem is not None and stem.shape[1] == 3:
        kept["patch_embed.proj.weight"] = F.pad(stem, (0, 0, 0, 0, 0, 1))
    return kept


def load_trunk(trunk: HieraTrunk, path: Path) -> None:
    """Load a published file, all of it; the mask channel stays zero.

    Raises:
        CheckpointError: the file is missing, damaged or of another shape.
    """
    import pickle

    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
        trunk.load_state_dict(trunk_state(published, trunk.pos_embed_window.shape[-1]))
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} does not hold the weights of this Hiera: {error}") from error
