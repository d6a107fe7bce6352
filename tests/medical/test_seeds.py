"""Several prompt seeds: what is random is drawn again, the rest is not, and the spread is told."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from medical.cli import Args
from medical.protocol.clickers import PixelClick
from medical.protocol.jitter import jitter_click
from medical.protocol.models import PromptedModel
from medical.protocol.prompt_modes import pop_prompt
from medical.report.aggregate import POOLED, with_pooled
from medical.report.seeds import first_seed, seed_lines
from medical.run import run
from tests.medical.test_tables import row
from tests.medical.whole_runs import AnyOrder, config_of, table
from zim_plugins.core import ImagePredictor


def test_each_seed_is_the_run_with_that_seed_and_the_spread_is_theirs(folder_set: Path, tmp_path: Path, call) -> None:
    pytest.importorskip("matplotlib")
    args = Args(data=str(folder_set), models="m", prompts="point,box", no_surfaces=True, save="none", box_jitter=4,
                click_jitter=5, groups="cases")  # fmt: skip
    assert call(dataclasses.replace(args, seeds=3, seed=4, out=str(tmp_path / "all"))) == 0
    rows = table(tmp_path / "all/cases.csv")
    assert {r["seed"] for r in rows} == {"4", "5", "6"} and len(rows) == 3 * 2 * 7
    assert call(dataclasses.replace(args, seed=5, out=str(tmp_path / "one"))) == 0
    alone = table(tmp_path / "one/cases.csv")
    key = ("case", "prompt")
    assert {tuple(r[k] for k in key): r["iou"] for r in rows if r["seed"] == "5"} == {
        tuple(r[k] for k in key): r["iou"] for r in alone
    }
    spread = {line["prompt"]: line for line in table(tmp_path / "all/seeds.csv")}
    means = [np.mean([float(r["iou"]) for r in rows if (r["seed"], r["prompt"]) == (s, "mode5")]) for s in "456"]
    assert float(spread["mode5"]["sd"]) == pytest.approx(np.std(means, ddof=1), abs=1e-5)
    assert float(spread["mode5"]["min"]) == pytest.approx(min(means), abs=1e-5) and spread["mode5"]["n_seeds"] == "3"
    assert "Spread over prompt seeds" in (tmp_path / "all/report.html").read_text()
    summary = {r["prompt"]: r for r in table(tmp_path / "all/summary.csv") if r["metric"] == "iou"}
    assert summary["mode5"]["n"] == "7" and float(summary["mode5"]["mean"]) == pytest.approx(np.mean(means), abs=1e-5)
    assert not (tmp_path / "one/seeds.csv").exists()


def test_seeds_share_one_encoding_of_each_frame(folder_set: Path, tmp_path: Path) -> None:
    backend = AnyOrder()
    config = config_of(folder_set, tmp_path / "out", prompts=("mode5",))
    trial = dataclasses.replace(config.trial, seeds=4, jitter_px=3)
    run(dataclasses.replace(config, trial=trial), [PromptedModel(ImagePredictor(backend), name="counted")])
    assert backend.encoded == 7


@pytest.mark.parametrize("change", [{"seeds": 2}, {"seeds": 0}, {"click_jitter": -1}])
def test_seeds_of_nothing_random_are_refused(change: dict, folder_set: Path, tmp_path: Path, call) -> None:
    assert call(dataclasses.replace(Args(data=str(folder_set), models="m", out=str(tmp_path / "o")), **change)) == 2


def test_jittered_clicks_stay_near_and_on_the_object(rng: np.random.Generator) -> None:
    mask = np.zeros((30, 30), bool)
    mask[10:14, 10:25] = True
    found = {jitter_click(PixelClick(12, 11, True), mask, 3, rng)[:2] for _ in range(400)}
    assert found == {(x, y) for x in range(10, 16) for y in range(10, 14)}
    assert jitter_click(PixelClick(0, 0, True), mask, 3, rng) == PixelClick(0, 0, True)


def test_pooled_spread_counts_each_data_set_once() -> None:
    rows = [
        row(value + seed / 10, dataset=name, patient=f"p{i}", case=f"c{i}", seed=seed)
        for seed in (0, 1) for name, value, count in (("a", 0.2, 1), ("b", 0.6, 3)) for i in range(count)
    ]  # fmt: skip
    lines = {line["dataset"]: line for line in seed_lines(with_pooled(rows, {"a": "a", "b": "b"}), POOLED)}
    assert (lines[POOLED[0]]["min"], lines[POOLED[0]]["max"]) == (pytest.approx(0.4), pytest.approx(0.5))
    assert len(first_seed(rows)) == 4 and seed_lines(first_seed(rows)) == []


def test_iterated_clicks_are_moved_within_the_error_that_they_correct(folder_set: Path, tmp_path: Path, call) -> None:
    """Each click lies on the mistake of the mask before it, near the steady hand's, and never on a pixel twice."""
    pytest.importorskip("matplotlib")
    args = Args(data=str(folder_set), models="m", prompts="clicks", no_surfaces=True, save="none", max_clicks=5,
                groups="cases")  # fmt: skip
    steady = _clicks_of(dataclasses.replace(args, out=str(tmp_path / "steady")), call)
    moved = _clicks_of(dataclasses.replace(args, click_jitter=3, out=str(tmp_path / "moved")), call)
    again = _clicks_of(dataclasses.replace(args, click_jitter=3, out=str(tmp_path / "again")), call)
    assert moved == again and moved != steady
    other = _clicks_of(dataclasses.replace(args, click_jitter=3, seed=1, out=str(tmp_path / "other")), call)
    assert other != moved
    import PIL.Image

    for case, clicks in moved.items():
        number = int(case.removeprefix("case_")) - 1
        mask = np.asarray(PIL.Image.open(folder_set / "masks" / f"Doe_Jane_{number}.png")) > 0
        first = steady[case][0]
        assert max(abs(clicks[0][0] - first[0]), abs(clicks[0][1] - first[1])) <= 3
        assert len({tuple(click[:2]) for click in clicks}) == len(clicks)
        for x, y, positive in clicks:
            assert mask[y, x] == bool(positive), "a click says what is there"


def _clicks_of(args: Args, call) -> dict[str, list[list[int]]]:
    assert call(args) == 0
    lines = [json.loads(line) for line in (Path(args.out) / "prompts.jsonl").read_text().splitlines()]
    return {line["case"]: [list(c) for c in pop_prompt(line).clicks] for line in lines if line["prompt"] == "clicks"}
