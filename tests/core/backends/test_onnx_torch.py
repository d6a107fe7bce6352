"""The ONNX pair read back into our own modules answers as ONNX Runtime does, and every weight learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from zim_plugins.core.backends.base import Backend
from zim_plugins.core.export import export_onnx
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.pixel_decoder import HierarchicalPixelDecoder, upsample
from zim_plugins.core.modeling.prompt_encoder import PAD, PromptEncoder
from zim_plugins.core.modeling.zim import Zim, ZimConfig
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import CheckpointError

UNSERVED = "prompt_encoder.mask_downscaling."
PROMPTS = [Prompt.from_point(300.0, 200.0), Prompt.from_box(100.0, 90.0, 700.0, 500.0), Prompt.from_point(9.0, 8.0)]


@pytest.fixture(scope="module")
def zim() -> Zim:
    torch.manual_seed(0)
    encoder = ViTConfig(dim=32, depth=2, heads=2, global_blocks=(1,))
    zim = Zim(ZimConfig(encoder, mlp_dim=64, detail_channels=(8, 16, 32), decoder_channels=(32, 16, 32)))
    with torch.no_grad():
        for parameter in zim.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return zim


@pytest.fixture(scope="module")
def folder(zim, tmp_path_factory) -> Path:
    pytest.importorskip("onnxruntime", reason="the extra `onnx`")
    return export_onnx(zim, tmp_path_factory.mktemp("pair"))


def edited(folder: Path, to: Path, edit) -> Path:
    """A copy of the pair, each graph's model changed by `edit`."""
    import onnx

    to.mkdir(exist_ok=True)
    for name in ("encoder.onnx", "decoder.onnx"):
        model = onnx.load(str(folder / name))
        edit(model)
        onnx.save(model, str(to / name))
    return to


def nameless(model) -> None:
    """As the authors' files are: they say nothing of themselves."""
    del model.metadata_props[:]


def assert_same_weights(found: Zim, zim: Zim) -> None:
    expected = zim.state_dict()
    for name, value in found.state_dict().items():
        if not name.startswith(UNSERVED):
            torch.testing.assert_close(value, expected[name], atol=0, rtol=0, msg=name)


def test_every_weight_is_found_exactly(zim, folder, tmp_path):
    from zim_plugins.core.backends.onnx_weights import load_pair

    assert_same_weights(load_pair(folder)[0], zim)
    found, metadata = load_pair(edited(folder, tmp_path, nameless))
    assert found.config == zim.config and metadata == {}
    assert_same_weights(found, zim)


def test_answers_as_onnx_runtime_and_every_weight_learns(folder):
    from zim_plugins.core.backends.zim_onnx import ZimOnnxBackend
    from zim_plugins.core.backends.zim_onnx_torch import ZimOnnxTorchBackend

    ours = ZimOnnxTorchBackend(folder, name="random", batch=2)
    assert isinstance(ours, Backend)
    theirs = ZimOnnxBackend(folder, name="random", threads=1)
    image = np.random.default_rng(0).integers(0, 256, (768, 1024, 3), dtype=np.uint8)
    answers = ours.decode(ours.encode(image), PROMPTS, multimask=True)
    expected = theirs.decode(theirs.encode(image), PROMPTS, multimask=True)
    np.testing.assert_allclose(answers[0], expected[0], atol=1e-4 * np.abs(expected[0]).max())
    np.testing.assert_allclose(answers[1], expected[1], atol=1e-4)

    features = ours.encoder(torch.randn(1, 3, 1024, 1024))
    masks, scores = ours.decoder(
        *features[1:],
        features[0],
        torch.rand(2, 64, 64),
        torch.tensor([[[300.0, 200.0], [400.0, 10.0], [-0.5, -0.5]], [[90.0, 80.0], [700.0, 600.0], [50.0, 40.0]]]),
        torch.tensor([[1.0, 0.0, -1.0], [2.0, 3.0, 1.0]]),
    )
    (masks.square().mean() + scores.square().mean()).backward()
    without = [
        name
        for name, weight in ours.zim.named_parameters()
        if not name.startswith(UNSERVED) and (weight.grad is None or not weight.grad.abs().sum() > 0)
    ]
    assert without == []


def test_a_graph_traced_another_way(zim, folder, tmp_path, monkeypatch):
    """SAM's own handling of clicks, one convolution of a concatenation, no metadata."""
    from zim_plugins.core.backends.zim_onnx_torch import ZimOnnxTorchBackend

    def project(self, details):
        return list(reversed(details))

    def decode(self, embedding, projected, drawn=None):
        x = embedding
        for fuse, detail in zip(self.fuse, projected, strict=True):
            x = upsample(x, (detail.shape[-2], detail.shape[-1]))
            x = fuse(torch.cat([x, detail.expand(x.shape[0], -1, -1, -1)], dim=1))
        return x

    def tokens(self, coords, labels):
        x = self.pe_layer((coords + 0.5) / self.frame_px)
        x = x * (labels != PAD)[..., None].float() + self.not_a_point_embed.weight * (labels == PAD)[..., None].float()
        for kind, embedding in enumerate(self.point_embeddings):
            x = x + embedding.weight * (labels == kind)[..., None].float()
        return x

    with monkeypatch.context() as patch:
        patch.setattr(HierarchicalPixelDecoder, "project", project)
        patch.setattr(HierarchicalPixelDecoder, "forward", decode)
        patch.setattr(PromptEncoder, "forward", tokens)
        traced = export_onnx(zim, tmp_path / "traced")
    other = edited(traced, tmp_path / "nameless", nameless)
    import onnx

    names = [one.name for one in onnx.load(str(other / "decoder.onnx")).graph.initializer]
    assert any(name.endswith("fuse.0.0.weight") for name in names), "the graph is traced as the other one is"
    assert_same_weights(ZimOnnxTorchBackend(other, name="other").zim, zim)


def test_another_architecture_is_refused(folder, tmp_path):
    from zim_plugins.core.backends.zim_onnx_torch import ZimOnnxTorchBackend

    def without_a_norm(model) -> None:  # as where batch norms are folded into convolutions
        nameless(model)
        for node in model.graph.node:
            for i, name in enumerate(node.input):
                if name.endswith("detail_stem.convs.1.1.weight"):
                    node.input[i] = "folded"
        for one in model.graph.initializer:
            if one.name.endswith("detail_stem.convs.1.1.weight"):
                one.name = "folded"

    with pytest.raises(CheckpointError, match=r"another architecture.*lacks detail_stem\.convs\.1\.1\.weight.*onnx"):
        ZimOnnxTorchBackend(edited(folder, tmp_path / "a", without_a_norm), name="x")

    def unmasked(model) -> None:  # the names of one model, the computation of another
        for entry in model.metadata_props:
            if entry.key.endswith(".config"):
                entry.value = json.dumps(json.loads(entry.value) | {"masked_attention": "none"})

    with pytest.raises(CheckpointError, match="answers differ"):
        ZimOnnxTorchBackend(edited(folder, tmp_path / "b", unmasked), name="x")


def test_damaged_files_are_named(folder, tmp_path):
    from zim_plugins.core.backends.zim_onnx_torch import ZimOnnxTorchBackend

    with pytest.raises(CheckpointError, match=r"encoder\.onnx is missing"):
        ZimOnnxTorchBackend(tmp_path, name="x")
    (tmp_path / "encoder.onnx").write_bytes((folder / "encoder.onnx").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged"):
        ZimOnnxTorchBackend(tmp_path, name="x")
    (tmp_path / "encoder.onnx").write_bytes((folder / "decoder.onnx").read_bytes())
    with pytest.raises(CheckpointError, match="answers"):
        ZimOnnxTorchBackend(tmp_path, name="x")
