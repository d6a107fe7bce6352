"""Recorded decoding: copies in, replay, copies out; without a GPU a stand-in for the recording runs anew on replay."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from benchmarks.cuda_graphs import GraphedDecode
from tests.core.backends.test_fast_paths import random_zim
from zim_plugins.core.modeling.zim import ZIM_CONFIGS, build_network
from zim_plugins.core.modeling.zim_lite import LiteConfig


class Tape:
    """Records like a CUDA graph: fixed places in and out, nothing else is seen at replay."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, run):
        self.recorded += 1
        answer = run()

        def replay() -> None:
            for place, value in zip(answer, run(), strict=True):
                place.copy_(value)

        return replay, answer


@torch.inference_mode()
@pytest.mark.parametrize("prepared", [True, False])
def test_replays_answer_as_decoding_does(prepared: bool):
    zim, tape = random_zim(), Tape()
    graphed = GraphedDecode(zim.decode, (1, 2), tape)
    images = [zim.encode(torch.randn(1, 3, 256, 256)) for _ in range(2)]
    images = [zim.prepare(p) for p in images] if prepared else images
    coords = torch.tensor([[[90.0, 70.0], [0.0, 0.0]], [[200.0, 30.0], [0.0, 0.0]], [[9.0, 240.0], [0.0, 0.0]]])
    labels = torch.tensor([[1, -1]] * 3)
    kept = []
    for features in images:
        for rows in (slice(0, 1), slice(1, 2), slice(0, 2), slice(0, 3)):
            question = features, coords[rows], labels[rows]
            kept.append((graphed(*question), zim.decode(*question)))
    alpha = torch.rand(1, 1, 256, 256)
    kept.append(
        (graphed(images[0], coords[:1], labels[:1], alpha), zim.decode(images[0], coords[:1], labels[:1], alpha))
    )
    for ours, expected in kept:  # after all: an answer must not be overwritten by later ones
        torch.testing.assert_close(ours, expected)
    assert tape.recorded == 3  # one click, two clicks, one with a coarse matte; three clicks are not recorded


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
def test_cuda_graphs_give_the_same_answers():
    zim = random_zim().cuda()
    features = zim.prepare(zim.encode(torch.randn(1, 3, 256, 256, device="cuda")))
    graphed = GraphedDecode(zim.decode, (1,))
    for x, y in ((90.0, 70.0), (200.0, 30.0)):
        question = features, torch.tensor([[[x, y], [0.0, 0.0]]]).cuda(), torch.tensor([[1, -1]]).cuda()
        torch.testing.assert_close(graphed(*question), zim.decode(*question))


class HostCopies(TorchFunctionMode):
    """Notes what copies between host and device unseen, which no CUDA graph can record."""

    CALLS = (torch.tensor, torch.as_tensor, torch.from_numpy, torch.Tensor.item, torch.Tensor.cpu, torch.Tensor.tolist)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        indexed = func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
        index = args[1] if indexed else ()
        listed = any(isinstance(i, list) for i in (index if isinstance(index, tuple) else (index,)))
        if func in self.CALLS or listed or func is torch.Tensor.__setitem__:
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("distance", [True, False])
@pytest.mark.parametrize("name", ["tiny", "lite"])
def test_decoding_copies_nothing_from_the_host(name: str, distance: bool, with_alpha: bool):
    config = ZIM_CONFIGS["tiny"] if name == "tiny" else LiteConfig(frame_px=128, depth=1, distance=distance)
    zim, side = build_network(config).eval(), 128
    features = zim.prepare(zim.encode(torch.randn(1, 3, side, side)))
    coords, labels = torch.tensor([[[50.0, 40.0], [0.0, 0.0]]]), torch.tensor([[1, -1]])
    alpha = torch.rand(1, 1, side, side) if with_alpha else None
    with HostCopies() as copies:
        zim.decode(features, coords, labels, alpha)
    assert copies.found == []
