"""The torch backend and its checkpoints: batching, precision, prompts of every kind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from zim_plugins.core.backends.base import Backend
from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.load import load_predictor, resolve_device
from zim_plugins.core.modeling.attention import prompt_attention_mask
from zim_plugins.core.modeling.dense_prompt import draw_prompts
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.tiny_encoder import TinyConfig
from zim_plugins.core.modeling.zim import (
    ZIM_CONFIGS,
    Zim,
    ZimConfig,
    build_network,
    config_from_dict,
    config_to_dict,
    load_weights,
    sam_config,
    save_weights,
)
from zim_plugins.core.modeling.zim_lite import LiteConfig
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import CheckpointError

TINY = replace(ZIM_CONFIGS["tiny"], encoder=TinyConfig(dim=48, depth=1, heads=2), frame_px=96, mlp_dim=64)
VIT = ZimConfig(ViTConfig(32, 2, 2, (1,), frame_px=64, window=3, out_channels=32), frame_px=64, mlp_dim=64)
SAM = replace(VIT, pixel_decoder="sam", masked_attention="none")
BOTH = Prompt(points=np.array([[20.0, 20.0]]), labels=np.array([1]), box=np.array([8.0, 8, 50, 44]))
PROMPTS = [Prompt.from_point(20, 20), Prompt.from_box(8, 8, 50, 44), BOTH, Prompt.from_points([(5, 5), (40, 30, 0)])]


def random_zim(config: ZimConfig, seed: int = 0) -> Zim:
    torch.manual_seed(seed)
    zim = Zim(config)
    for parameter in zim.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.08)
    return zim


def image(frame_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (frame_px * 3 // 4, frame_px, 3), dtype=np.uint8)


@pytest.mark.parametrize("config", [TINY, VIT, SAM], ids=["tiny", "vit", "sam"])
def test_one_backend_serves_every_prompt_alike_alone_or_in_a_batch(config: ZimConfig) -> None:
    backend = ZimTorchBackend(random_zim(config), name="random")
    assert isinstance(backend, Backend)
    embedding = backend.encode(image(config.frame_px))
    together, scores = backend.decode(embedding, PROMPTS, multimask=False)
    stride = 4 if config.pixel_decoder == "sam" else 2
    assert together.shape == (4, 1, config.frame_px // stride, config.frame_px // stride)
    assert scores.shape == (4, 1)
    for prompt, logits in zip(PROMPTS, together, strict=True):
        alone, _ = backend.decode(embedding, [prompt], multimask=False)
        np.testing.assert_allclose(alone[0], logits, atol=1e-4, rtol=1e-5)
    candidates, _ = backend.decode(embedding, PROMPTS[:1], multimask=True)
    assert candidates.shape[1] == (3 if config.pixel_decoder == "sam" else 4)


@pytest.mark.parametrize("config", [TINY, VIT], ids=["tiny", "vit"])
def test_a_coarse_matte_and_a_background_click_change_the_answer(config: ZimConfig) -> None:
    backend = ZimTorchBackend(random_zim(config), name="random")
    embedding = backend.encode(image(config.frame_px))
    coarse = np.zeros((config.frame_px, config.frame_px), np.float32)
    coarse[10:30, 10:30] = 1
    plain, with_alpha, with_click = (
        backend.decode(embedding, [p], multimask=False)[0]
        for p in (
            Prompt.from_point(20, 20),
            Prompt(points=np.array([[20.0, 20.0]]), labels=np.array([1]), alpha=coarse),
            Prompt.from_points([(20, 20), (50, 40, 0)]),
        )
    )
    assert np.abs(plain - with_alpha).max() > 1e-3
    assert np.abs(plain - with_click).max() > 1e-3


@pytest.mark.parametrize("config", [TINY, VIT], ids=["tiny", "vit"])
def test_bf16_gives_the_mattes_of_fp32_within_two_hundredths(config: ZimConfig) -> None:
    mattes = []
    for dtype in (torch.float32, torch.bfloat16):
        predictor = ImagePredictor(ZimTorchBackend(random_zim(config), name="random", dtype=dtype))
        predictor.set_image(image(config.frame_px))
        mattes.append(predictor.predict(Prompt.from_box(8, 8, 50, 40)).alpha)
    assert np.abs(mattes[0] - mattes[1]).mean() < 2e-2


def test_mask_of_clicks_and_box_in_closed_form() -> None:
    coords = torch.tensor([[[40.0, 24.0], [1000.0, 8.0], [16.0, 16.0], [112.0, 80.0]]])
    labels = torch.tensor([[1, 0, 2, 3]])
    mask = prompt_attention_mask(coords, labels, grid=16, frame_px=256)[0]
    sigma = 16 * 21 / 64
    assert mask[1, 2] == 1.0  # the click's own cell
    torch.testing.assert_close(mask[4, 6], torch.exp(torch.tensor(-(3**2 + 4**2) / (2 * sigma**2))))
    rows, columns = torch.nonzero(mask, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 5, 1, 7)  # the box's cells and no other
    far = prompt_attention_mask(torch.tensor([[[40.0, 24.0], [250.0, 250.0]]]), torch.tensor([[1, 0]]), 16, 256)
    near = prompt_attention_mask(torch.tensor([[[40.0, 24.0]]]), torch.tensor([[1]]), 16, 256)
    assert torch.equal(far, near)  # background clicks never brighten it


def test_a_hidden_key_has_no_weight_and_an_even_mask_none_either() -> None:
    from zim_plugins.core.modeling.attention import Attention

    torch.manual_seed(0)
    attention = Attention(32, 4)
    q, k, v = torch.randn(2, 3, 32), torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    mask = torch.ones(2, 5)
    torch.testing.assert_close(attention(q, k, v, mask), attention(q, k, v))
    mask[:, 3:] = 0
    torch.testing.assert_close(attention(q, k, v, mask), attention(q, k[:, :3], v[:, :3]))
    mask = torch.rand(2, 5) * 0.9 + 0.1
    logits = (attention._split(attention.q_proj(q)) @ attention._split(attention.k_proj(k)).transpose(-1, -2)) * 8**-0.5
    by_hand = torch.softmax(logits * mask[:, None, None], -1) @ attention._split(attention.v_proj(v))
    by_hand = attention.out_proj(by_hand.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(q, k, v, mask), by_hand)


def test_prompts_are_drawn_where_they_are() -> None:
    coords = torch.tensor([[[17.0, 33.0], [8.0, 8.0], [40.0, 56.0]]])
    alpha = torch.full((1, 1, 64, 64), 0.75)
    maps = draw_prompts(coords, torch.tensor([[1, 2, 3]]), alpha, 64)[0]
    assert maps.shape == (6, 32, 32)
    y, x = divmod(int(maps[0].argmax()), 32)
    assert (x, y) == (8, 16)
    assert maps[2].abs().max() == maps[3].abs().max() == 0  # no background click
    assert (maps[4, 4:28, 4:20] == 1).all()
    assert maps[4].sum() == 24 * 16 - (32 * 32 - 24 * 16)
    torch.testing.assert_close(maps[5], torch.full((32, 32), 0.5))
    absent = draw_prompts(coords, torch.tensor([[1, -1, -1]]), torch.full_like(alpha, -1), 64)[0]
    assert absent[4].abs().max() == absent[5].abs().max() == 0


@pytest.mark.parametrize("config", [TINY, VIT, SAM, ZIM_CONFIGS["vit_h"], sam_config("vit_l")])
def test_configs_survive_json(config: ZimConfig) -> None:
    assert config_from_dict(config_to_dict(config)) == config


def test_a_checkpoint_carries_its_config_and_loads_by_path(tmp_path: Path) -> None:
    zim = random_zim(TINY)
    path = tmp_path / "mine.safetensors"
    save_weights(zim, path, {"note": "of a test"}, dtype=torch.float32)
    loaded, metadata = load_weights(path)
    assert metadata["note"] == "of a test"
    for key, value in zim.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key]), key
    predictor = load_predictor(path, device="cpu")
    assert predictor.name == "mine"
    assert predictor.zoom is not None
    assert load_predictor(path, device="cpu", zoom=False).zoom is None
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"mine\.safetensors"):
        load_predictor(path, device="cpu")


def test_the_embedded_network_runs_in_other_frames_with_the_same_weights() -> None:
    small, large = (build_network(LiteConfig(frame_px=side, depth=1)).eval() for side in (128, 160))
    large.load_state_dict(small.state_dict())
    backend = ZimTorchBackend(small, name="lite")
    other, wanted = backend.at_frame(160), ZimTorchBackend(large, name="lite")
    assert (backend.frame_px, other.frame_px, other is backend.at_frame(160)) == (128, 160, True)
    assert backend.at_frame(128) is backend
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    asked = [Prompt.from_point(80, 60)]
    answers = [b.decode(b.encode(image), asked, multimask=True) for b in (other, wanted)]
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert next(other.zim.parameters()) is next(small.parameters())
    with pytest.raises(ValueError, match="128 px, not at 100"):
        backend.at_frame(100)
    with pytest.raises(ValueError, match="not at 512"):
        ZimTorchBackend(random_zim(TINY), name="vit").at_frame(512)


def test_sam_s_weights_initialise_a_zim() -> None:
    sam = random_zim(SAM)
    narrow = replace(VIT, decoder_channels=(16, 8, 4))  # SAM's own mattes have an eighth of the embedding's channels
    zim = Zim.from_sam(sam.state_dict(), narrow)
    for key, value in zim.image_encoder.state_dict().items():
        assert torch.equal(value, sam.image_encoder.state_dict()[key])
    state = sam.state_dict()
    del state["prompt_encoder.no_mask_embed.weight"]
    with pytest.raises(CheckpointError, match="no_mask_embed"):
        Zim.from_sam(state, narrow)
    with pytest.raises(CheckpointError, match="do not fit"):
        Zim.from_sam(sam.state_dict(), VIT)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    save_weights(random_zim(TINY), tmp_path / "mine.safetensors", {})
    mine = tmp_path / "mine.safetensors"
    with pytest.raises(CheckpointError, match="no checkpoint's name"):
        load_predictor("zim_vit_q")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match="neither"):
        load_predictor(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="zim export"):
        load_predictor(mine, runtime="onnx")
    with pytest.raises(ValueError, match="OMP_NUM_THREADS"):
        load_predictor(mine, threads=2)
    with pytest.raises(ValueError, match="tpu"):
        resolve_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="zim doctor"):
            load_predictor(mine, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cuda_gives_the_cpu_s_mattes(dtype: torch.dtype) -> None:
    mattes = []
    for device, kind in (("cpu", torch.float32), ("cuda", dtype)):
        predictor = ImagePredictor(ZimTorchBackend(random_zim(VIT), name="random", device=device, dtype=kind))
        predictor.set_image(image(64))
        mattes.append(predictor.predict(Prompt.from_box(8, 8, 50, 40)).alpha)
    assert np.abs(mattes[0] - mattes[1]).mean() < 2e-2
