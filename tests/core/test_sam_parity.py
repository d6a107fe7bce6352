"""Our modules against PyPI's segment-anything, from the same state dict with random weights, in fp32 to 1e-4."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from zim_plugins.core.modeling.image_encoder import VIT_CONFIGS, ImageEncoderViT, ViTConfig
from zim_plugins.core.modeling.prompt_encoder import PAD, PromptEncoder
from zim_plugins.core.modeling.transformer import TwoWayTransformer
from zim_plugins.core.modeling.zim import Zim, ZimConfig, sam_config

REDUCED = ViTConfig(dim=64, depth=3, heads=2, global_blocks=(1,), frame_px=256)
"""A 16 x 16 grid: windows of 14 need padding, as in the full model."""
CLICKS = torch.tensor([[[30.0, 40.0], [200.5, 100.0], [0.0, 0.0]], [[128.0, 17.0], [3.0, 250.0], [255.0, 90.0]]])
CLICK_LABELS = torch.tensor([[1, 0, PAD], [1, 1, 0]])
BOXES = torch.tensor([[10.0, 20.0, 200.0, 180.0], [100.0, 90.0, 250.0, 255.0]])
close = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)


def shaken(module: nn.Module) -> nn.Module:
    """Every weight moved off its initial value: SAM starts relative positions, norms and biases at 0 and 1."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def decode_with_sam(sam: nn.Module, embedding: Tensor, **prompt: Tensor | tuple[Tensor, Tensor] | None):
    """Logits of all four tokens and their scores, by segment-anything."""
    sparse, dense = sam.prompt_encoder(**({"points": None, "boxes": None, "masks": None} | prompt))
    return sam.mask_decoder.predict_masks(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense)


@torch.no_grad()
def test_image_encoder(public_sam):
    theirs = shaken(public_sam(REDUCED)).image_encoder
    ours = ImageEncoderViT(REDUCED).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 256, 256)
    close(ours(x), theirs(x))


@torch.no_grad()
def test_image_encoder_without_windows_padding_and_with_other_heads(public_sam):
    config = replace(REDUCED, window=8, heads=4, depth=2, global_blocks=())
    theirs = shaken(public_sam(config)).image_encoder
    ours = ImageEncoderViT(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 3, 256, 256)
    close(ours(x), theirs(x))


@torch.no_grad()
def test_prompt_encoder(segment_anything):
    theirs = shaken(segment_anything.modeling.PromptEncoder(256, (16, 16), (256, 256), 16))
    ours = PromptEncoder(256, 256).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)

    sparse, dense = theirs(points=(CLICKS, CLICK_LABELS), boxes=None, masks=None)
    padded = torch.cat([CLICKS, torch.zeros(2, 1, 2)], 1), torch.cat([CLICK_LABELS, torch.full((2, 1), PAD)], 1)
    close(ours(*padded), sparse)
    close(ours.dense(None, 2, 16), dense)

    sparse, _ = theirs(points=(CLICKS, CLICK_LABELS), boxes=BOXES, masks=None)
    corners = torch.cat([CLICKS, BOXES.reshape(2, 2, 2)], 1)
    close(ours(corners, torch.cat([CLICK_LABELS, torch.tensor([[2, 3], [2, 3]])], 1)), sparse)

    masks = torch.randn(2, 1, 64, 64)
    close(ours.dense(masks, 2, 16), theirs(points=None, boxes=BOXES, masks=masks)[1])
    close(ours.pe_layer.grid(16, 16), theirs.get_dense_pe())


@torch.no_grad()
def test_two_way_transformer(segment_anything):
    theirs = shaken(segment_anything.modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=512, num_heads=8))
    ours = TwoWayTransformer(256, depth=2, heads=8, mlp_dim=512, masked="none").eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    embedding, positions, tokens = torch.randn(2, 256, 9, 7), torch.randn(1, 256, 9, 7), torch.randn(2, 8, 256)
    for a, b in zip(
        ours(embedding, positions, tokens), theirs(embedding, positions.expand(2, -1, -1, -1), tokens), strict=True
    ):
        close(a, b)


@torch.no_grad()
def test_whole_sam_decodes_alike(public_sam):
    theirs = shaken(public_sam(REDUCED))
    config = replace(sam_config("vit_b"), encoder=REDUCED, frame_px=256)
    ours = Zim(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)

    image = torch.randint(0, 256, (1, 3, 192, 256)).float()
    close(ours.normalise(image), theirs.preprocess(image))
    features = ours.encode(ours.normalise(image))
    embedding = theirs.image_encoder(theirs.preprocess(image))
    close(features.embedding, embedding)

    padded = torch.cat([CLICKS, torch.zeros(2, 1, 2)], 1), torch.cat([CLICK_LABELS, torch.full((2, 1), PAD)], 1)
    expected = decode_with_sam(theirs, embedding, points=(CLICKS, CLICK_LABELS))
    for a, b in zip(ours.decode(features, *padded), expected, strict=True):
        close(a, b)

    corners, labels = BOXES.reshape(2, 2, 2), torch.tensor([[2, 3], [2, 3]])
    for a, b in zip(
        ours.decode(features, corners, labels), decode_with_sam(theirs, embedding, boxes=BOXES), strict=True
    ):
        close(a, b)

    # A coarse matte is SAM's mask input: its logit at stride 4.
    alpha = torch.rand(2, 1, 64, 64).clamp(0.01, 0.99)
    at_frame = alpha.repeat_interleave(4, 2).repeat_interleave(4, 3)
    expected = decode_with_sam(theirs, embedding, boxes=BOXES, masks=torch.logit(alpha))
    for a, b in zip(ours.decode(features, corners, labels, at_frame), expected, strict=True):
        close(a, b)


def test_sam_weights_initialise_zim(public_sam):
    theirs = shaken(public_sam(REDUCED))
    zim = Zim.from_sam(theirs.state_dict(), ZimConfig(REDUCED, frame_px=256))
    state, ours = theirs.state_dict(), zim.state_dict()
    shared = {k for k in state if not k.startswith("mask_decoder.output_upscaling.")}
    assert shared <= set(ours)
    assert all(torch.equal(ours[k], state[k]) for k in shared)
    assert all(k.startswith(("detail_stem.", "mask_decoder.pixel_decoder.")) for k in set(ours) - shared)


@pytest.mark.slow
@torch.no_grad()
def test_full_vit_b(segment_anything):
    theirs = shaken(segment_anything.sam_model_registry["vit_b"]())
    ours = Zim(sam_config("vit_b")).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert len(ours.state_dict()) == 314
    x = torch.randn(1, 3, 1024, 1024)
    features, embedding = ours.encode(x), theirs.image_encoder(x)
    close(features.embedding, embedding)
    corners = 4 * BOXES.reshape(2, 2, 2)
    expected = decode_with_sam(theirs, embedding, boxes=4 * BOXES)
    for a, b in zip(ours.decode(features, corners, torch.tensor([[2, 3], [2, 3]])), expected, strict=True):
        close(a, b)


@pytest.mark.parametrize("name", ["vit_l", "vit_h"])
def test_state_dict_of_the_larger_models_is_sams(segment_anything, name):
    with torch.device("meta"):
        theirs = segment_anything.sam_model_registry[name]()
        ours = Zim(sam_config(name))
    shapes = {k: v.shape for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == shapes
    assert VIT_CONFIGS[name].dim == theirs.image_encoder.pos_embed.shape[-1]
