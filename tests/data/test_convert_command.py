import json
import logging
import tarfile

import pytest
import torch

from zim_plugins.cli import main
from zim_plugins.data.sa1b_matte import MatteShards


@pytest.fixture(autouse=True)
def _leave_the_process_alone():
    root, threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    torch.set_num_threads(threads)


@pytest.fixture
def converter(small_converter):
    return small_converter


def convert(shards, out, converter, *more: str, source: str = "sa1b") -> int:
    folders = ["--data", str(shards), "--out", str(out), "--converter", str(converter)]
    return main(["convert", "--from", source, *folders, "--device", "cpu", *more])


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
    assert "passed over: 1 unreadable image" in capsys.readouterr().err


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


def test_folder_of_masks(write, tmp_path, converter, capsys):
    """Exit code 1 as long as something of the input is passed over."""
    write("rgb", *(f"in/images/{k}.jpg" for k in range(3)))
    write("mask", *(f"in/masks/cat_{k}.png" for k in range(3)))
    good = (tmp_path / "in/images/1.jpg").read_bytes()
    (tmp_path / "in/images/1.jpg").write_bytes(good[:200])
    out, more = tmp_path / "out", ["--workers", "1", "--min-area-share", "0.01"]
    assert convert(tmp_path / "in", out, converter, *more, source="objects") == 1
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "images: 3 converted" in captured.err and "1 unreadable image" in captured.err
    assert "images/s" in captured.err and "masks/s" in captured.err
    (tmp_path / "in/images/1.jpg").write_bytes(good)
    assert convert(tmp_path / "in", out, converter, *more, source="objects") == 0
    assert "1 converted, 2 done before" in capsys.readouterr().err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"]["selection"]["min_area_share"] == 0.01
    assert len(manifest["converter"]["sha256"]) == 64 and len(list((out / "mattes").iterdir())) == 3


def test_misuse_of_folders(write, tmp_path, converter, capsys):
    write("rgb", "in/images/1.jpg")
    out = tmp_path / "out"
    assert convert(tmp_path / "in", out, converter, source="nosuch") == 2
    assert convert(tmp_path / "in", out, converter, "--split", "val", source="objects") == 2
    assert convert(tmp_path / "in", out, converter, "--min-predicted-iou", "0.9", source="objects") == 2
    assert convert(tmp_path / "in", out, converter, "--split", "val") == 2
    assert convert(tmp_path / "in", out, converter, source="objects") == 1  # no masks
    err = capsys.readouterr().err
    assert "known are" in err and "has no split 'val'" in err and "not laid out as objects" in err
    assert not out.exists()
