"""The script for the day a GPU is at hand, walked on a CPU: no minute of a GPU is to be spent on a typing error."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.tiny_pack import write_tiny_pack

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_day.py"


def run(out: Path, *options: str) -> tuple[int, list[dict], str]:
    """Exit status, rows and messages of the script, started away from the source tree."""
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick", "--out", str(out), *options]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=960, check=False)
    path = out / "gpu_day.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return done.returncode, rows, done.stderr


@pytest.mark.slow
def test_dry_run_walks_every_step(tmp_path: Path):
    pack = write_tiny_pack(tmp_path / "data")
    code, rows, messages = run(tmp_path, "--packs", str(pack), "--budget-s", "900")
    assert code == 0, messages
    assert not [r for r in rows if "error" in r or "skipped" in r]
    assert (tmp_path / "zim_tiny/state.pt").is_file()
    names = " | ".join(r["what"] for r in rows)
    for part in (
        "parity zim_tiny fp16",
        "matrix product bf16",
        "encode 8",
        "16 clicks",
        "decoder alone",
        "training step",
    ):
        assert part in names
    for part in ("conversion", "pytest -m gpu", "image and click to matte", "splats, a view", "training of zim_tiny"):
        assert part in names
    assert all(r["commit"] and r["device"] and r["torch"] for r in rows)


def test_spent_budget_skips_with_a_word(tmp_path: Path):
    code, rows, _ = run(tmp_path, "--budget-s", "0", "--steps", "parity,training")
    assert code == 0
    assert [(r["what"], r["skipped"]) for r in rows] == [
        ("parity", "the budget is spent"),
        ("training", "the budget is spent"),
    ]


def test_step_that_outlasts_the_budget_is_interrupted(tmp_path: Path):
    began = time.perf_counter()
    _, rows, _ = run(tmp_path, "--budget-s", "0.2", "--steps", "parity,decode")
    assert rows[-1]["skipped"] == "the budget is spent"
    assert any(r.get("skipped") == "interrupted: the budget is spent" for r in rows)
    assert time.perf_counter() - began < 60


def test_steps_stand_alone_and_unknown_ones_are_refused(tmp_path: Path):
    code, rows, messages = run(tmp_path, "--steps", "training")
    assert code == 0, messages
    assert rows[0]["seconds"] > 0
    assert rows[0]["share_of_matmul"] is None
    code, _, messages = run(tmp_path, "--steps", "trainig")
    assert code == 2
    assert "trainig" in messages


def test_failing_device_tests_fail_the_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu_day

    bench = gpu_day.Bench("cpu", quick=True)
    for code, out, bad in ((1, "1 failed", True), (4, "", True), (0, "4 skipped", False)):
        done = subprocess.CompletedProcess([], code, out, "")
        monkeypatch.setattr(gpu_day.subprocess, "run", lambda *a, done=done, **k: done)
        (row,) = gpu_day.gpu_tests(bench)
        assert ("error" in row) == bad
    (row,) = gpu_day.gpu_tests(gpu_day.Bench("cuda", quick=True))
    assert row["error"] == "no test ran on the device"  # exit 0, and all of them skipped


def test_share_counts_the_formula_not_the_fused_kernel(monkeypatch: pytest.MonkeyPatch):
    """SAM's ViT-B needs about 0.96 TFLOP for an image; the fused attention's widened heads would make it 1.38."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu_day

    assert gpu_day.Bench("cpu", quick=True).formula_flops("vit_b", 1) == pytest.approx(0.962e12, rel=0.01)
