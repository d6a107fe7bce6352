"""Names of the hub: one line with the next step for all that can go wrong, before any image is read."""

import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from zim_plugins.core import CheckpointError, MissingExtra, load_predictor
from zim_plugins.core.checkpoints.hub import hub_folder

try:
    from huggingface_hub.utils import httpx
except ImportError:
    pytest.skip("this huggingface_hub answers with requests: its errors are made otherwise", allow_module_level=True)


def answered(kind: type[Exception]) -> Exception:
    response = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co/x/y"))
    return kind("403 Client Error.\n\nCannot access gated repo", response=response)  # type: ignore[call-arg]


def sends(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def snapshot_download(*_: object, local_files_only: bool = False, **__: object) -> str:
        raise LocalEntryNotFoundError("not cached") if local_files_only else error

    for name in ("HF_HUB_OFFLINE", "ZIM_PLUGINS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (answered(GatedRepoError), "accept its licence on https://huggingface.co/facebook/sam3"),
        (answered(RepositoryNotFoundError), "hf auth login"),
        (answered(RevisionNotFoundError), "has no revision"),
        (LocalEntryNotFoundError("no network\nand more"), "hf download facebook/sam3"),
        (httpx.ConnectError("name resolution"), "hf download facebook/sam3"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_next_step(monkeypatch, error, step):
    sends(monkeypatch, error)
    with pytest.raises(CheckpointError, match=step) as caught:
        hub_folder("hf:facebook/sam3")
    assert "\n" not in str(caught.value)


def test_offline_is_honoured(monkeypatch):
    sends(monkeypatch, AssertionError("asked the network"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="switched off by the environment"):
        hub_folder("hf:facebook/sam3")


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "/no/where", "a/b/c", "", "/"])
def test_what_is_neither_folder_nor_name(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"no folder|holds no config"):
        hub_folder(f"hf:{name}")


def test_folders_that_hold_something_else(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        hub_folder(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="holds no weights"):
        hub_folder(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert hub_folder(f"hf:{tmp_path}") == tmp_path
    pytest.importorskip("transformers", reason="the extra `models`")
    with pytest.raises(CheckpointError, match="holds a bert"):
        load_predictor(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(CheckpointError, match="damaged"):
        load_predictor(f"hf:{tmp_path}")


def test_a_missing_extra_is_said_before_anything_is_fetched(monkeypatch):
    sends(monkeypatch, AssertionError("asked the network"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"zim-plugins\[models\]"):
        load_predictor("hf:facebook/sam3")


def test_the_command_says_so_before_it_reads_an_image(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    done = subprocess.run(
        [sys.executable, "-m", "zim_plugins.cli", "matte", "broken.png", "--point", "1,1", "--model", "hf:./nowhere"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no folder" in done.stderr and "broken" not in done.stderr and len(done.stderr.splitlines()) == 1


def test_families_are_listed_with_what_their_classes_take():
    pytest.importorskip("transformers", reason="the extra `models`", minversion="5.0")
    from zim_plugins.core.backends.transformers.families import FAMILIES

    for family in FAMILIES:
        if family.also_needs is not None:
            pytest.importorskip(family.also_needs, reason="EdgeTAM's trunk")
        assert family.prompts() == dict.fromkeys(family.prompts(), True)
