"""from_pretrained, save_pretrained and push_to_hub of our own networks: round trips, faults, what the hub is sent."""

import json
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub
import numpy as np
import pytest
import torch

from zim_plugins.core import CheckpointError, Prompt, load_predictor
from zim_plugins.core.checkpoints.records import require
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.zim import Zim, ZimConfig, load_weights
from zim_plugins.core.modeling.zim_lite import ZimLite
from zim_plugins.label_converter.checkpoint import CONVERTER_TINY, load_converter
from zim_plugins.label_converter.network import ConverterNetwork


def a_vit() -> Zim:
    torch.manual_seed(0)
    vit = ViTConfig(32, 2, 2, (1,), frame_px=64, window=3)
    return Zim(ZimConfig(vit, 64, mlp_dim=64, detail_channels=(8, 16, 32), decoder_channels=(16, 8, 32))).eval()


def zim_tiny() -> Any:
    return load_weights(require("zim_tiny"))[0]


NETWORKS = {"vit": a_vit, "lite": zim_tiny, "converter": lambda: load_converter(CONVERTER_TINY)[0]}


@pytest.mark.parametrize("kind", NETWORKS)
def test_round_trip(kind, tmp_path):
    network = NETWORKS[kind]()
    assert network.save_pretrained(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    folder = tmp_path / "new" / "folder"
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert json.loads((folder / "config.json").read_text())["model_type"] == type(network).model_type
    found = type(network).from_pretrained(folder)
    assert not found.training and found.config == network.config
    for (name, value), other in zip(network.state_dict().items(), found.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    (folder / "README.md").write_text("mine")
    network.save_pretrained(folder, dtype=torch.float16)
    assert (folder / "README.md").read_text() == "mine", "a card that is there stays"
    network.save_pretrained(folder, card="new")
    assert (folder / "README.md").read_text() == "new"


def test_half_precision_halves_the_file_and_stays_near(tmp_path):
    network = a_vit()
    whole = network.save_pretrained(tmp_path / "a") / "model.safetensors"
    half = network.save_pretrained(tmp_path / "b", dtype=torch.float16) / "model.safetensors"
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    for value, other in zip(
        network.state_dict().values(), Zim.from_pretrained(tmp_path / "b").state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("prefix", ["hf:", ""])
def test_load_predictor_takes_such_folders(prefix, tmp_path):
    zim_tiny().save_pretrained(tmp_path, dtype=torch.float16)
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    answers = []
    for name in (f"{prefix}{tmp_path}", "zim_tiny"):
        predictor = load_predictor(name, device="cpu")
        predictor.set_image(image)
        answers.append(predictor.predict(Prompt.from_point(60, 45)).alpha)
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)


def test_the_export_command_takes_such_folders_and_no_others(tmp_path, capsys):
    pytest.importorskip("onnx", reason="the extra `onnx`")
    from zim_plugins.cli import main

    a_vit().save_pretrained(tmp_path / "vit")
    assert main(["export", "--model", f"hf:{tmp_path / 'vit'}", "--out", str(tmp_path / "pair")]) == 0
    assert sorted(path.name for path in (tmp_path / "pair").iterdir()) == ["decoder.onnx", "encoder.onnx"]
    (tmp_path / "vit" / "config.json").write_text('{"model_type": "sam2"}')
    assert main(["export", "--model", f"hf:{tmp_path / 'vit'}", "--out", str(tmp_path / "other")]) == 2
    assert "only this project's own networks" in capsys.readouterr().err


def test_faults_are_named(tmp_path):
    a_vit().save_pretrained(tmp_path / "vit")
    with pytest.raises(CheckpointError, match=r"zim_plugins\.zim, not a zim_plugins\.zim_lite"):
        ZimLite.from_pretrained(tmp_path / "vit")
    with pytest.raises(CheckpointError, match=r"not a zim_plugins\.label_converter"):
        ConverterNetwork.from_pretrained(tmp_path / "vit")
    with pytest.raises(CheckpointError, match="no folder"):
        Zim.from_pretrained("./nowhere")
    config = tmp_path / "vit" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"mlp_dim": 65}))
    with pytest.raises(CheckpointError, match="describe different networks"):
        Zim.from_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="is not a Zim"):
        Zim.from_pretrained(tmp_path / "vit")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="is a file"):
        a_vit().save_pretrained(tmp_path / "file")


class FakeHub:
    """Takes what is uploaded."""

    sent: ClassVar[list[tuple[str, Any]]] = []
    has_card = False

    def __init__(self, token: str | None = None) -> None:
        self.sent.append(("token", token))

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> None:
        self.sent.append(("repo", (repo, private, exist_ok)))

    def file_exists(self, repo: str, name: str) -> bool:
        return self.has_card

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str, ignore_patterns: Any) -> None:
        files = sorted(p.name for p in Path(folder_path).iterdir() if p.name not in (ignore_patterns or ()))
        self.sent.append(("files", files))


def test_push_sends_the_three_files_and_keeps_a_card(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "ZIM_PLUGINS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    monkeypatch.setattr(FakeHub, "sent", [])
    assert a_vit().push_to_hub("me/vit", private=True, token="secret") == "https://huggingface.co/me/vit"
    assert FakeHub.sent == [
        ("token", "secret"),
        ("repo", ("me/vit", True, True)),
        ("files", ["README.md", "config.json", "model.safetensors"]),
    ]
    monkeypatch.setattr(FakeHub, "has_card", True)
    a_vit().push_to_hub("me/vit")
    assert FakeHub.sent[-1] == ("files", ["config.json", "model.safetensors"])


def test_push_honours_offline_and_says_what_the_hub_refuses(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="forbids the network"):
        a_vit().push_to_hub("me/vit")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("ZIM_PLUGINS_OFFLINE", raising=False)

    def refuse(self: Any, *_: Any, **__: Any) -> None:
        raise OSError("401 Unauthorized\nmore")

    monkeypatch.setattr(FakeHub, "create_repo", refuse)
    with pytest.raises(CheckpointError, match=r"401 Unauthorized.*hf auth login") as caught:
        a_vit().push_to_hub("me/vit")
    assert "\n" not in str(caught.value)
