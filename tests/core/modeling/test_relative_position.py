"""The ways to attend agree with segment-anything's attention and with one another."""

import pytest
import torch

from zim_plugins.core.modeling import relative_position
from zim_plugins.core.modeling.image_encoder import RelPosAttention
from zim_plugins.core.modeling.relative_position import (
    attend,
    attend_fused,
    attend_in_pieces,
    attend_plainly,
    relative_rows,
)

WAYS = [attend_fused, attend_in_pieces, attend_plainly]


def inputs(batch: int, heads: int, h: int, w: int, d: int = 8) -> list[torch.Tensor]:
    torch.manual_seed(0)
    widths = [d, d, d, h, w]
    return [torch.randn(batch, heads, h * w, width) for width in widths]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("piece", [16, 200, 2**20], ids=["single rows", "some rows", "stacks of heads"])
def test_every_way_follows_the_definition(way, piece, monkeypatch):
    """Logits written as the sum over each query's and key's own row and column."""
    monkeypatch.setattr(relative_position, "PIECE", piece)
    q, k, v, rel_h, rel_w = inputs(2, 3, 4, 5)
    keys = torch.arange(20)
    logits = torch.einsum("bnqd,bnkd->bnqk", q, k) + rel_h[..., keys // 5] + rel_w[..., keys % 5]
    expected = torch.einsum("bnqk,bnkd->bnqd", logits.softmax(-1), v)
    torch.testing.assert_close(way(q, k, v, rel_h, rel_w), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_stays_near_single_precision():
    tensors = inputs(1, 2, 16, 16)
    halves = [t.bfloat16() for t in tensors]
    exact = attend_plainly(*(t.float() for t in halves))
    assert (attend_in_pieces(*halves).float() - exact).abs().max() < 0.05
    assert attend_in_pieces(*halves).dtype == torch.bfloat16


def test_gradients_take_the_fused_way_and_inference_the_pieces(monkeypatch):
    taken = []
    for way in WAYS:
        monkeypatch.setattr(
            relative_position, way.__name__, lambda *a, name=way.__name__: taken.append(name) or attend_plainly(*a)
        )
    tensors = inputs(1, 1, 2, 2)
    attend(*tensors)
    with torch.inference_mode():
        attend(*tensors)
    assert taken == ["attend_fused", "attend_in_pieces"]


@pytest.mark.parametrize(("size", "window"), [((9, 13), 0), ((14, 14), 14), ((15, 20), 7)])
def test_windows_are_segment_anythings(segment_anything, size, window):
    from segment_anything.modeling.image_encoder import Attention, window_partition, window_unpartition

    torch.manual_seed(0)
    side = (window, window) if window else size
    theirs = Attention(32, 4, use_rel_pos=True, input_size=side)
    ours = RelPosAttention(32, 4, 7)
    ours.rel_pos_h = torch.nn.Parameter(torch.zeros(2 * side[0] - 1, 8))
    ours.rel_pos_w = torch.nn.Parameter(torch.zeros(2 * side[1] - 1, 8))
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, *size, 32)
    if window:
        windows, padded = window_partition(x, window)
        expected = window_unpartition(theirs(windows), window, padded, size)
    else:
        expected = theirs(x)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(ours(x, window), expected, atol=1e-4, rtol=1e-4)


def test_rows_of_a_stretched_table():
    table = torch.arange(7.0)[:, None].expand(7, 2)
    assert relative_rows(table, 4)[:, :, 0].tolist() == [[3 + q - k for k in range(4)] for q in range(4)]
    assert relative_rows(table, 8).shape == (8, 8, 2)
