"""The committed measurements meet the bars, and the shipped checkpoint is the measured one."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
WEIGHTS = ROOT / "zim_plugins/core/weights/zim_tiny.safetensors"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib comes with Python 3.11")
def test_every_bar_is_met_by_its_committed_result() -> None:
    import tomllib

    bars = tomllib.loads((BENCHMARKS / "bars.toml").read_text())["bar"]
    assert bars
    for bar in bars:
        value = json.loads((BENCHMARKS / "results" / bar["result"]).read_text())
        for part in bar["key"].split(" / "):
            value = value[part]
        assert bar.get("at_least", -float("inf")) <= value <= bar.get("at_most", float("inf")), bar["name"]


def test_results_say_where_they_come_from() -> None:
    for path in (BENCHMARKS / "results").glob("*.json"):
        record = json.loads(path.read_text())
        assert {"what", "model", "commit", "date", "machine", "versions"} <= record.keys(), path.name


def test_the_shipped_checkpoint_is_small_and_is_the_measured_one() -> None:
    assert WEIGHTS.stat().st_size <= 16_000_000
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert json.loads((BENCHMARKS / "results/validation.json").read_text())["sha256"] == digest
    assert digest[:16] in WEIGHTS.with_suffix(".md").read_text()
