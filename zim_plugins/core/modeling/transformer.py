"""SAM's two-way transformer, with ZIM's prompt-aware mask in the attention between tokens and image."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from zim_plugins.core.modeling.attention import Attention
from zim_plugins.core.modeling.layers import MLPBlock

MaskedAttention = Literal["none", "t2i", "i2t", "both"]
"""Which attention carries the prompt's mask; the paper's model is `t2i`, the others serve its ablation (Table 4b)."""


class TwoWayAttentionBlock(nn.Module):
    """Tokens attend to themselves and to the image, then the image attends to the tokens."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, masked: MaskedAttention, first: bool) -> None:
        super().__init__()
        self.first = first
        self.masked = masked
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, downsample=2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLPBlock(dim, mlp_dim, nn.ReLU)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, downsample=2)

    def forward(
        self,
        queries: Float[Tensor, "b n c"],
        keys: Float[Tensor, "_ m c"],
        query_pe: Float[Tensor, "b n c"],
        key_pe: Float[Tensor, "1 m c"],
        mask: Float[Tensor, "b m"] | None,
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b m c"]]:
        if self.first:
            queries = self.norm1(self.self_attn(queries, queries, queries))
        else:
            q = queries + query_pe
            queries = self.norm1(queries + self.self_attn(q, q, queries))
        t2i_mask = mask if self.masked in ("t2i", "both") else None
        i2t_mask = mask if self.masked in ("i2t", "both") else None
        positioned = keys + key_pe
        attended = self.cross_attn_token_to_image(queries + query_pe, positioned, keys, key_mask=t2i_mask)
        queries = self.norm2(queries + attended)
        queries = self.norm3(queries + self.mlp(queries))
        attended = self.cross_attn_image_to_token(positioned, queries + query_pe, queries, query_mask=i2t_mask)
        return queries, self.norm4(keys + attended)


class TwoWayTransformer(nn.Module):
    """The decoder's transformer; the final look at the image is a token-to-image attention too, and masked alike."""

    def __init__(
        self, dim: int = 256, depth: int = 2, heads: int = 8, mlp_dim: int = 2048, masked: MaskedAttention = "none"
    ) -> None:
        super().__init__()
        self.masked = masked
        self.layers = nn.ModuleList(TwoWayAttentionBlock(dim, heads, mlp_dim, masked, i == 0) for i in range(depth))
        self.final_attn_token_to_image = Attention(dim, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self,
        image_embedding: Float[Tensor, "_ c h w"],
        image_pe: Float[Tensor, "1 c h w"],
        point_embedding: Float[Tensor, "b n c"],
        mask: Float[Tensor, "b h w"] | None = None,
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b hw c"]]:
        """Answer with the tokens and the image's tokens after both looked at each other.

        Args:
            image_embedding: the encoded image, prompts' dense embedding added; one for all prompts, or one each.
            image_pe: position encoding of its cells.
            point_embedding: output tokens and prompt tokens.
            mask: where tokens may look, in [0, 1]; 0 hides.
        """
        keys = image_embedding.flatten(2).transpose(1, 2)
        key_pe = image_pe.flatten(2).transpose(1, 2)
        flat_mask = None if mask is None else mask.flatten(1)
        queries = point_embedding
        for layer in self.layers:
            queries, keys = layer(queries, keys, point_embedding, key_pe, flat_mask)
        final_mask = flat_mask if self.masked in ("t2i", "both") else None
        attended = self.final_attn_token_to_image(queries + point_embedding, keys + key_pe, keys, key_mask=final_mask)
        return self.norm_final_attn(queries + attended), keys
