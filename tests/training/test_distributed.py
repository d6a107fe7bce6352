"""Several processes: the losses of one, one set of files, and checkpoints that any number of processes reads."""

import dataclasses
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.one_of_two import CONFIG, RECIPE, STEPS, Losses, trained
from zim_plugins.core.modeling.zim import load_weights
from zim_plugins.label_converter.samples.batches import ConverterSource
from zim_plugins.training.distributed import Processes, Share, join_processes
from zim_plugins.training.samples.library import Library
from zim_plugins.training.samples.source import SampleSource


@pytest.mark.parametrize("make", [SampleSource, ConverterSource])
def test_every_row_is_somebody_s(library: Library, make: type[SampleSource] | type[ConverterSource]) -> None:
    whole = make(library, 32, batch_size=6, seed=3).batch(5)
    parts = [make(library, 32, batch_size=6, seed=3, share=Share(rank, 3)).batch(5) for rank in range(3)]
    for field in dataclasses.fields(whole):
        joined = torch.cat([getattr(part, field.name) for part in parts])
        assert torch.equal(joined, getattr(whole, field.name)), field.name
    with pytest.raises(ValueError, match="a batch of 6 images does not divide among 4 processes"):
        make(library, 32, batch_size=6, share=Share(0, 4)).batch(0)


def test_one_process_is_not_several(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_processes(None, "cpu") as (processes, device):
        assert (processes.leads, processes.share.world, device) == (True, 1, "cpu")
    with pytest.raises(ValueError, match="torchrun"), join_processes("fsdp", "cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="not on mps"), join_processes(None, "mps"):
        pass


def test_batch_norms_on_cpus_are_told_of(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        Processes(Share(0, 2)).prepared(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.LayerNorm(4)))
        assert not caplog.records
        Processes(Share(0, 2)).prepared(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)))
    assert "1 batch norms see the rows of their own process only, 1 in 2" in caplog.text


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, list[dict]]:
    """The folder of two processes' runs, and what each saw."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "tests.training.one_of_two", str(folder)]
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen(
            command,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=600)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [p.returncode for p in started] == [0, 0], "\n".join(told)
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Losses:
    """One process with the whole batch."""
    return trained(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_give_the_losses_of_one(two, alone: Losses, parallel: str) -> None:
    _, seen = two
    assert len(alone.seen) == STEPS
    for own in seen:
        assert own["world"] == 2
        for ours, one in zip(own[parallel], alone.seen, strict=True):
            assert ours == pytest.approx(one, rel=1e-5, abs=1e-6)
    assert len({round(s["loss"], 5) for s in alone.seen}) == STEPS  # it is not a constant that agrees


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_continue_exactly(two, parallel: str) -> None:
    folder, seen = two
    for own in seen:
        assert own[f"{parallel}_resumed"] == own[parallel]
    runs = (parallel, f"{parallel}_parts")
    whole, parts = (torch.load(folder / run / "last.pt", weights_only=True) for run in runs)
    for key, value in whole["average"].items():
        assert torch.equal(value, parts["average"][key]), key


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_process_reads_what_two_wrote(two, tmp_path: Path, library, parallel: str) -> None:
    from zim_plugins.training.loop import Trainer

    folder, _ = two
    zim, metadata = load_weights(folder / parallel / "best.safetensors")
    assert (zim.config, metadata["step"]) == (CONFIG, str(STEPS))
    longer = dataclasses.replace(RECIPE, stages=(dataclasses.replace(RECIPE.stages[0], steps=STEPS + 1),))
    shutil.copytree(folder / parallel, tmp_path / "run")
    trainer = Trainer(longer, longer.settings.task(library, None, longer.seed), tmp_path / "run")
    assert trainer.resume()
    trainer.run()
    assert trainer.step == STEPS + 1


def test_one_process_writes(two) -> None:
    folder, seen = two
    log = [json.loads(line) for line in (folder / "ddp" / "log.jsonl").read_text().splitlines()]
    steps = [r["step"] for r in log if "loss" in r]
    assert steps == list(range(1, STEPS + 1))
    assert sum("held_out_iou" in r for r in log) == 1
    assert len(seen[0]["batch_norm"]) == 1
