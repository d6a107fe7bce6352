"""Means over tasks and spread over seeds, and that nothing published passes for measured."""

import csv

import numpy as np
import pytest

from nerf_seg.nvos import published
from nerf_seg.nvos.page import page_sections
from nerf_seg.nvos.report import COLUMNS, build_report, build_tables
from zim_plugins.evaluation.report.csv import csv_text
from zim_plugins.evaluation.report.html import build_page
from zim_plugins.evaluation.report.tables import to_markdown

PROVENANCE = {"dataset": {"name": "nvos", "protocol": "sa3d", "remark": "a <b>remark</b>"}, "settings": {}}


def row(task: str, model: str, seed: int, iou: float, failure: str = "") -> dict:
    found = {"task": task, "model": model, "seed": seed, "protocol": "sa3d", "failure": None}
    if failure:
        return found | {"failure": {"kind": "LabelError", "message": failure}}
    scores = {"iou": iou, "accuracy": 0.9 + iou / 20, "boundary_iou": iou / 2}
    return found | scores | {"clicks": 3, "visits": 20, "reference": "a.png"}


@pytest.fixture
def rows() -> list[dict]:
    values = np.array([[0.80, 0.82, 0.87], [0.90, 0.96, 0.93]])  # tasks by seeds
    return [row(f"task{t}", "ours", s, values[t, s]) for t in range(2) for s in range(3)]


def test_mean_over_tasks_then_spread_over_seeds(rows):
    found = build_report(rows, {}, PROVENANCE)["models"]["ours"]
    by_seed = np.array([r["iou"] for r in rows]).reshape(2, 3).mean(axis=0)
    assert found["mean"]["iou"]["mean"] == pytest.approx(by_seed.mean())
    assert found["mean"]["iou"]["std"] == pytest.approx(by_seed.std(ddof=1))
    assert found["tasks"]["task0"]["iou"]["std"] == pytest.approx(np.std([0.80, 0.82, 0.87], ddof=1))
    assert (found["mean"]["tasks"], found["mean"]["seeds"], found["tasks_asked"]) == (2, 3, 2)


def test_a_seed_without_all_tasks_is_no_mean(rows):
    rows[5] = row("task1", "ours", 2, 0, "broken")
    report = build_report(rows, {"task2": "a mask is missing"}, PROVENANCE)
    mean = report["models"]["ours"]["mean"]
    assert (mean["tasks"], mean["seeds"]) == (2, 2)
    assert mean["iou"]["mean"] == pytest.approx(np.mean([0.80, 0.90, 0.82, 0.96]))
    assert [f["message"] for f in report["failures"]] == ["a mask is missing", "broken"]
    assert report["models"]["ours"]["tasks_asked"] == 3


def test_nothing_scored(rows):
    report = build_report([row("task0", "ours", 0, 0, "broken")], {}, PROVENANCE)
    assert report["models"]["ours"]["mean"]["iou"] == {"mean": None, "std": None}
    assert build_tables(report)[0].rows[0][2] == ""


def test_one_seed_has_no_spread(rows):
    table = build_tables(build_report(rows[::3], {}, PROVENANCE))[0]
    assert table.rows[0][:3] == ("ours", "sa3d", "85.0")


def test_published_rows_are_marked_and_ours_are_not(rows):
    means, splats, others, tasks = build_tables(build_report(rows, {}, PROVENANCE))
    assert means.rows[0][2] == "88.0 +- 2.6"
    assert "2 of NVOS's 8 tasks, no mean to compare" in means.note
    for table in (means, tasks):
        for cells, mark in zip(table.rows, table.published, strict=True):
            assert mark == any("published, second-hand" in cell for cell in cells)
        assert any(table.published) and not all(table.published)
        assert "not measured here" in table.note
    assert all(splats.published) and all(others.published)
    assert not any("3DGS" in cells[0] for cells in means.rows) and all("3DGS" in cells[0] for cells in splats.rows)
    markdown = to_markdown([means])
    assert "| SA3D (NeurIPS 2023) (published, second-hand; NeRF) | its own | 90.3 | 98.2 |" in markdown


def test_no_published_rows_for_other_labels(rows):
    other = PROVENANCE | {"dataset": PROVENANCE["dataset"] | {"name": "spin"}}
    tables = build_tables(build_report(rows, {}, other))
    assert not any(mark for table in tables for mark in table.published)
    assert "published" not in to_markdown(tables)


def test_published_numbers_are_plausible_percentages():
    for entry in published.NVOS:
        assert 30 < entry.iou < 100 and 70 < entry.accuracy < 100
    assert np.mean([iou for iou, _ in published.VCAR_TASKS.values()]) == pytest.approx(93.5, abs=0.1)  # as it prints


def test_csv(rows):
    rows.append(row("task2", "ours", 0, 0, 'a "broken", label'))
    lines = list(csv.DictReader(csv_text((*COLUMNS, "failure", "message"), rows).splitlines()))
    assert len(lines) == 7
    assert float(lines[0]["iou"]) == 0.80
    assert [lines[-1][name] for name in ("iou", "failure", "message")] == ["", "LabelError", 'a "broken", label']


def test_page_escapes_and_shows(rows):
    rows[0]["picture"] = "pictures/ours/task0.jpg"
    report = build_report(rows, {"task2": "<missing>"}, PROVENANCE)
    page = build_page("zim-nvos", page_sections(report, build_tables(report)))
    assert "a &lt;b&gt;remark" in page and "&lt;missing&gt;" in page
    assert 'src="pictures/ours/task0.jpg"' in page
    assert "IoU 80.0 %" in page


def test_rows_of_splats_and_of_nerfs_are_in_tables_of_their_own(rows):
    for line in rows[3:]:
        line["field"] = "3DGS"
    nerfs, splats, _, tasks = build_tables(build_report(rows, {}, PROVENANCE))
    assert nerfs.rows[0][2] == "83.0 +- 3.6" and splats.rows[0][2] == "93.0 +- 3.0"
    assert (nerfs.rows[0][5], splats.rows[0][5]) == ("1 of 2", "1 of 2")
    assert [cells[2] for cells in tasks.rows[:2]] == ["NeRF", "3DGS"]
