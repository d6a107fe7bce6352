import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zim_plugins.data.conversion.engine import convert_dataset
from zim_plugins.data.conversion.locks import CLAIMS
from zim_plugins.data.conversion.matte_folder import convert_folder
from zim_plugins.data.conversion.shard_job import Selection
from zim_plugins.data.faults import DataError
from zim_plugins.imaging.files import temporary_name

SCRIPT = Path(__file__).parent / "fake_converter.py"
ROOT = Path(__file__).parents[2]


def start(source, out, *, workers=1, delay_s=0.0, dataset: str | None = None) -> subprocess.Popen:
    """A conversion in a process of its own, about to begin; of shards where no data set is named."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(source), str(out), str(workers), str(delay_s)]
    command += [] if dataset is None else [dataset]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def wait_until_ready(process) -> None:
    assert process.stdout.readline() == "ready\n"


def finish(process) -> dict[str, int]:
    answer = process.stdout.read().removeprefix("ready\n")
    assert process.wait() == 0
    process.stdout.close()
    return json.loads(answer)


@pytest.fixture
def undisturbed(shards, tmp_path, blur_maker, contents) -> dict[str, bytes]:
    convert_dataset(shards, tmp_path / "undisturbed", blur_maker(), progress=False)
    return contents(tmp_path / "undisturbed")


def test_all_shards(shards, tmp_path, blur_maker, contents):
    summary = convert_dataset(shards, tmp_path / "out", blur_maker(), progress=False)
    assert summary.shards == {"done before": 0, "converted": 3}
    assert summary.counts["images"] == 12 and summary.counts["mattes"] + summary.counts["equal_to_mask"] == 36
    names = [f"sa_00000{k}{suffix}" for k in range(3) for suffix in (".done.json", ".tar")]
    assert sorted(contents(tmp_path / "out")) == names


def test_again_does_nothing(shards, tmp_path, blur_maker):
    convert_dataset(shards, tmp_path / "out", blur_maker(), progress=False)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}

    def no_converter(worker: int):
        pytest.fail("no converter is needed")

    assert convert_dataset(shards, tmp_path / "out", no_converter, progress=False).shards["done before"] == 3
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def test_lost_shard_is_made_again(shards, tmp_path, blur_maker, undisturbed, contents):
    out = tmp_path / "undisturbed"
    (out / "sa_000001.tar").unlink()
    (out / "sa_000002.done.json").unlink()
    temporary_name(out / "sa_000002.tar").write_bytes(b"what a killed run left")
    summary = convert_dataset(shards, out, blur_maker(), progress=False)
    assert summary.shards["converted"] == 2
    assert contents(out) == undisturbed


def test_processes_give_the_same_bytes(shards, tmp_path, blur_maker, undisturbed, contents, capfd):
    summary = convert_dataset(shards, tmp_path / "out", blur_maker(), workers=2, progress=True)
    assert summary.shards["converted"] == 3
    assert contents(tmp_path / "out") == undisturbed
    shown = capfd.readouterr().err
    assert "images/s" in shown and "masks/s" in shown and "100%" in shown


def test_other_settings_are_refused_before_any_work(shards, tmp_path, blur_maker, undisturbed):
    with pytest.raises(DataError, match="another settings"):
        convert_dataset(shards, tmp_path / "undisturbed", blur_maker(), selection=Selection(max_per_image=1))


def test_failing_shard_does_not_stop_the_others(shards, tmp_path, blur_maker):
    convert = blur_maker()(0)

    def make(worker: int):
        def fragile(image, masks):
            if fragile.images == 5:  # in the second shard
                fragile.images += 1
                raise RuntimeError("out of memory")
            fragile.images += 1
            return convert(image, masks)

        fragile.images = 0
        return fragile

    summary = convert_dataset(shards, tmp_path / "out", make, progress=False)
    assert summary.shards == {"done before": 0, "converted": 2, "failed": 1}
    assert summary.failures == ["sa_000001: out of memory"]
    assert convert_dataset(shards, tmp_path / "out", make, progress=False).shards["converted"] == 1


def test_disk_that_refuses_is_no_fault_of_the_data(shards, tmp_path, blur_maker, monkeypatch):
    """What cannot be read now is not passed over: the shard is not done, and made by the next run."""

    def refuse(path, part):
        raise OSError("Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("zim_plugins.data.readers.sa1b.read_member", refuse)
        summary = convert_dataset(shards, tmp_path / "out", blur_maker(), progress=False)
    assert summary.shards["failed"] == 3 and not summary.faults
    assert convert_dataset(shards, tmp_path / "out", blur_maker(), progress=False).shards["converted"] == 3


def test_worker_without_a_converter(shards, tmp_path, blur_maker):
    import fake_converter

    with pytest.raises(DataError, match="a worker process died"):
        convert_dataset(shards, tmp_path / "out", fake_converter.no_converter, workers=2, progress=False)


def test_corrupt_tar_among_others(shards, tmp_path, blur_maker, undisturbed, contents):
    path = shards / "sa_000001.tar"
    path.write_bytes(path.read_bytes()[:3000])
    summary = convert_dataset(shards, tmp_path / "out", blur_maker(), progress=False)
    assert summary.faults["corrupt tar"] == 1
    found = contents(tmp_path / "out")
    for name in ("sa_000000.tar", "sa_000000.done.json", "sa_000002.tar", "sa_000002.done.json"):
        assert found[name] == undisturbed[name]


def test_same_name_twice(tmp_path, sa1b, tar, blur_maker):
    tar(tmp_path / "in/sa_1.tar", sa1b(1, 1, seed=0))
    (tmp_path / "in/sa_1").mkdir()
    (tmp_path / "in/sa_1/sa_1.json").write_text("{}")
    with pytest.raises(DataError, match="same name"):
        convert_dataset(tmp_path / "in", tmp_path / "out", blur_maker(), progress=False)


def kill_and_resume(
    shards, out, *, kills: int, workers: int, delay_s: float, rng: random.Random, dataset: str | None = None
) -> int:
    """Kill -9 at random moments until so many kills hit, then let it finish; answers with kills that hit."""
    hits = attempts = 0
    longest_s = 14 * delay_s
    while hits < kills and attempts < 3 * kills:
        attempts += 1
        process = start(shards, out, workers=workers, delay_s=delay_s, dataset=dataset)
        wait_until_ready(process)
        time.sleep(rng.uniform(0, longest_s))
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        hits += running
        if not running:  # it was through: some of the work is undone, and the next kill comes sooner
            longest_s *= 0.8
            for path in sorted(out.glob("*.done.json" if dataset is None else "done/*.json"))[: rng.randint(1, 4)]:
                path.unlink()
    deadline = time.monotonic() + 60
    while finish(start(shards, out, workers=workers, dataset=dataset)).get("elsewhere") and time.monotonic() < deadline:
        time.sleep(0.2)  # workers of the killed run are on their way out
    return hits


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments(shards, tmp_path, undisturbed, contents, workers):
    rng = random.Random(workers)
    kills = 3 if workers == 1 else 1
    assert kill_and_resume(shards, tmp_path / "out", kills=kills, workers=workers, delay_s=0.05, rng=rng) == kills
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_twenty_times(shards, tmp_path, undisturbed, contents, workers):
    rng = random.Random(20 + workers)
    assert kill_and_resume(shards, tmp_path / "out", kills=20, workers=workers, delay_s=0.05, rng=rng) == 20
    assert contents(tmp_path / "out") == undisturbed


def test_two_runs_share_the_work(shards, tmp_path, undisturbed, contents):
    runs = [start(shards, tmp_path / "out", delay_s=0.1) for _ in range(2)]
    answers = [finish(run) for run in runs]
    assert sum(a.get("converted", 0) for a in answers) == 3  # nothing twice
    found = contents(tmp_path / "out")
    assert {n: c for n, c in found.items() if not n.startswith(CLAIMS)} == undisturbed


@pytest.mark.slow
def test_ray_gives_the_same_bytes(shards, tmp_path, blur_maker, undisturbed, contents):
    pytest.importorskip("ray")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{SCRIPT.parent}", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    code = (
        "import sys; from pathlib import Path; from fake_converter import BlurMaker; "
        "from zim_plugins.data.conversion.engine import convert_dataset; "
        "summary = convert_dataset(*map(Path, sys.argv[1:]), BlurMaker(), engine='ray', workers=1, progress=False); "
        "print(dict(summary.shards))"
    )
    command = [sys.executable, "-c", code, str(shards), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'converted': 3" in done.stdout
    assert contents(tmp_path / "out") == undisturbed


@pytest.fixture
def folder(write, tmp_path):
    """Four images with three masks each, and what an undisturbed conversion makes of them."""
    write("rgb", *(f"objects/images/{k}.png" for k in range(4)))
    write("mask", *(f"objects/masks/{kind}_0_{k}.png" for k in range(4) for kind in ("cat", "cup", "hat")))
    return tmp_path / "objects"


@pytest.mark.parametrize(
    ("workers", "kills"),
    [(1, 3), (2, 1), pytest.param(1, 20, marks=pytest.mark.slow), pytest.param(2, 20, marks=pytest.mark.slow)],
)
def test_folder_killed_at_random_moments(folder, tmp_path, blur_maker, contents, workers, kills):
    convert_folder("objects", folder, tmp_path / "calm", blur_maker(), progress=False)
    rng, out = random.Random(workers), tmp_path / "out"
    hits = kill_and_resume(folder, out, kills=kills, workers=workers, delay_s=0.1, rng=rng, dataset="objects")
    assert hits == kills
    assert contents(out) == contents(tmp_path / "calm")


def test_what_a_kill_left_beside_the_manifest_goes(folder, tmp_path, blur_maker, contents):
    out = tmp_path / "out"
    convert_folder("objects", folder, out, blur_maker(), progress=False)
    before = contents(out)
    temporary_name(out / "manifest.json").write_bytes(b"{")
    temporary_name(out / "index.jsonl").write_bytes(b"{")
    convert_folder("objects", folder, out, blur_maker(), progress=False)
    assert contents(out) == before
