"""The network: any size, every weight learns, a finer head speaks only where the coarser one doubts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from zim_plugins.errors import CheckpointError
from zim_plugins.label_converter.backbone import TinyBackbone, TinyBackboneConfig
from zim_plugins.label_converter.checkpoint import load_converter, save_converter
from zim_plugins.label_converter.hiera import HIERA_CONFIGS, HieraConfig
from zim_plugins.label_converter.losses import ConverterLossWeights, converter_loss
from zim_plugins.label_converter.network import (
    CONVERTER_CONFIGS,
    ConverterConfig,
    ConverterNetwork,
    Levels,
    refine,
    standardised,
    uncertain,
)

SMALL_HIERA = HieraConfig(width=16, heads=1, depths=(1, 1, 2, 1), windows=(8, 4, 6, 3), global_blocks=(2,))


@pytest.mark.parametrize("backbone", ["tiny", "hiera"])
@pytest.mark.parametrize("size", [(1, 1), (33, 70), (64, 96)])
def test_any_size(small_config: ConverterConfig, backbone: str, size: tuple[int, int]) -> None:
    config = small_config if backbone == "tiny" else replace(small_config, backbone=SMALL_HIERA)
    network = ConverterNetwork(config).eval()
    with torch.no_grad():
        heads = network(torch.randn(2, 3, *size), torch.ones(2, 1, *size))
    for level in heads:
        assert level.shape == (2, 1, *size)
        assert 0 <= level.min() <= level.max() <= 1


@pytest.mark.parametrize("backbone", ["tiny", "hiera"])
def test_the_loss_reaches_every_weight(small_config: ConverterConfig, backbone: str) -> None:
    torch.manual_seed(0)
    config = small_config if backbone == "tiny" else replace(small_config, backbone=SMALL_HIERA)
    network = ConverterNetwork(config).train()
    mask = torch.zeros(2, 1, 96, 96)
    mask[..., 20:70, 30:60] = 1
    heads = network(torch.randn(2, 3, 96, 96), mask)
    loss, terms = converter_loss(heads, mask, torch.ones_like(mask), (15, 7), ConverterLossWeights())
    loss.backward()
    assert torch.isfinite(loss)
    assert {"l1_os8", "grad_os1", "mae"} <= terms.keys()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


@pytest.mark.parametrize("backbone", [TinyBackboneConfig((16, 16, 16, 16, 16)), SMALL_HIERA])
def test_the_mask_channel_of_the_backbone_starts_at_zero(small_config: ConverterConfig, backbone) -> None:
    network = ConverterNetwork(replace(small_config, backbone=backbone)).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        without, with_mask = (
            network.backbone(torch.cat([image, m], 1)) for m in (torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64))
        )
        for a, b in zip(without, with_mask, strict=True):
            assert torch.equal(a, b)
        # yet the mask enters through the shortcuts at strides 1 and 2
        heads = [network(image, m).os1 for m in (torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64))]
    assert not torch.allclose(*heads)


def test_sizes_of_the_named_networks() -> None:
    backbone = TinyBackbone(TinyBackboneConfig())
    assert sum(p.numel() for p in backbone.parameters()) < 3e6
    assert all(width % 32 == 0 for width in (backbone.stem[0].out_channels, *backbone.channels))
    assert sum(p.numel() for p in ConverterNetwork(CONVERTER_CONFIGS["tiny"]).parameters()) < 3.1e6
    with torch.device("meta"):
        trunk = ConverterNetwork(CONVERTER_CONFIGS["hiera_bp"]).backbone
    assert trunk.channels == (112, 224, 448, 896)
    assert sum(p.numel() for p in trunk.parameters()) == pytest.approx(68.7e6, rel=1e-3)
    assert HIERA_CONFIGS["hiera_base_plus"].position_grid == 56


def test_training_may_start_from_the_mask(small_config: ConverterConfig) -> None:
    network = ConverterNetwork(replace(small_config, mask_logit=3.0)).eval()
    for head in network.heads:
        torch.nn.init.zeros_(head[2].weight)
        torch.nn.init.zeros_(head[2].bias)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 8:40] = 1  # whole blocks of 8 px
    with torch.no_grad():
        heads = network(torch.randn(1, 3, 64, 64), mask)
    torch.testing.assert_close(heads.os1, torch.sigmoid(6 * mask - 3))
    for level in heads:
        assert ((level > 0.5) != (mask > 0.5)).sum() <= 40  # bilinear upsampling rounds the corners


def test_uncertainty_known_answer() -> None:
    alpha = torch.zeros(1, 1, 9, 9)
    alpha[0, 0, 4, 4] = 0.5
    alpha[0, 0, 0, 0] = 0.5 / 255  # rounds to 0 at 8 bits
    alpha[0, 0, 8, 8] = 254.5 / 255
    expected = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    expected[0, 0, 3:6, 3:6] = True
    assert torch.equal(uncertain(alpha, 3), expected)
    assert uncertain(alpha, 1).sum() == 1
    assert uncertain(alpha, 17).all()


def test_the_target_s_edges_may_guide() -> None:
    target = torch.zeros(1, 1, 1, 12)
    target[..., 6:] = 1
    target[..., 2] = 0.5  # fine detail is part of the band
    heads = Levels(*(torch.full_like(target, v) for v in (0.0, 0.5, 1.0)))
    fused, guides = refine(heads, (5, 1), truth=target)
    np.testing.assert_array_equal(guides.os4.flatten(), [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(guides.os1.flatten(), [0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(fused.os1.flatten(), [0.5, 1, 1, 1, 0.5, 1, 1, 0.5, 0, 0, 0, 0])


def test_refinement_known_answer() -> None:
    os8 = torch.zeros(1, 1, 1, 12)
    os8[..., 5] = 0.5
    os4 = torch.full_like(os8, 1.0)
    os4[..., 6] = 0.25
    os1 = torch.full_like(os8, 0.75)
    fused, guides = refine(Levels(os8, os4, os1), (5, 1))
    # stride 4 within 2 px of pixel 5, stride 1 only where stride 4 is still in doubt: pixel 6
    np.testing.assert_array_equal(fused.os4.flatten(), [0, 0, 0, 1, 1, 1, 0.25, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(fused.os1.flatten(), [0, 0, 0, 1, 1, 1, 0.75, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(guides.os1.flatten(), [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    assert guides.os8.all()


def test_loss_known_answer() -> None:
    target = torch.zeros(1, 1, 4, 4)
    half = torch.full_like(target, 0.5)
    heads = Levels(half, half, half)
    loss, terms = converter_loss(heads, target, torch.ones_like(target), (15, 7), ConverterLossWeights())
    assert float(loss) == pytest.approx(0.5)  # a constant error has no gradient
    valid = torch.ones_like(target)
    valid[..., 2:] = 0
    wrong_outside = Levels(*(half * valid + (1 - valid) for _ in range(3)))
    loss, terms = converter_loss(wrong_outside, target, valid, (1, 1), ConverterLossWeights(grad=0))
    assert float(loss) == pytest.approx(0.5)
    assert float(terms["mae"]) == pytest.approx(0.5)
    hurried, _ = converter_loss(heads, target, torch.ones_like(target), (15, 7), ConverterLossWeights(bce=1.0))
    assert float(hurried) == pytest.approx(0.5 + np.log(2))
    perfect, _ = converter_loss(Levels(target, target, target), target, valid, (15, 7), ConverterLossWeights())
    assert float(perfect) == 0


def test_save_and_load(small_config: ConverterConfig, tmp_path: Path) -> None:
    for config in (small_config, replace(small_config, backbone=SMALL_HIERA)):
        network = ConverterNetwork(config).eval()
        save_converter(network, tmp_path / "converter.safetensors", {"recipe": "test"}, torch.float32)
        again, metadata = load_converter(tmp_path / "converter.safetensors")
        assert again.config == config
        assert metadata == {"recipe": "test"}
        image, mask = torch.randn(1, 3, 40, 50), torch.ones(1, 1, 40, 50)
        with torch.no_grad():
            assert torch.equal(network.matte(image, mask), again.matte(image, mask))
    assert [p.name for p in tmp_path.iterdir()] == ["converter.safetensors"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is missing" if content is None else "is not a label converter"):
        load_converter(path)


def test_the_mean_colour_is_zero() -> None:
    rgb = np.array([[[124, 116, 104]]], dtype=np.uint8)
    assert np.abs(standardised(rgb)).max() < 0.02
    assert standardised(np.zeros((2, 3, 3), np.uint8)).shape == (3, 2, 3)
