"""Packs, scenes drawn on the device, and a run that continues exactly."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.tiny_pack import write_tiny_pack
from zim_plugins.training.packed.prompts import draw_prompts, tight_boxes
from zim_plugins.training.packed.scenes import SceneSampler, read_packs
from zim_plugins.training.packed.train import main as train_main


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of 24 objects and 24 cut-outs."""
    return write_tiny_pack(tmp_path_factory.mktemp("data"))


def test_scenes_show_the_object_and_prompts_point_at_it(pack: Path) -> None:
    train, apart = read_packs([pack], False, "cpu"), read_packs([pack], True, "cpu")
    assert len(train.names) + len(apart.names) == 24 and len(apart.names) > 0
    sampler = SceneSampler(train, 5, composites=0.0)
    scenes = sampler.sample(24, 64)
    coords, labels = draw_prompts(sampler, scenes)
    assert scenes.usable.mean() > 0.8
    for i in np.flatnonzero(scenes.usable.numpy()):
        for (x, y), kind in zip(coords[i].tolist(), labels[i].tolist(), strict=True):
            if kind in (0, 1):
                hit = scenes.targets[i, int(y), int(x)]
                assert hit > 0.3 if kind == 1 else hit < 0.05
    assert (scenes.valid <= scenes.inside).all() and 0 < scenes.valid.mean() < scenes.inside.mean()
    mixed = SceneSampler(train, 5, composites=1.0).sample(16, 64)
    assert (mixed.edge == 1).all() and mixed.targets.max() > 0.9 and mixed.usable.mean() > 0.5


def test_boxes_are_tight() -> None:
    mask = torch.zeros(2, 40, 40, dtype=torch.bool)
    mask[0, 3:9, 5:30] = True
    assert tight_boxes(mask).tolist() == [[5, 3, 30, 9], [0, 0, 0, 0]]


def test_a_run_without_an_end_is_refused_before_anything_is_read(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--packs", "absent.zip", "--out", "absent"])
    with pytest.raises(SystemExit, match="2"):
        train_main()
    assert "--steps N, or --seconds S" in capsys.readouterr().err
    assert not Path("absent").exists()


@pytest.mark.slow
def test_a_stopped_run_continues_as_if_it_had_not_been(pack: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zim_plugins.training.packed.train", "--packs", str(pack), "--device", "cpu"]
    command += ["--random-trunk", "--phases", "try", "--seed", "3"]

    def run(out: str, *more: str) -> None:
        subprocess.run([*command, "--out", str(tmp_path / out), *more], check=True, capture_output=True)

    run("whole", "--steps", "4", "--check-every", "99")
    run("parts", "--steps", "4", "--check-every", "2", "--stop-after-seconds", "0.001")
    first = torch.load(tmp_path / "parts/state.pt", weights_only=False)["step"]
    assert first < 4
    run("parts", "--check-every", "99", "--resume")
    whole, parts = (torch.load(tmp_path / n / "state.pt", weights_only=False) for n in ("whole", "parts"))
    for key, value in whole["model"].items():
        torch.testing.assert_close(parts["model"][key], value, atol=1e-6, rtol=1e-5)
    assert json.loads((tmp_path / "whole/log.jsonl").read_text().splitlines()[-1])
