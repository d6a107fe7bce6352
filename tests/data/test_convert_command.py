import json
import logging
import tarfile

import pytest
import torch

from zim_plugins.cli import main
from zim_plugins.data.reading import MatteShards


@pytest.fixture(autouse=True)
def _leave_the_process_alone():
    root, threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def converter(tmp_path_factory):
    """A small label converter that has not learnt anything."""
    from zim_plugins.label_converter.backbone import TinyBackboneConfig
    from zim_plugins.label_converter.checkpoint import save_converter
    from zim_plugins.label_converter.network import ConverterConfig, ConverterNetwork

    torch.manual_seed(0)
    backbone = TinyBackboneConfig(channels=(8, 8, 8, 8, 8))
    config = ConverterConfig(
        backbone, context_channels=8, decoder_channels=(8, 8, 8, 8, 8), head_channels=8, mask_logit=3.0
    )
    path = tmp_path_factory.mktemp("converter") / "converter.safetensors"
    save_converter(ConverterNetwork(config), path, {})
    return path


def convert(shards, out, converter, *more: str) -> int:
    folders = ["--data", str(shards), "--out", str(out), "--converter", str(converter)]
    return main(["convert", "--from", "sa1b", *folders, "--device", "cpu", *more])


def test_shards_to_mattes(shards, tmp_path, converter, capsys, contents):
    out = tmp_path / "mattes"
    limits = ["--workers", "1", "--min-predicted-iou", "0.88", "--max-per-image", "2"]
    assert convert(shards, out, converter, *limits) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "3 converted" in captured.err and "images/s" in captured.err
    manifest = json.loads((out / "sa_000000.done.json").read_text())
    assert manifest["converter"]["name"] == "converter.safetensors" and len(manifest["converter"]["sha256"]) == 64
    assert manifest["settings"]["selection"]["min_predicted_iou"] == 0.88
    with tarfile.open(out / "sa_000000.tar") as tar:
        assert any(name.endswith(".png") for name in tar.getnames())
    assert all((m.alphas > 0.5).any((1, 2)).all() for m in MatteShards(out, shards))
    before = contents(out)
    assert convert(shards, out, converter, *limits) == 0
    assert "3 done before" in capsys.readouterr().err
    assert contents(out) == before
    assert convert(shards, out, converter, "--workers", "1") == 1
    assert "another settings" in capsys.readouterr().err


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(shards, tmp_path, converter, contents):
    assert convert(shards, tmp_path / "one", converter, "--workers", "1") == 0
    assert convert(shards, tmp_path / "two", converter, "--workers", "2") == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_faults_are_told(tmp_path, sa1b, tar, converter, capsys):
    files = sa1b(1, 2, seed=0)
    files["sa_1.jpg"] = files["sa_1.jpg"][:200]
    assert convert(tar(tmp_path / "sa.tar", files), tmp_path / "out", converter, "--workers", "1") == 0
    assert "passed over: 1 unreadable picture" in capsys.readouterr().err


def test_misuse(shards, tmp_path, converter, capsys):
    out = tmp_path / "out"
    assert convert(tmp_path / "absent", out, converter) == 2
    assert convert(shards, out, tmp_path / "absent.safetensors") == 2
    assert convert(shards, out, converter, "--workers", "0") == 2
    assert convert(shards, out, converter, "--address", "head:6379") == 2
    assert convert(tmp_path / "sa1b", out, shards / "sa_000000.tar") == 1  # no converter
    assert convert(tmp_path, out, converter) == 1  # no shards
    err = capsys.readouterr().err
    assert "--engine ray" in err and "not a label converter" in err and "holds no SA-1B shard" in err
    assert not out.exists()
