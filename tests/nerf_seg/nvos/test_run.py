"""zim-nvos as a whole on the analytic scene: scores with exact labels, protocols, resuming, what fails and how."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy.spatial.distance import jaccard

import nerf_seg.field.scene
from nerf_seg.nvos.cli import Args, main
from tests.nerf_seg.analytic_nvos import (
    REFERENCE,
    SCENE,
    TARGET,
    AnalyticOpenScene,
    save,
    write_capture,
    write_labels,
    write_nerf,
)
from zim_plugins.cli.runtime import run

ORACLE = f"{Path(__file__).parents[1] / 'analytic_nvos.py'}:oracle"


class Opened:
    """Stands for `open_scene`, and counts."""

    def __init__(self, hidden: tuple[str, ...] = ()) -> None:
        self.hidden, self.count = hidden, 0

    def __call__(self, config: Path, device: str) -> AnalyticOpenScene:
        self.count += 1
        return AnalyticOpenScene(self.hidden)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_labels(tmp_path / "nvos" / "labels" / "llff")
    write_capture(tmp_path / "nvos" / "scenes" / "fern_undistort")
    write_nerf(tmp_path / "nerfs" / "fern")
    return tmp_path


@pytest.fixture
def opened(monkeypatch) -> Opened:
    stub = Opened()
    monkeypatch.setattr(nerf_seg.field.scene, "open_scene", stub)
    return stub


def args_of(folder: Path, **changes) -> Args:
    given = {"root": folder / "nvos", "scenes": "fern", "models": ORACLE, "seeds": 2, "passes": 1, "num_prompts": 4}
    return Args(**({"nerfs": folder / "nerfs", "out": folder / "out"} | given | changes))


def report_of(root: Path) -> dict:
    return json.loads((root / "out" / "report.json").read_text())


def test_oracle_scores_high_against_exact_labels(root, opened, capsys):
    assert run(main, args_of(root), package="nerf_seg") == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    report = report_of(root)
    assert [row["seed"] for row in report["rows"]] == [0, 1]
    for row in report["rows"]:
        assert row["targets"] == [SCENE.names[TARGET]]
        assert row["reference"] == SCENE.names[REFERENCE]
        assert row["truth_size"] == [4 * side for side in SCENE.size]
        assert row["iou"] > 0.85
        assert row["accuracy"] > 0.98
        assert row["clicks"] >= 2
        assert row["visits"] == SCENE.count
        assert {"matting", "prompting", "accumulation", "views", "all"} <= set(row["seconds"])
        assert (root / "out" / row["picture"]).is_file()
    model = report["models"][ORACLE]
    assert model["mean"]["tasks"] == 1
    assert model["tasks"]["fern"]["iou"]["mean"] == pytest.approx(np.mean([row["iou"] for row in report["rows"]]))
    table = list(csv.DictReader((root / "out" / "rows.csv").read_text().splitlines()))
    assert [float(line["iou"]) for line in table] == [row["iou"] for row in report["rows"]]
    page = (root / "out" / "report.html").read_text()
    assert "second-hand" in page and "SA3D (NeurIPS 2023)" in page
    assert opened.count == 1


def test_written_masks_have_the_scores_of_the_row(root, opened):
    """From the files alone, with nothing of this project."""
    run(main, args_of(root, seeds=1), package="nerf_seg")
    row = report_of(root)["rows"][0]
    truth = np.asarray(PIL.Image.open(root / "nvos/labels/llff/masks/fern/IMG_4027_mask.png")) == 255
    answer = np.asarray(PIL.Image.open(root / "out" / row["masks"][0])) == 255
    assert row["iou"] == pytest.approx(1 - jaccard(truth.ravel(), answer.ravel()), abs=1e-12)
    assert row["accuracy"] == pytest.approx((truth == answer).mean(), abs=1e-12)


def test_sa3d_s_estimator(root, opened):
    assert run(main, args_of(root, estimator="sa3d", seeds=1), package="nerf_seg") == 0
    assert report_of(root)["rows"][0]["iou"] > 0.75


def test_strict_hides_the_target(root, opened):
    args = args_of(root, protocol="strict", seeds=1)
    assert run(main, args, package="nerf_seg") == 1
    assert "fern_strict holds no config.yml of a NeRF" in report_of(root)["failures"][0]["message"]

    write_nerf(root / "nerfs" / "fern_strict")
    assert run(main, args, package="nerf_seg") == 1
    assert f"was trained on {SCENE.names[TARGET]}, which strict hides" in report_of(root)["failures"][0]["message"]

    opened.hidden = (SCENE.names[TARGET],)
    assert run(main, args, package="nerf_seg") == 0
    row = report_of(root)["rows"][0]
    assert row["visits"] == SCENE.count - 1
    assert row["iou"] > 0.85


def test_a_nerf_without_the_target_is_not_sa3d_s_protocol(root, opened):
    opened.hidden = (SCENE.names[TARGET],)
    assert run(main, args_of(root, seeds=1), package="nerf_seg") == 1
    assert "the NeRF was not trained on" in report_of(root)["failures"][0]["message"]


def test_finished_rows_are_not_done_again(root, opened):
    run(main, args_of(root), package="nerf_seg")
    first = report_of(root)["rows"]
    assert run(main, args_of(root, seeds=3), package="nerf_seg") == 0
    assert opened.count == 2
    assert report_of(root)["rows"][:2] == first  # seconds and all
    assert run(main, args_of(root, seeds=3), package="nerf_seg") == 0
    assert opened.count == 2


def test_other_options_are_refused_by_name(root, opened, capsys):
    run(main, args_of(root, seeds=1), package="nerf_seg")
    assert run(main, args_of(root, seeds=1, num_prompts=5), package="nerf_seg") == 1
    assert "num_prompts: 4 then, 5 now" in capsys.readouterr().err
    assert opened.count == 1


def test_changed_labels_are_done_again(root, opened, capsys):
    run(main, args_of(root, seeds=1), package="nerf_seg")
    path = root / "nvos/labels/llff/masks/fern/IMG_4027_mask.png"
    save(path, ~(np.asarray(PIL.Image.open(path)) > 127))
    run(main, args_of(root, seeds=1), package="nerf_seg")
    assert "a label or the field has changed" in capsys.readouterr().err
    assert opened.count == 2
    assert report_of(root)["rows"][0]["iou"] < 0.1


def test_missing_tasks_are_rows_of_the_report(root, opened, capsys):
    assert run(main, args_of(root, scenes="all", seeds=1), package="nerf_seg") == 1
    report = report_of(root)
    assert len(report["failures"]) == 7
    assert report["models"][ORACLE]["mean"]["tasks"] == 1
    assert report["models"][ORACLE]["tasks_asked"] == 8
    assert "1 of 8" in (root / "out" / "tables.md").read_text()
    assert "IMG_2962_mask.png is missing" in capsys.readouterr().err


def test_wrong_size_of_a_label(root, opened):
    save(root / "nvos/labels/llff/masks/fern/IMG_4027_mask.png", np.eye(100, dtype=bool))
    assert run(main, args_of(root, seeds=1), package="nerf_seg") == 1
    assert "IMG_4027_mask.png is 100x100 px, its view 72x54" in report_of(root)["failures"][0]["message"]


def test_no_nerf_tells_the_command(root, opened):
    assert run(main, args_of(root, nerfs=root / "none", seeds=1), package="nerf_seg") == 1
    assert "ns-train nerfacto --data" in report_of(root)["failures"][0]["message"]
    assert opened.count == 0


def test_view_that_no_name_tells(root, opened):
    (root / "nvos/scenes/fern_undistort/transforms.json").unlink()
    assert run(main, args_of(root, seeds=1), package="nerf_seg") == 1
    assert "no view of the NeRF is called IMG_4038" in report_of(root)["failures"][0]["message"]


def test_spin_takes_the_first_mask(root, opened):
    for i in (1, 3, 5):
        save(root / "spin" / "ball" / f"view_{i:02d}.png", SCENE.alpha(i) > 0.5)
    write_nerf(root / "nerfs" / "ball")
    assert run(main, args_of(root, root=root / "spin", dataset="spin", scenes="all"), package="nerf_seg") == 0
    (row,) = report_of(root)["rows"]
    assert row["reference"] == "view_01.png"
    assert row["targets"] == ["view_01.png", "view_03.png", "view_05.png"]
    assert row["clicks"] == 0
    assert row["iou"] > 0.85
    assert "SA3D" not in (root / "out" / "tables.md").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"root": Path("nowhere")}, "--root names the folder"),
        ({"models": ""}, "--model names each model once"),
        ({"models": "zim_tiny,zim_tiny"}, "--model names each model once"),
        ({"seeds": 0}, "at least 1"),
        ({"iou_threshold": 1.5}, r"--iou-threshold in \[0, 1\]"),
        ({"dataset": "spin", "protocol": "strict"}, "strict is defined for nvos"),
    ],
)
def test_misuse(root, opened, capsys, changes, said):
    assert run(main, args_of(root, **changes), package="nerf_seg") == 2
    assert re.search(said, capsys.readouterr().err)


def test_unknown_scene_and_model(root, opened, capsys):
    assert run(main, args_of(root, scenes="room"), package="nerf_seg") == 1
    assert "holds no room; there are fern, flower" in capsys.readouterr().err
    assert run(main, args_of(root, models="zim_vit_b"), package="nerf_seg") == 1
    assert "zim models --download zim_vit_b" in capsys.readouterr().err
