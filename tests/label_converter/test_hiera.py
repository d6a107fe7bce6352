"""Our Hiera against transformers' SAM 2 and Hiera, and SAM 2's published names."""

from pathlib import Path

import pytest
import torch

from zim_plugins.errors import CheckpointError
from zim_plugins.label_converter.hiera import SAM2_PREFIX, HieraConfig, HieraTrunk, load_trunk, trunk_state

SMALL = HieraConfig(width=16, heads=1, depths=(1, 2, 3, 1), windows=(8, 4, 6, 3), global_blocks=(4,), position_grid=5)


def as_published(trunk: HieraTrunk) -> dict[str, torch.Tensor]:
    """SAM 2's file: prefixed, three input channels, and parts of the model that are none of the trunk's."""
    state = {SAM2_PREFIX + k: v.clone() for k, v in trunk.state_dict().items()}
    stem = SAM2_PREFIX + "patch_embed.proj.weight"
    state[stem] = state[stem][:, :3].clone()
    return state | {"image_encoder.neck.convs.0.conv.weight": torch.zeros(1), "no_mem_embed": torch.zeros(1)}


def test_sam2_files_load_whole(tmp_path: Path) -> None:
    source, target = HieraTrunk(SMALL), HieraTrunk(SMALL)
    torch.save({"model": as_published(source)}, tmp_path / "sam2.pt")
    load_trunk(target, tmp_path / "sam2.pt")
    x = torch.cat([torch.randn(1, 3, 64, 96), torch.rand(1, 1, 64, 96)], 1)
    with torch.no_grad():
        for ours, theirs in zip(target(x), source(x), strict=True):
            assert torch.equal(ours, theirs)


def test_other_files_are_refused(tmp_path: Path) -> None:
    state = as_published(HieraTrunk(SMALL))
    state.pop(SAM2_PREFIX + "blocks.3.attn.qkv.weight")
    torch.save({"model": state}, tmp_path / "short.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    for name, reason in (
        ("short.pt", "blocks.3.attn.qkv.weight"),
        ("text.pt", "text.pt"),
        ("none.pt", "none.pt"),
        ("other.pt", "state dict"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            load_trunk(HieraTrunk(SMALL), tmp_path / name)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    trunk = HieraTrunk(SMALL).train()
    x = torch.randn(1, 4, 64, 64)
    gradients = []
    for checkpointing in (False, True):
        trunk.gradient_checkpointing = checkpointing
        trunk.zero_grad()
        sum(f.square().mean() for f in trunk(x)).backward()
        gradients.append([p.grad.clone() for p in trunk.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_hiera_positions_are_kept_at_their_own_size() -> None:
    positions = torch.randn(1, 56 * 56, 16)
    kept = trunk_state({"model_state": {"pos_embed": positions}}, window=8)
    trunk = HieraTrunk(HieraConfig(width=16, heads=1, depths=(1, 1, 1, 1), windows=(8, 4, 0, 0), position_grid=56))
    trunk.load_state_dict(kept, strict=False)
    shown = trunk._positions(56, 56)
    torch.testing.assert_close(shown.flatten(1, 2), positions, atol=1e-5, rtol=0)


def test_sam2_parity_with_transformers() -> None:
    pytest.importorskip("transformers")
    from transformers import Sam2HieraDetConfig
    from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel

    theirs = Sam2HieraDetModel(
        Sam2HieraDetConfig(
            hidden_size=16,
            num_attention_heads=1,
            blocks_per_stage=list(SMALL.depths),
            embed_dim_per_stage=[16, 32, 64, 128],
            num_attention_heads_per_stage=[1, 2, 4, 8],
            window_size_per_stage=list(SMALL.windows),
            global_attention_blocks=list(SMALL.global_blocks),
            window_positional_embedding_background_size=[5, 5],
        )
    ).eval()
    names = {
        "patch_embed.projection": "patch_embed.proj",
        "layer_norm": "norm",
        "mlp.proj_in": "mlp.layers.0",
        "mlp.proj_out": "mlp.layers.1",
    }
    state = {}
    for key, value in theirs.state_dict().items():
        for old, new in names.items():
            key = key.replace(old, new)
        state[key] = torch.randn_like(value) * 0.1
    renamed = dict(zip(theirs.state_dict(), state.values(), strict=True))
    theirs.load_state_dict(renamed)
    ours = HieraTrunk(SMALL).eval()
    ours.load_state_dict(trunk_state(state, window=8))
    image = torch.randn(2, 3, 128, 160)
    with torch.no_grad():
        expected = theirs(image).intermediate_hidden_states
        found = ours(torch.cat([image, torch.rand(2, 1, 128, 160)], 1))
    assert len(expected) == 4
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4)


def hiera_name(key: str, depths: list[int]) -> str:
    """A weight of transformers' Hiera under the name of Hiera's own file."""
    if key.startswith("encoder.stages."):
        _, _, stage, _, layer, rest = key.split(".", 5)
        key = f"blocks.{sum(depths[: int(stage)]) + int(layer)}.{rest}"
    for old, new in (
        ("embeddings.position_embeddings", "pos_embed"),
        ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
        ("layernorm_before", "norm1"),
        ("layernorm_after", "norm2"),
    ):
        key = key.replace(old, new)
    return key


def test_hiera_parity_with_transformers() -> None:
    pytest.importorskip("transformers")
    from transformers import HieraConfig as TheirConfig
    from transformers import HieraModel

    theirs = HieraModel(
        TheirConfig(
            embed_dim=16, image_size=[224, 224], depths=[1, 2, 3, 1], num_heads=[1, 2, 4, 8], masked_unit_size=[8, 8]
        )
    ).eval()
    state = {}
    for key, value in theirs.state_dict().items():
        value.copy_(torch.randn_like(value) * 0.1)
        state[hiera_name(key, [1, 2, 3, 1])] = value
    ours = HieraTrunk(
        HieraConfig(width=16, heads=1, depths=(1, 2, 3, 1), windows=(8, 4, 0, 0), global_blocks=(), position_grid=56)
    )
    missing, _ = ours.load_state_dict(trunk_state({"model_state": state}, window=8), strict=False)
    assert not missing
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = theirs(image, output_hidden_states=True).reshaped_hidden_states
        found = ours(torch.cat([image, torch.rand(1, 1, 224, 224)], 1))
    for a, b in zip(found, expected[1:], strict=True):
        torch.testing.assert_close(a, b.permute(0, 3, 1, 2), atol=1e-4, rtol=1e-4)
