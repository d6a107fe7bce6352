"""Attention with SAM's decomposed relative position: logits q k^T + rel_h[q, k_y] + rel_w[q, k_x].

Three exact ways. For gradients and GPUs the position rides inside one fused kernel. On a CPU the wider heads that this
takes would triple the work: there the logits are made piece by piece, each small enough for the cache. An ONNX graph
has no loop worth its cost and gets the formula as it stands.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Heads = Float[Tensor, "b heads n d"]
"""Queries, keys or values, row by row of the grid."""
Rows = Float[Tensor, "b heads n h"]
"""Summands of each query's logits, for each row of keys."""
Columns = Float[Tensor, "b heads n w"]
"""The same, for each column of keys."""
PIECE = 2**20
"""Logits made at once on a CPU, about: 4 MiB in fp32, which stay in its cache."""


def relative_rows(table: Float[Tensor, "r d"], grid: int) -> Float[Tensor, "g g d"]:
    """Row [q, k] of the learned table for a query at q and a key at k; stretched where the grid has another size."""
    needed = 2 * grid - 1
    if table.shape[0] != needed:
        table = F.interpolate(table.T[None], size=needed, mode="linear")[0].T
    at = torch.arange(grid, device=table.device)
    return table[at[:, None] - at[None, :] + grid - 1]


def attend(q: Heads, k: Heads, v: Heads, rel_h: Rows, rel_w: Columns) -> Heads:
    """Attend over an h x w grid of n = h w keys, in the way that suits device and purpose.

    Args:
        q: queries, scaled by d^-1/2.
        rel_h: summand for each row of keys.
        rel_w: summand for each column of keys.
    """
    if torch.onnx.is_in_onnx_export() or q.device.type == "meta":  # who counts operations counts the formula's
        return attend_plainly(q, k, v, rel_h, rel_w)
    if q.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return attend_in_pieces(q, k, v, rel_h, rel_w)
    return attend_fused(q, k, v, rel_h, rel_w)


def attend_plainly(q: Heads, k: Heads, v: Heads, rel_h: Rows, rel_w: Columns) -> Heads:
    """The formula; all logits are in memory at once."""
    position = (rel_h[..., :, None] + rel_w[..., None, :]).flatten(-2).to(q.dtype)
    return (q @ k.transpose(-1, -2) + position).softmax(-1) @ v


def attend_fused(q: Heads, k: Heads, v: Heads, rel_h: Rows, rel_w: Columns) -> Heads:
    """One `scaled_dot_product_attention`: rel_h and rel_w are appended to the queries, one-hot rows to the keys."""
    (b, heads, _, d), h, w = q.shape, rel_h.shape[-1], rel_w.shape[-1]
    rows = torch.eye(h, dtype=q.dtype, device=q.device).repeat_interleave(w, 0)
    columns = torch.eye(w, dtype=q.dtype, device=q.device).repeat(h, 1)
    one_hot = torch.cat([rows, columns], dim=-1).expand(b, heads, h * w, h + w)
    queries = torch.cat([q, rel_h, rel_w], dim=-1)
    keys = torch.cat([k, one_hot], dim=-1)
    values = F.pad(v, (0, h + w))  # equal head widths keep the fused kernels eligible
    return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., :d]


def attend_in_pieces(q: Heads, k: Heads, v: Heads, rel_h: Rows, rel_w: Columns) -> Heads:
    """Logits, softmax and sum for a few rows of queries at a time, in memory that is used again for the next."""
    n, h, w = q.shape[-2], rel_h.shape[-1], rel_w.shape[-1]
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    stacks = [t.flatten(0, 1) for t in (q, k, v, rel_h, rel_w, out)]
    if n * n > PIECE:
        rows = max(1, PIECE // n)
        memory = q.new_empty(rows, n)
        for q, k, v, rel_h, rel_w, answer in zip(*stacks, strict=True):
            values = v.contiguous()
            for r in range(0, n, rows):
                part = slice(r, min(r + rows, n))
                logits = memory[: part.stop - r]
                torch.add(rel_h[part][:, :, None], rel_w[part][:, None, :], out=logits.view(-1, h, w))
                torch.softmax(logits.addmm_(q[part], k.T), -1, out=logits)
                torch.mm(logits, values, out=answer[part])
    else:
        count = PIECE // n**2
        memory = q.new_empty(min(count, len(stacks[0])), n, n)
        for q, k, v, rel_h, rel_w, answer in zip(*(t.split(count) for t in stacks), strict=True):
            logits = memory[: len(q)]
            torch.add(rel_h[..., :, None], rel_w[..., None, :], out=logits.view(-1, n, h, w))
            torch.softmax(logits.baddbmm_(q, k.mT), -1, out=logits)
            torch.bmm(logits, v, out=answer)
    return out
