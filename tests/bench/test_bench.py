"""The benchmark program measures what it says, goes on where it stopped, and tells what it could not run."""

import json
import subprocess
import sys
import time

import pytest
import torch

from zim_plugins.bench import run
from zim_plugins.bench.cases import CASES, SUITES, BenchSettings, _decode_floor, _encode_floor
from zim_plugins.bench.machine import PEERS, STATUS, matrix_product, memory_copy
from zim_plugins.bench.row import OURS, Floor, Row, count_flops
from zim_plugins.bench.table import markdown
from zim_plugins.bench.timing import alternate
from zim_plugins.cli import main
from zim_plugins.core.modeling.zim import ZIM_CONFIGS
from zim_plugins.evaluation.provenance import describe_process


def busy(cpu_s: float) -> None:
    """Work for that much processor time, whatever else the machine does."""
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


def test_calls_are_timed_in_turns():
    order = []

    def call(name: str, seconds: float):
        order.append(name)
        time.sleep(seconds)

    calls = {"a": lambda: call("a", 0.02), "b": lambda: call("b", 0.05)}
    timings = alternate(calls, "cpu", budget_s=10.0, most=3)
    assert order == ["a", "b"] * 4
    assert timings["a"].to_json()["runs"] == 3
    assert 0.02 <= timings["a"].to_json()["median_s"]
    assert 0.05 <= timings["b"].to_json()["least_s"]
    assert timings["b"].to_json()["cpu_median_s"] < 0.05  # asleep is not at work


def test_budget_ends_the_rounds():
    timings = alternate({"a": lambda: time.sleep(0.05)}, "cpu", budget_s=0.0, warm_up=False)
    assert len(timings["a"].seconds) == 1


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux forgets a peak")
def test_peak_memory_sees_a_large_array():
    """In a fresh process: one that has freed much may hold on to it, and then a large array needs nothing more."""
    code = (
        "import torch; from zim_plugins.bench.machine import peak_mb, reset_peak; reset_peak('cpu'); "
        "before = peak_mb('cpu'); array = torch.ones(64 << 20, dtype=torch.uint8); print(peak_mb('cpu') - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 50 < float(done.stdout) < 200


def test_floor_is_a_share_and_peers_are_ratios():
    calls = {OURS: lambda: busy(0.02), "twice": lambda: busy(0.04), "absent": "not installed"}
    record = Row("product", calls, Floor(1e9, 12.0), budget_s=0.5).measure("cpu")
    assert record["times_as_fast_as_by_cpu"]["twice"] == pytest.approx(2, rel=0.2)
    floor = record["floor"]
    assert floor["seconds"] == pytest.approx(1 / floor["matmul_gflop_per_second"])
    assert floor["share_reached"] == pytest.approx(floor["seconds"] / record["timings"][OURS]["median_s"])
    assert record["skipped"] == {"absent": "not installed"}
    table = markdown({"cases": {"one": {"rows": [record]}}})
    assert "| product |" in table
    assert "not run: absent (not installed)" in table


def test_the_machine_s_work_is_what_it_says():
    product, copied = matrix_product("cpu", torch.float32), memory_copy("cpu")
    assert count_flops(product.call) == product.amount
    assert copied.call().nbytes == copied.amount / 2


def test_a_slow_call_is_timed_often_enough():
    assert len(alternate({"a": lambda: None}, "cpu", budget_s=0.0, least=3)["a"].seconds) == 3


def test_operations_of_the_encoder_are_those_of_its_formula():
    """Linear layers by hand: they are most of the work of ViT-B; 12 blocks of 12 d^2 weights on 4096 tokens."""
    linear = 2.0 * 12 * 4096 * 12 * 768**2
    flops = _encode_floor(ZIM_CONFIGS["vit_b"], 1).flops
    assert linear < flops < 1.5 * linear
    assert _encode_floor(ZIM_CONFIGS["tiny"], 8).flops == pytest.approx(8 * _encode_floor(ZIM_CONFIGS["tiny"], 1).flops)
    one, four = (_decode_floor(ZIM_CONFIGS["tiny"], n).flops for n in (1, 4))
    assert 3.5 < four / one <= 4.0


def test_every_case_of_a_suite_exists():
    for names in SUITES.values():
        assert set(names) <= set(CASES)


def test_a_run_is_continued_and_written_after_every_case(monkeypatch, tmp_path, capsys):
    asked = []

    def pretend(name: str, **how):
        asked.append(name)
        if name == "everything":
            raise RuntimeError("it broke")
        return {"rows": [Row(name, {OURS: lambda: None}, budget_s=0).measure("cpu")]}

    monkeypatch.setattr(run, "run_case", pretend)
    out = tmp_path / "deep" / "speed.json"
    assert main(["bench", "tiny", "everything", "vit_l", "--device", "cpu", "--out", str(out)]) == 1
    record = json.loads(out.read_text())
    assert list(record["cases"]) == ["tiny", "vit_l"]
    assert {"what", "model", "commit", "date", "machine", "versions"} <= record.keys()
    assert main(["bench", "tiny", "vit_l", "--device", "cpu", "--out", str(out)]) == 0
    assert asked == ["tiny", "everything", "vit_l"]
    assert "| vit_l |" in capsys.readouterr().out
    assert [p.name for p in out.parent.iterdir()] == ["speed.json"]


@pytest.mark.parametrize("arguments", [["nonsense"], ["--threads", "0"]])
def test_misuse_is_told(arguments, tmp_path):
    assert main(["bench", *arguments, "--device", "cpu", "--out", str(tmp_path / "x.json")]) == 2


def test_a_strange_record_is_not_overwritten(tmp_path):
    path = tmp_path / "notes.json"
    path.write_text("[1]")
    assert main(["bench", "tiny", "--device", "cpu", "--out", str(path)]) == 2
    assert path.read_text() == "[1]"


@pytest.mark.slow
def test_work_runs():
    rows = {row.name: row.measure("cpu") for row in CASES["work"](BenchSettings()) if "training" not in row.name}
    assert {"evaluate one object, zim_tiny", "convert one mask, converter_tiny"} == set(rows)


def test_provenance_names_the_peers():
    versions = describe_process("cpu", packages=PEERS)["versions"]
    assert {"torch", "segment-anything", "zim_anything"} <= versions.keys()
    assert torch.__version__.startswith(versions["torch"])
