"""Batches: processes that agree, runs that are interrupted or killed, runs that go on."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.cli import parse
from inpaint.cli.command import main
from zim_plugins.cli.runtime import run

pytest.importorskip("patchmatch")

COMMAND = [sys.executable, "-W", "error::UserWarning", "-c", "from inpaint.cli import entrypoint; entrypoint()"]


def cli(arguments: list[str]) -> int:
    """What `zim-inpaint` does with these arguments."""
    return run(main, parse(arguments), package="inpaint")


@pytest.fixture
def images(scene, tmp_path: Path) -> Path:
    """A list of six images with masks, and one that is broken."""
    rows = []
    for number in range(6):
        PIL.Image.fromarray(np.roll(scene.image, 3 * number, axis=1)).save(tmp_path / f"{number}.png")
        alpha = np.roll(scene.alpha, 3 * number, axis=1)
        PIL.Image.fromarray((alpha * 255 + 0.5).astype(np.uint8)).save(tmp_path / f"m{number}.png")
        rows.append({"image": f"{number}.png", "mask": f"m{number}.png"})
    (tmp_path / "broken.png").write_bytes(b"nothing")
    rows.insert(1, {"image": "broken.png", "mask": "m0.png"})
    path = tmp_path / "list.json"
    path.write_text(json.dumps(rows))
    return path


def start(images: Path, out: str, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, "--list", str(images), "--out", str(images.parent / out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts what it runs in the background with the signal ignored, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def contents(folder: Path) -> dict[str, bytes]:
    """All files but hidden ones; each is a whole image."""
    found = {path.name: path.read_bytes() for path in folder.glob("*") if path.name[0] != "."}
    for name in found:
        with PIL.Image.open(folder / name) as image:
            image.load()
    return found


def wait_for_files(folder: Path, process: subprocess.Popen) -> None:
    limit_s = time.monotonic() + 120
    while len(list(folder.glob("*_removed.png"))) < 2:
        assert process.poll() is None and time.monotonic() < limit_s
        time.sleep(0.01)


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_say_it_in_the_same_order(images) -> None:
    told = {}
    for jobs in ("1", "2"):
        process = start(images, jobs, "--jobs", jobs, "--json")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 1, err
        assert "broken.png is not an image" in err and "1 of 7 images failed" in err
        records = [json.loads(line) for line in out.splitlines()]
        for record in records:
            record.pop("seconds", None)
            record["files"] = [Path(path).name for path in record.get("files", {}).values()]
        told[jobs] = records
    assert told["1"] == told["2"]
    one, two = (contents(images.parent / jobs) for jobs in ("1", "2"))
    assert len(one) == 18 and one == two


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupted_runs_leave_whole_files_and_go_on(jobs, images) -> None:
    out = images.parent / "out"
    process = start(images, "out", "--jobs", jobs)
    wait_for_files(out, process)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to all processes of the terminal
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "interrupted" in err and "Traceback" not in err
    assert [path.name for path in out.glob(".*")] == [".zim-records"], "temporary files are left"
    before = contents(out)
    assert before and len(before) % 3 == 0  # no image has a part of its results
    process = start(images, "out", "--no-overwrite")
    assert process.communicate(timeout=300) and process.returncode == 1
    after = contents(out)
    assert len(after) == 18 and all(after[name] == content for name, content in before.items())


@pytest.mark.slow
def test_killed_runs_leave_whole_files_and_no_worker(images) -> None:
    out = images.parent / "out"
    process = start(images, "out", "--jobs", "2")
    wait_for_files(out, process)
    process.kill()
    process.communicate(timeout=60)  # returns once the workers too have let go of the pipes
    contents(out)


@pytest.mark.parametrize("kind", ["alpha", "hole", "removed"])
@pytest.mark.parametrize("out", [".", "{folder}", "sub/.."])
def test_inputs_are_never_overwritten(scene, tmp_path: Path, monkeypatch, capsys, kind: str, out: str) -> None:
    """A mask that is called as a result would be is not replaced by it: exit 2, nothing done."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    PIL.Image.fromarray(scene.image).save("photo.png")
    mask = Path(f"photo_{kind}.png")
    PIL.Image.fromarray((scene.alpha * 65535).astype(np.uint16)).save(mask)
    before = mask.read_bytes()
    assert cli(["photo.png", "--mask", str(mask), "--out", out.format(folder=tmp_path)]) == 2
    assert "would be written over the input" in capsys.readouterr().err
    assert mask.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["photo.png", mask.name, "sub"]
    assert cli(["photo.png", "--mask", str(mask), "--out", "results", "--backend", "patchmatch"]) == 0
