"""Whole runs with a predictor that needs no weights: tables, resume, the encoder's count, and no patient anywhere."""

import csv
import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medical.cli import Args, CheckArgs, check, main
from medical.protocol.models import PromptedModel, load_rival
from medical.protocol.prompt_modes import PixelPrompt
from medical.run import DatasetSpec, parse_spec, run
from tests.conftest import FakePredictor
from tests.core.test_encoding import Minimal
from tests.medical.conftest import save
from tests.medical.whole_runs import CountingBackend, config_of, table
from zim_plugins.cli.runtime import run as command
from zim_plugins.core import ImagePredictor


def test_the_encoder_runs_once_for_each_image(folder_set: Path, tmp_path: Path) -> None:
    backend = CountingBackend()
    model = PromptedModel(ImagePredictor(backend), name="counted")
    tally = run(config_of(folder_set, tmp_path / "out"), [model])
    assert tally.done == 7 and tally.faults == 0
    assert backend.encoded == 7 == model.effort.encodings
    assert backend.decoded == model.effort.prompts == 7 * (1 + 1 + 3), (
        "of one component: a click (mode1, mode2, the first of clicks), a box (mode3 to 5), three further clicks"
    )
    rows = json.loads((tmp_path / "out/rows/plain/case_0001.json").read_text())["rows"]
    assert len(rows) == 5 + 4, "equal prompts are answered once, and all of them told"


def test_three_methods_make_a_predictor(folder_set: Path, tmp_path: Path) -> None:
    model = PromptedModel(Minimal(), name="own")
    tally = run(config_of(folder_set, tmp_path / "out"), [model])
    assert tally.faults == 0 and model.effort.encodings == model.effort.frames == tally.done == 7


def test_a_whole_run_writes_its_report(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("cv2")
    out = tmp_path / "out"
    args = Args(data=str(folder_set), models="m,box,grabcut", prompts="modes,clicks", out=str(out), no_surfaces=True,
                max_clicks=3, groups="cases")  # fmt: skip
    assert call(args) == 0
    names = {p.name for p in out.iterdir()}
    tables = {"rows.csv", "summary.csv", "compare.csv", "curves.csv", "noc.csv", "timing.csv", "summary.json"}
    assert names >= tables | {"prompts.jsonl", "report.json", "report.html", "figures", "overlays", "masks", "mattes"}
    rows = table(out / "rows.csv")
    counts = {m: sum(r["model"] == m for r in rows) for m in ("fake", "box", "grabcut")}
    assert counts == {"fake": 7 * (5 + 3), "box": 7 * 3, "grabcut": 7 * 3}, "baselines take boxes only"
    for row in rows:
        both, predicted, reference = (int(row[n]) for n in ("n_both", "n_pred", "n_ref"))
        assert float(row["dice"]) == pytest.approx(2 * both / (predicted + reference), abs=1e-6)
    # What is kept is what was measured.
    row = next(r for r in rows if r["model"] == "box" and r["prompt"] == "mode5")
    mask = np.asarray(PIL.Image.open(out / "masks/folder" / row["case"] / "0000_object_box_mode5.png"))
    assert int((mask > 0).sum()) == int(row["n_pred"])
    matte = np.asarray(PIL.Image.open(out / "mattes/folder" / row["case"] / "0000_object_fake_mode5.png"))
    assert len(np.unique(matte)) > 2, "mattes stay soft"
    summary = {(r["model"], r["prompt"]): r for r in table(out / "summary.csv") if r["metric"] == "iou"}
    iou = [float(r["iou"]) for r in rows if r["model"] == "grabcut" and r["prompt"] == "mode5"]
    line = summary["grabcut", "mode5"]
    assert int(line["n"]) == 7 and float(line["mean"]) == pytest.approx(np.mean(iou), abs=1e-5)
    assert float(line["ci_low"]) <= float(line["mean"]) <= float(line["ci_high"])
    nnunet = json.loads((out / "summary.json").read_text())
    assert len(nnunet["metric_per_case"]) == 7
    metrics = nnunet["metric_per_case"][0]["metrics"]["object"]
    assert set(metrics) == {"Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref"}
    assert metrics["TP"] + metrics["FP"] + metrics["FN"] + metrics["TN"] == 40 * 56
    assert set(nnunet) >= {"mean", "foreground_mean"}
    html = (out / "report.html").read_text()
    assert "Research only" in html and "src='http" not in html
    assert html.count("data:image/png") == 3 and html.count("data:image/jpeg") == 6, "figures, and two prompts' ranks"
    assert "Holm" in capsys.readouterr().err


def test_nobodys_name_is_written_or_logged(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    (folder_set / "images" / "Doe_Jane_9.png").write_bytes(b"no picture")
    (folder_set / "masks" / "Doe_Jane_9.png").write_bytes((folder_set / "masks" / "Doe_Jane_1.png").read_bytes())
    out, map_file = tmp_path / "out", tmp_path / "map.tsv"
    args = Args(data=str(folder_set), models="m", out=str(out), no_surfaces=True, write_id_map=str(map_file))
    assert call(args) == 1, "a case could not be read"
    streams = capsys.readouterr()
    assert "case_0008" in streams.err
    for path in out.rglob("*"):
        text = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        assert b"Doe" not in text and b"Jane" not in text and str(folder_set).encode() not in text, path
    assert "Doe" not in streams.err + streams.out
    assert map_file.stat().st_mode & 0o777 == 0o600 and "Doe_Jane_3" in map_file.read_text()
    faults = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [f["reason"] for f in faults] == ["damaged"]


def test_a_run_that_was_killed_goes_on_and_ends_alike(folder_set: Path, tmp_path: Path, call, monkeypatch) -> None:
    pytest.importorskip("matplotlib")
    args = Args(
        data=str(folder_set), models="m", prompts="modes,clicks", no_surfaces=True, max_clicks=3, clicker="random"
    )
    assert call(dataclasses.replace(args, out=str(tmp_path / "whole"))) == 0
    broken = dataclasses.replace(args, out=str(tmp_path / "broken"))
    shown = []

    class Dying(FakePredictor):
        def set_image(self, image: np.ndarray) -> None:
            shown.append(1)
            if len(shown) == 4:
                raise KeyboardInterrupt
            super().set_image(image)

    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Dying(9.0))
    assert call(broken) == 130
    assert call(dataclasses.replace(broken, seed=1)) == 1, "another seed is another run"
    assert call(broken) == 0
    assert len(shown) == 3 + 1 + 4, "three cases were done before, and not again"
    for name in ("rows.csv", "summary.csv", "prompts.jsonl", "curves.csv"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_differs_is_named_and_another_run_never_goes_on(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    args = Args(data=str(folder_set), models="m", prompts="box", no_surfaces=True, out=str(out), save="masks")
    assert call(args) == 0
    record = json.loads((out / "report.json").read_text())
    assert record["command"] == "zim-medseg --model m --data DATA --prompts box --out OUT --no-surfaces --save masks"
    assert record["versions"]["numpy"] == np.__version__ and record["origins"]["fake"]["refine"] == "none"
    prompts = out / "prompts.jsonl"
    for change, said in (
        ({"zoom": True}, "models.fake.zoom: False then, True now"),
        ({"refine": "colour"}, "models.fake.refine: none then, colour now"),
        ({"prompts": "point"}, "protocol.prompts"),
        ({"window": "lung"}, "reading.window"),
        ({"save": "none"}, "save"),
        ({"limit": 3}, "cases"),
        ({"groups": "cases"}, "cases"),
        ({"prompts_from": str(prompts)}, "prompts from: nothing then"),
        ({"tolerance": 1.0}, "protocol.measure.tolerance_mm: 2.0 then, 1.0 now"),
    ):
        capsys.readouterr()
        assert call(dataclasses.replace(args, **change)) == 1
        assert said in capsys.readouterr().err, change
    state = json.loads((out / "run.json").read_text())
    state["series"][""]["versions"]["numpy"] = "0.9"
    state["series"][""]["models"]["fake"]["sha256"] = "feed"
    (out / "run.json").write_text(json.dumps(state))
    assert call(args) == 1
    said = capsys.readouterr().err
    assert "versions.numpy: 0.9 then" in said and "models.fake.sha256: feed then" in said


def test_edited_masks_are_noticed(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    args = Args(data=str(folder_set), models="box", prompts="box", no_surfaces=True, out=str(out), save="none")
    assert call(args) == 0
    before = table(out / "rows.csv")
    path = folder_set / "masks" / "Doe_Jane_3.png"
    mask = np.array(PIL.Image.open(path))
    mask[:, : mask.shape[1] // 2] = 0
    mask[0, -1] = 255
    PIL.Image.fromarray(mask).save(path)
    assert call(dataclasses.replace(args, resume=True)) == 0
    said = capsys.readouterr().err
    assert "case_0004: an image or mask has changed" in said and "case_0003" not in said and "Doe" not in said
    after = table(out / "rows.csv")
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [3]
    cases = json.loads((out / "report.json").read_text())["cases"]
    assert (cases["taken_up"], cases["edited"], cases["done"]) == (6, 1, 1)


def test_saved_prompts_make_another_run_the_same(folder_set: Path, tmp_path: Path, call) -> None:
    pytest.importorskip("matplotlib")
    first = Args(data=str(folder_set), models="m", prompts="modes,clicks", out=str(tmp_path / "a"), no_surfaces=True,
                 max_clicks=3, clicker="random", box_jitter=3, save="none")  # fmt: skip
    assert call(first) == 0
    again = dataclasses.replace(first, out=str(tmp_path / "b"), seed=5, prompts_from=str(tmp_path / "a/prompts.jsonl"))
    other = dataclasses.replace(first, out=str(tmp_path / "c"), seed=5)
    assert call(again) == 0 and call(other) == 0
    cases = []
    for name in "abc":
        with (tmp_path / name / "rows.csv").open(newline="") as file:
            cases.append([{k: v for k, v in row.items() if k != "seed"} for row in csv.DictReader(file)])
    assert cases[0] == cases[1] != cases[2]


def test_oracle_rows_are_marked_and_never_worse(folder_set: Path, tmp_path: Path) -> None:
    model = PromptedModel(ImagePredictor(CountingBackend()), name="counted")
    config = config_of(folder_set, tmp_path / "out", prompts=("mode5",))
    trial = dataclasses.replace(config.trial, candidates=("single", "best-score", "oracle"))
    run(dataclasses.replace(config, trial=trial), [model, load_rival("box")])
    parts = [json.loads(p.read_text()) for p in sorted((tmp_path / "out/rows/plain").glob("*.json"))]
    for part in parts:
        iou = {(r["model"], r["candidate"]): r["iou"] for r in part["rows"]}
        assert set(iou) == {("counted", c) for c in ("single", "best-score", "oracle")} | {("box", "single")}
        assert iou["counted", "oracle"] >= iou["counted", "single"] > 0
        assert iou["counted", "best-score"] == 0, "its best-scored candidate is empty"


def test_baselines(rng: np.random.Generator) -> None:
    frame = np.full((40, 40, 3), 30, np.uint8)
    frame[10:30, 10:30] = 200
    frame = np.clip(frame + rng.normal(0, 5, frame.shape), 0, 255).astype(np.uint8)
    box = load_rival("box")
    box.show(frame)
    filled = box.answer([PixelPrompt(boxes=((5, 6, 35, 31), (0, 0, 2, 1)))])[0].alphas[0]
    assert filled.sum() == 30 * 25 + 2
    pytest.importorskip("cv2")
    cut = load_rival("grabcut")
    cut.show(frame)
    found = cut.answer([PixelPrompt(boxes=((6, 6, 34, 34),))])[0].alphas[0]
    assert 0.9 < found[10:30, 10:30].mean() and found.sum() < 500  # of the box's 784
    whole = cut.answer([PixelPrompt(boxes=((0, 0, 40, 40),))])[0].alphas[0]
    assert 0.9 < whole[10:30, 10:30].mean(), "of a box round everything the rim is taken for background"
    tiny = cut.answer([PixelPrompt(boxes=((3, 3, 4, 4),))])[0].alphas[0]
    assert tiny.shape == frame.shape[:2] and tiny.sum() <= 1


def test_check_names_what_is_wrong(folder_set: Path, capsys) -> None:
    assert command(check, CheckArgs(str(folder_set)), package="medical") == 0
    assert "7 of 7 cases" in capsys.readouterr().out
    (folder_set / "masks" / "Doe_Jane_2.png").unlink()
    (folder_set / "images" / "Doe_Jane_3.png").write_bytes(b"x")
    assert command(check, CheckArgs(str(folder_set), layout="folder"), package="medical") == 1
    said = capsys.readouterr().out
    assert "images/Doe_Jane_2.png: has no mask" in said and "images/Doe_Jane_3.png: not an image" in said
    assert "5 of 6 cases can be used, files that make no case: 1" in said
    assert command(check, CheckArgs(list=True), package="medical") == 0
    assert "kvasir-seg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ""}, "--data"),
        ({"dataset": "kvasir"}, "kvasir-seg"),
        ({"prompts": "clik"}, "clik"),
        ({"slices": "every:0"}, "every:N"),
        ({"candidates": "best"}, "oracle"),
        ({"window": "belly"}, "soft"),
        ({"spacing": "1"}, "ROW,COLUMN"),
        ({"save": "all"}, "mattes"),
        ({"max_clicks": 0}, "at least 1"),
    ],
)
def test_misuse_is_told_before_anything_is_loaded(folder_set, tmp_path, change, message, capsys) -> None:
    args = dataclasses.replace(Args(data=str(folder_set), out=str(tmp_path / "out")), **change)
    assert command(main, args, package="medical") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_specs_of_data_sets_stay_inside(folder_set: Path, tmp_path: Path, call) -> None:
    assert parse_spec("Left=btcv:RawData/Training#spleen") == DatasetSpec("Left", "btcv", "RawData/Training", "spleen")
    assert parse_spec("kvasir-seg") == DatasetSpec("kvasir-seg", "kvasir-seg", "")
    args = Args(data=str(folder_set), dataset="folder:../..", models="m", out=str(tmp_path / "o"))
    assert call(args) == 1


def test_the_preset_says_that_the_choice_is_ours_and_what_it_lacks(tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    args = Args(data=str(tmp_path), preset="zim5", models="m", out=str(tmp_path / "o"), no_surfaces=True)
    (tmp_path / "us_muscle").mkdir()
    assert call(args) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("hip_xray", "Dataset_BUSI_with_GT", "Task09_Spleen", "choice of data sets"))
    assert "us_muscle" not in said


def test_a_preset_s_report_repeats_it(tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    from medical.presets import ZIM5

    monkeypatch.setattr("medical.presets.ZIM5", ZIM5[:1])
    for i in range(2):
        ids = np.zeros((20, 24), np.uint8)
        ids[3:9, 4 + i : 12], ids[12:17, 10:20] = 1, 2
        save(tmp_path / "hip_xray/images" / f"{i}.png", ids * 90)
        save(tmp_path / "hip_xray/labels" / f"{i}.png", ids)
    out = tmp_path / "o"
    assert call(Args(data=str(tmp_path), preset="zim5", models="m", out=str(out), no_surfaces=True)) == 0
    assert "is not known" in (out / "report.html").read_text() and "is not known" in (out / "report.json").read_text()
    assert {row["label"] for row in table(out / "rows.csv")} == {"ilium"}


def test_help_takes_little_and_says_what_this_is_for() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    said = subprocess.run(
        [sys.executable, "-c", "from medical.cli import entrypoint; entrypoint()", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Research only" in said.stdout and "zim-medseg check" in said.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.5, "seconds of processor time"
    light = "import sys, medical, medical.cli; assert not {'torch', 'scipy', 'nibabel', 'pydicom'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", light], check=True)


def test_a_damaged_case_is_one_line_and_is_done_again(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    args = Args(data=str(folder_set), models="box", prompts="box", no_surfaces=True, out=str(out), save="none")
    assert call(args) == 0
    before = (out / "rows.csv").read_bytes()
    (out / "rows/folder/case_0002.json").write_text('{"rows": [{}], "inputs": "", "failed": false}')
    assert call(dataclasses.replace(args, resume=True)) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "is damaged" in line or "--resume" in line]
    assert len(said) == 2 and "--resume goes with the next version" in said[0] and "case_0002.json" in said[1]
    assert (out / "rows.csv").read_bytes() == (out / "cases.csv").read_bytes() == before
    cases = json.loads((out / "report.json").read_text())["cases"]
    assert (cases["taken_up"], cases["done"]) == (6, 1)


def test_results_in_parts_are_refused(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    args = Args(data=str(folder_set), models="box", prompts="box", no_surfaces=True, out=str(tmp_path / "out"))
    (tmp_path / "out/parts").mkdir(parents=True)
    (tmp_path / "out/parts/run.json").write_text("{}")
    assert call(args) == 1
    assert "results of an earlier version" in capsys.readouterr().err
