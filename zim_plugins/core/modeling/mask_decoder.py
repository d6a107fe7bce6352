"""SAM's mask decoder: output tokens become hyper-networks over an upsampled embedding, one matte per token."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from zim_plugins.core.modeling.layers import MLP, LayerNorm2d, Linear, MLPBlock
from zim_plugins.core.modeling.pixel_decoder import HierarchicalPixelDecoder
from zim_plugins.core.modeling.transformer import TwoWayTransformer

MASK_TOKENS = 4
"""One for a clear prompt, three for the parts and wholes of an ambiguous one."""


class FusionBlock(nn.Module):
    """Self-attention over the image's tokens; positions come from a 3x3 depthwise convolution."""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLPBlock(dim, mlp_dim)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        b, c, h, w = x.shape
        x = x + self.position(x)
        tokens = x.flatten(2).transpose(1, 2)
        qkv = self.qkv(self.norm1(tokens)).reshape(b, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]).transpose(1, 2).flatten(2)
        tokens = tokens + self.proj(attended)
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(b, c, h, w)


class MaskDecoder(nn.Module):
    """Two-way transformer, then either SAM's transposed convolutions or ZIM's hierarchical pixel decoder."""

    def __init__(
        self,
        transformer: TwoWayTransformer,
        pixel_decoder: HierarchicalPixelDecoder | None,
        dim: int,
        matte_dim: int,
        fusion_depth: int = 0,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, dim)
        self.fusion = nn.ModuleList(FusionBlock(dim, 8, 2 * dim) for _ in range(fusion_depth))
        self.pixel_decoder = pixel_decoder
        if pixel_decoder is None:
            self.output_upscaling = nn.Sequential(
                nn.ConvTranspose2d(dim, dim // 4, 2, 2),
                LayerNorm2d(dim // 4),
                nn.GELU(),
                nn.ConvTranspose2d(dim // 4, dim // 8, 2, 2),
                nn.GELU(),
            )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP((dim, dim, dim, matte_dim)) for _ in range(MASK_TOKENS))
        self.iou_prediction_head = MLP((dim, 256, 256, MASK_TOKENS))

    def forward(
        self,
        image_embedding: Float[Tensor, "_ c g g"],
        projected: Sequence[Float[Tensor, "_ _ _ _"]],
        image_pe: Float[Tensor, "1 c g g"],
        sparse: Float[Tensor, "b n c"],
        dense: Float[Tensor, "_ c g g"],
        mask: Float[Tensor, "b g g"] | None = None,
        drawn: Float[Tensor, "b p m m"] | None = None,
    ) -> tuple[Float[Tensor, "b 4 s s"], Float[Tensor, "b 4"]]:
        """Decode b prompts on one image, or on b images.

        Returns:
            Logits of four candidates over the padded frame (stride 2, or 4 with SAM's own upsampling), and their
            estimated IoU.
        """
        b, _, c = sparse.shape
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens[None].expand(b, -1, -1).to(sparse.dtype), sparse], dim=1)
        embedding = image_embedding + dense
        for block in self.fusion:
            embedding = block(embedding)
        tokens, keys = self.transformer(embedding, image_pe, tokens, mask)
        embedding = keys.transpose(1, 2).reshape(b, c, *embedding.shape[-2:])
        if self.pixel_decoder is None:
            upscaled = self.output_upscaling(embedding)
        else:
            upscaled = self.pixel_decoder(embedding, projected, drawn)
        hyper = [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        logits = torch.einsum("bkc,bchw->bkhw", torch.stack(hyper, dim=1), upscaled)
        return logits, self.iou_prediction_head(tokens[:, 0])
