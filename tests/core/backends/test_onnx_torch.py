"""The ONNX pair converted back to torch answers as ONNX Runtime does, and its weights learn."""

import numpy as np
import pytest
import torch

from zim_plugins.core.backends.base import Backend
from zim_plugins.core.export import export_onnx
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.zim import Zim, ZimConfig
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import CheckpointError


@pytest.fixture(scope="module")
def folder(onnx2torch, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnx2torch")
    torch.manual_seed(0)
    encoder = ViTConfig(dim=32, depth=2, heads=2, global_blocks=(1,))
    zim = Zim(ZimConfig(encoder, mlp_dim=64, detail_channels=(8, 16, 32), decoder_channels=(32, 16, 32)))
    with torch.no_grad():
        for parameter in zim.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return export_onnx(zim, tmp_path_factory.mktemp("pair"))


def test_answers_as_onnx_runtime_and_learns(folder):
    from zim_plugins.core.backends.zim_onnx import ZimOnnxBackend
    from zim_plugins.core.backends.zim_onnx_torch import ZimOnnxTorchBackend

    ours = ZimOnnxTorchBackend(folder, name="random", batch=2)
    assert isinstance(ours, Backend)
    theirs = ZimOnnxBackend(folder, name="random", threads=1)
    image = np.random.default_rng(0).integers(0, 256, (768, 1024, 3), dtype=np.uint8)
    prompts = [Prompt.from_point(300.0, 200.0), Prompt.from_box(100.0, 90.0, 700.0, 500.0), Prompt.from_point(9.0, 8.0)]
    embedding = ours.encode(image)
    answers = ours.decode(embedding, prompts, multimask=True)
    expected = theirs.decode(theirs.encode(image), prompts, multimask=True)
    np.testing.assert_allclose(answers[0], expected[0], atol=1e-3)
    np.testing.assert_allclose(answers[1], expected[1], atol=1e-4)

    # A loss on the matte reaches the encoder's first and last weights and the decoder's tokens.
    masks, _ = ours.decoder(
        *(embedding[k] for k in ("feat_D0", "feat_D1", "feat_D2", "image_embeddings")),
        torch.ones(1, 64, 64),
        torch.tensor([[[300.0, 200.0], [-0.5, -0.5]]]),
        torch.tensor([[1.0, -1.0]]),
    )
    masks.sigmoid().mean().backward()
    weights = dict(ours.decoder.named_parameters())
    reached = [k for k, v in weights.items() if v.grad is not None and v.grad.abs().sum() > 0]
    assert len(reached) > 0.8 * len(weights)
    small = ours.encoder(torch.randn(1, 3, 1024, 1024))
    sum(feature.mean() for feature in small).backward()
    weights = dict(ours.encoder.named_parameters())
    assert sum(v.numel() for v in weights.values()) > 780_000  # the encoder and its stem hold 791,144
    assert all(v.grad is not None for v in weights.values())


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
