"""`zim evaluate` by its front door: reports, failures, resumption."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zim_plugins.cli import main

REPORT = ("report.json", "report.html", "rows.csv", "prompts.json", "tables.md", "tables.tex")


def evaluate(data: Path, models: str, out: Path, *more: str) -> int:
    return main(["evaluate", "--data", str(data), "--model", models, "--out", str(out), "--device", "cpu", *more])


def report_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def mean(report: dict, column: str, prompt: str, **wanted: str) -> float:
    wanted = {"subset": "all", "size": "all"} | wanted
    found = [e for e in report["means"] if e["prompt"] == prompt and all(e[k] == v for k, v in wanted.items())]
    assert len(found) == 1
    return found[0]["scores"][column]["mean"]


def write(path: Path, array: np.ndarray) -> None:
    PIL.Image.fromarray(array).save(path)


def test_a_report_of_a_plain_folder(disks, disk_model, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert evaluate(disks, disk_model, out, "--profiles", "zim,dim") == 0
    assert capsys.readouterr().out.strip() == str(out)
    report = report_of(out)
    assert report["counts"] == {"rows": 8, "scored": 8, "failures": 0}
    assert mean(report, "iou", "point") == 1  # the model knows disks; mattes are 8 bits deep
    assert mean(report, "zim_sad", "point") < 0.01
    assert 0.7 < mean(report, "iou", "box") < 0.87  # pi / 4
    assert mean(report, "zim_mse", "box") == pytest.approx(1000 * mean(report, "dim_mse", "box"), rel=1e-6)
    assert not {"sad", "mse", "mae", "grad", "conn"} & set(report["columns"])  # every error names its definition
    provenance = report["provenance"]
    assert len(provenance["models"][0]["sha256"]) == 64
    assert provenance["dataset"]["pictures"] == 4
    assert {"commit", "machine", "versions", "settings"} <= provenance.keys()
    rows = list(csv.DictReader((out / "rows.csv").read_text().splitlines()))
    assert [row["object"] for row in rows[::2]] == [f"alphas/p{k}" for k in range(4)]
    assert {row["size"] for row in rows} == {"L"}
    assert (out / "report.html").read_text().count('src="data:image/jpeg;base64,') == 2 * (4 + 4)
    assert r"\toprule" in (out / "tables.tex").read_text()
    assert json.loads((out / "times.jsonl").read_text())["pictures"] == 4


def test_what_is_wrong_is_a_row_each_and_an_exit_code(disks, disk_model, tmp_path, capsys) -> None:
    (disks / "images/p0.png").unlink()  # a matte without its image
    write(disks / "alphas/p1.png", np.full((20, 30), 200, np.uint8))
    write(disks / "alphas/p2.png", np.zeros((48, 64), np.uint8))
    write(disks / "images/p4.png", np.zeros((48, 64, 3), np.uint8))
    (disks / "alphas/p4.png").write_bytes((disks / "alphas/p3.png").read_bytes()[:100])
    (disks / "images/p5.png").write_bytes(b"no picture")
    (disks / "alphas/p5.png").write_bytes((disks / "alphas/p3.png").read_bytes())
    out = tmp_path / "out"
    assert evaluate(disks, disk_model, out, "--prompts", "point") == 1
    report = report_of(out)
    kinds = {Path(f["picture"]).stem: f["kind"] for f in report["failures"]}
    assert kinds == {
        "p0": "unpaired",
        "p1": "size mismatch",
        "p2": "empty matte",
        "p4": "unreadable matte",
        "p5": "unreadable image",
    }
    assert report["counts"]["scored"] == 1  # p3
    errors = capsys.readouterr().err
    assert "size mismatch: images/p1.png alphas/p1" in errors
    assert "30x20 px, its image 64x48 px" in errors
    page = (out / "report.html").read_text()
    assert all(kind in page for kind in kinds.values())
    assert "empty matte" in (out / "rows.csv").read_text()


def test_a_prompt_outside_the_image_and_one_that_is_not_served(disks, disk_model, tmp_path) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    assert evaluate(disks, disk_model, out) == 0
    saved = json.loads((out / "prompts.json").read_text())
    saved["prompts"]["alphas/p1"]["box"] = {"box": [900, 900, 950, 950]}
    del saved["prompts"]["alphas/p2"]["box"]
    (tmp_path / "prompts.json").write_text(json.dumps(saved))
    model = disk_model + "_boxes_only"
    assert evaluate(disks, model, again, "--prompts-from", str(tmp_path / "prompts.json")) == 1
    failures = report_of(again)["failures"]
    assert [(f["object"], f["kind"]) for f in failures if f["prompt"] == "box"] == [
        ("alphas/p1", "prompt outside the image"),
        ("alphas/p2", "no saved prompt"),
    ]
    assert [f["kind"] for f in failures if f["prompt"] == "point"] == ["unsupported prompt"] * 4
    assert report_of(again)["counts"]["scored"] == 2


def test_saved_prompts_are_the_same_for_another_model(disks, disk_model, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    kinds = ("--prompts", "clicks,box,point")
    assert evaluate(disks, disk_model, first, *kinds, "--seed", "7") == 0
    assert evaluate(disks, disk_model, second, *kinds, "--prompts-from", str(first / "prompts.json")) == 0
    given = [json.loads((folder / "prompts.json").read_text())["prompts"] for folder in (first, second)]
    assert given[0] == given[1]
    clicks = given[0]["alphas/p0"]["clicks"]["points"]
    assert [click[2] for click in clicks] == [1, 1, 1, 0, 0]
    assert given[0]["alphas/p0"]["point"]["points"][0][:2] == pytest.approx([20.5, 24.5], abs=1)


def test_micromat_has_its_prompts_its_halves_and_the_paper_s_rows(micromat, disk_model, tmp_path) -> None:
    out = tmp_path / "out"
    assert evaluate(micromat, disk_model, out, "--dataset", "micromat3k") == 0
    report = report_of(out)
    assert [e["objects"] for e in report["means"] if e["size"] == "all" and e["prompt"] == "box"] == [3, 2, 1]
    given = json.loads((out / "prompts.json").read_text())["prompts"]
    assert given["matte/fine/0001_0"]["point"]["points"] == [[22.5, 20.5, 1], [2, 2, 0]]
    assert given["matte/fine/0001_0"]["box"]["box"] == [10.5, 8.5, 60, 44]
    table = (out / "tables.md").read_text()
    assert "| ZIM (published) | box | 9.961 | 1.893 | 3.426 | 4.813 | 9.655 |" in table
    assert "| ZIM (published) | point | 6.645 |" in table
    assert "not measured here" in table
    assert r"\textit{ZIM (published)}" in (out / "tables.tex").read_text()


def test_only_what_is_left_is_done_again(disks, disk_model, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert evaluate(disks, disk_model, out) == 0
    before = {name: (out / name).read_bytes() for name in REPORT}
    stamps = {p: p.stat().st_mtime_ns for p in (out / "rows").rglob("*.json")}
    assert len(stamps) == 4
    assert evaluate(disks, disk_model, out) == 0
    assert "4 of 4 images are done" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    assert {name: (out / name).read_bytes() for name in REPORT} == before
    some = next(iter(stamps))
    some.unlink()
    other = sorted(stamps)[1] if sorted(stamps)[1] != some else sorted(stamps)[2]
    other.write_text(other.read_text().replace('"inputs": "', '"inputs": "x'))  # of other files
    assert evaluate(disks, disk_model, out) == 0
    changed = {p for p in stamps if p.stat().st_mtime_ns != stamps[p]}
    assert changed == {some, other}
    assert {name: (out / name).read_bytes() for name in REPORT} == before


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(disks, disk_model, tmp_path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    model = disk_model + "_slow"
    arguments = ["evaluate", "--data", disks, "--model", model, "--out", killed, "--device", "cpu"]
    program = "from zim_plugins.cli import entrypoint; entrypoint()"
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not list((killed / "rows").rglob("*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 1 <= len(list((killed / "rows").rglob("*.json"))) < 4
    assert not (killed / "report.json").exists()
    assert evaluate(disks, model, killed) == 0
    assert evaluate(disks, model, whole) == 0
    for name in REPORT:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_processes_give_the_bytes_of_one(disks, disk_model, tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert evaluate(disks, disk_model, one) == 0
    assert evaluate(disks, disk_model, two, "--workers", "2") == 0
    for name in REPORT:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_two_models_are_compared(disks, disk_model, tmp_path) -> None:
    pytest.importorskip("cv2")
    out = tmp_path / "out"
    assert evaluate(disks, f"{disk_model},grabcut", out, "--prompts", "box") == 0
    report = report_of(out)
    tests = {t["score"]: t for t in report["paired"]}
    assert tests["zim_mse"]["pictures"] == 4
    assert 0 < tests["zim_mse"]["p"] <= tests["zim_mse"]["p_holm"] <= 1
    assert [m["model"] for m in report["provenance"]["models"]] == [disk_model, "grabcut"]
    assert "Models against each other" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--dataset", "imagenet"), "there is no data set 'imagenet'"),
        (("--prompts", "hint"), "prompts are point, box, clicks"),
        (("--profiles", "gfm"), "--profiles are zim, dim"),
        (("--profiles", "dim_unknown"), "--trimaps"),
        (("--workers", "0"), "at least 1"),
        (("--dataset", "refmatte"), "has the splits train, test: name one"),
    ],
)
def test_misuse(disks, disk_model, tmp_path, capsys, more, why) -> None:
    assert evaluate(disks, disk_model, tmp_path / "out", *more) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_none(disks, disk_model, tmp_path, capsys) -> None:
    assert evaluate(disks, disk_model + "_no_model", tmp_path / "out") == 1
    assert "made a int without set_image" in capsys.readouterr().err
    assert evaluate(disks, "zim_giant", tmp_path / "out") == 1
    assert "no checkpoint's name" in capsys.readouterr().err


def test_the_unknown_region_of_trimaps(disks, disk_model, tmp_path) -> None:
    """The filled box errs outside the disk; where only the box's corner is unknown, all of it is wrong."""
    (disks / "trimaps").mkdir()
    for k in range(3):
        trimap = np.zeros((48, 64), np.uint8)
        x = 20 + 6 * k + 10
        trimap[24 + 10 : 24 + 12, x : x + 2] = 128
        write(disks / f"trimaps/p{k}.png", trimap)
    out = tmp_path / "out"
    more = ("--prompts", "box", "--profiles", "dim,dim_unknown", "--trimaps", str(disks / "trimaps"))
    assert evaluate(disks, disk_model, out, *more) == 1  # p3 has no trimap
    report = report_of(out)
    assert [(f["object"], f["kind"]) for f in report["failures"]] == [("alphas/p3", "unreadable trimap")]
    assert mean(report, "dim_unknown_mae", "box") == pytest.approx(1)
    assert mean(report, "dim_unknown_sad", "box") == pytest.approx(4 / 1000)
    assert mean(report, "dim_mae", "box") < 0.1
    assert (out / "tables.md").read_text().count("**plain all: ") == 3


def test_a_damaged_file_of_rows_is_one_line_and_is_done_again(disks, disk_model, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert evaluate(disks, disk_model, out, "--prompts", "box") == 0
    before = {name: (out / name).read_bytes() for name in REPORT}
    damaged = sorted((out / "rows").rglob("*.json"))[1]
    damaged.write_text('{"rows": [')
    capsys.readouterr()
    assert evaluate(disks, disk_model, out, "--prompts", "box") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "is damaged" in line]
    assert str(damaged) in line and "does this unit again" in line
    assert {name: (out / name).read_bytes() for name in REPORT} == before


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--prompts", "point"), "prompts.kinds: ['point', 'box'] then, ['point'] now"),
        (("--profiles", "dim"), "profiles: ['zim'] then, ['dim'] now"),
        (("--no-zoom",), "zoom: nothing then, False now"),
        (("--refine", "none"), "refine: auto then, none now"),
        (("--seed", "1"), "prompts.seed: 3407 then, 1 now"),
        (("--no-pictures",), "pictures: True then, False now"),
    ],
)
def test_another_option_is_refused_by_name(disks, disk_model, tmp_path, capsys, more, named) -> None:
    out = tmp_path / "out"
    assert evaluate(disks, disk_model, out) == 0
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    assert evaluate(disks, disk_model, out, *more) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "another run" in line]
    assert named in line and "give another --out" in line
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()} == before
