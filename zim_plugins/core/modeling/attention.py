"""Prompt-aware attention (ZIM, arXiv 2411.00626, section "prompt-aware masked attention").

The paper writes softmax(M * QK^T) V for clicks, M in [0, 1] over the keys, and softmax(M + QK^T) V for a box,
M in {0, -inf}. A factor per key equals attention with keys scaled by it, and the box is an additive mask, so one
`scaled_dot_product_attention` serves both: a mask value of 0 hides a key, a value in (0, 1] scales it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from zim_plugins.core.modeling.layers import Linear
from zim_plugins.core.tokens import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

POINT_SIGMA = 21 / 64
"""Standard deviation of the click's Gaussian, as a share of the grid (21 of 64 cells in the release)."""
HIDDEN = -1e4
"""What is added to the logits of a hidden key; finite, so that half precision and ONNX agree."""


class Attention(nn.Module):
    """Multi-head attention with SAM's projections; `downsample` narrows the inner width."""

    def __init__(self, dim: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = dim // downsample
        self.heads = heads
        self.q_proj = Linear(dim, inner)
        self.k_proj = Linear(dim, inner)
        self.v_proj = Linear(dim, inner)
        self.out_proj = Linear(inner, dim)

    def forward(
        self,
        q: Float[Tensor, "_ n c"],
        k: Float[Tensor, "_ m c"],
        v: Float[Tensor, "_ m c"],
        key_mask: Float[Tensor, "b m"] | None = None,
        query_mask: Float[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """Attend; masks lie in [0, 1]: 0 hides a key, a query's mask only flattens its logits.

        Queries, or keys and values, may be one for the whole batch: they are projected once.
        """
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        bias = None
        if key_mask is not None:
            mask = key_mask.to(k.dtype)
            k = k * mask[..., None]
            bias = torch.where(mask > 0, 0.0, HIDDEN).to(k.dtype)[:, None, None, :]
        if query_mask is not None:
            q = q * query_mask.to(q.dtype)[..., None]
        if k.shape[0] < q.shape[0]:
            k = k.expand(q.shape[0], -1, -1)
        if v.shape[0] < q.shape[0]:
            v = v.expand(q.shape[0], -1, -1)
        if q.shape[0] < k.shape[0]:
            q = q.expand(k.shape[0], -1, -1)
        out = F.scaled_dot_product_attention(self._split(q), self._split(k), self._split(v), attn_mask=bias)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b h n d"]:
        b, n, c = x.shape
        return x.reshape(b, n, self.heads, c // self.heads).transpose(1, 2)


def prompt_attention_mask(
    coords: Float[Tensor, "b n 2"], labels: Int[Tensor, "b n"], grid: int, frame_px: int
) -> Float[Tensor, "b g g"]:
    """Return where tokens may look: 1 in the box, weighted by the nearest foreground click's Gaussian, 0 outside it.

    Args:
        coords: XY in frame pixels, clicks and box corners together.
        labels: 1 foreground, 0 background, 2 and 3 a box's corners, -1 padding. Background clicks have no effect.
        grid: cells of the embedding along one side.
        frame_px: side of the frame [px].
    """
    cell = frame_px / grid
    at = torch.arange(grid, device=coords.device, dtype=coords.dtype)
    cells = torch.floor(coords / cell)
    inside = ((cells >= 0) & (cells < grid)).all(-1) & (labels == FOREGROUND)
    dx2 = (at[None, None] - cells[..., 0:1]) ** 2
    dy2 = (at[None, None] - cells[..., 1:2]) ** 2
    sigma = POINT_SIGMA * grid
    gaussians = torch.exp(-(dy2[..., :, None] + dx2[..., None, :]) / (2 * sigma**2))
    gaussians = gaussians * inside[..., None, None].to(gaussians.dtype)
    clicked = inside.any(1)[:, None, None]
    clicks = torch.where(clicked, gaussians.amax(1), torch.ones_like(gaussians[:, 0]))
    first = _corner(coords, labels, BOX_TOP_LEFT)
    last = _corner(coords, labels, BOX_BOTTOM_RIGHT)
    low = torch.floor(torch.minimum(first, last) / cell).clamp(0, grid - 1)
    high = torch.floor(torch.maximum(first, last) / cell).clamp(0, grid - 1)
    in_x = (at[None] >= low[:, 0:1]) & (at[None] <= high[:, 0:1])
    in_y = (at[None] >= low[:, 1:2]) & (at[None] <= high[:, 1:2])
    boxed = (labels == BOX_TOP_LEFT).any(1)[:, None, None]
    return clicks * ((in_y[:, :, None] & in_x[:, None, :]) | ~boxed).to(clicks.dtype)


def _corner(coords: Float[Tensor, "b n 2"], labels: Int[Tensor, "b n"], kind: int) -> Float[Tensor, "b 2"]:
    """The corner of that kind, or 0, 0 where there is none."""
    return (coords * (labels == kind)[..., None].to(coords.dtype)).sum(1)
