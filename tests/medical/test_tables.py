"""From rows to tables: the order of averaging, sentences without false winners, names that are safe to write."""

import math
import string
from pathlib import Path

import numpy as np
import pytest

from medical.check import guess_layout
from medical.deidentify import MAX_NAME, inside, name_places, safe_name
from medical.io.pairing import CaseFiles
from medical.protocol.records import COLUMNS, SURFACES, Row, row_fields, row_from
from medical.report.aggregate import ALL_DATASETS, contrasts, noc_lines, per_patient, summary_lines, with_pooled
from medical.report.nnunet_summary import nnunet_summary
from medical.report.overlays import pick_cases, view_of
from tests.medical.conftest import save
from zim_plugins.evaluation.report.csv import csv_text


def row(iou: float, **changes: object) -> Row:
    fields: dict = {
        "dataset": "set", "patient": "patient_0001", "case": "case_0001", "level": "slice", "frame": 0, "label": "a",
        "instance": 0, "model": "zim", "prompt": "mode5", "n_clicks": 0, "clicker": "", "seed": 0,
        "candidate": "single",
        "dice": 2 * iou / (1 + iou), "iou": iou, "n_pred": 50, "n_ref": 50, "n_both": 40, "n_px": 400, "empty_pred": 0,
    }  # fmt: skip
    fields |= dict.fromkeys(SURFACES, math.nan)
    return Row(**(fields | changes))


def test_averages_go_from_instances_over_frames_labels_and_cases_to_patients() -> None:
    rows = [
        row(0.2, instance=1), row(0.4, instance=2),  # 0.3 on this frame
        row(0.9, frame=1),  # 0.6 for label a
        row(0.0, label="b"),  # 0.3 for the case
        row(0.5, case="case_0002"),  # 0.4 for the patient
        row(1.0, patient="patient_0002", case="case_0003"),
    ]  # fmt: skip
    assert per_patient(rows, "iou") == pytest.approx({"patient_0001": 0.4, "patient_0002": 1.0})
    assert per_patient(rows, "iou", "b") == {"patient_0001": 0.0}
    lines = {(line["label"], line["metric"]): line for line in summary_lines(rows)}
    assert lines["all", "iou"]["mean"] == pytest.approx(0.7) and lines["all", "iou"]["n"] == 2
    assert lines["all", "iou"]["n_predictions"] == 6 and ("all", "hd95_mm") not in lines


def test_all_data_sets_together_count_each_of_them_once() -> None:
    rows = [
        row(0.2), row(0.6, dataset="other"), row(1.0, dataset="other", patient="patient_0002", case="case_0002"),
        row(0.4, dataset="femur"), row(0.9, dataset="femur", model="sam"),
    ]  # fmt: skip
    pooled = with_pooled(rows, {"set": "x", "other": "y", "femur": "x"})
    assert pooled[: len(rows)] == rows and with_pooled(rows[:1], {"set": "x"}) == rows[:1]
    lines = {(line["dataset"], line["model"]): line for line in summary_lines(pooled) if line["metric"] == "iou"}
    # x's patient is in two sets: 0.3; those of y: 0.6 and 1.0
    assert lines[ALL_DATASETS, "zim"]["values"] == pytest.approx([0.3, 0.6, 1.0])
    assert lines[ALL_DATASETS, "zim"]["mean"] == pytest.approx((0.3 + 0.8) / 2), "each data set counts once"
    assert (lines[ALL_DATASETS, "zim"]["n"], lines[ALL_DATASETS, "zim"]["unit"]) == (2, "data set") and lines[
        "femur", "sam"
    ]["n"] == 1


def test_undefined_figures_never_shrink_n_in_silence() -> None:
    rows = [row(0.0, hd95_px=math.nan, empty_pred=1, n_pred=0, n_both=0), row(0.8, hd95_px=3.0, patient="patient_0002")]
    lines = {line["metric"]: line for line in summary_lines(rows) if line["label"] == "all"}
    assert lines["iou"]["n"] == 2 and lines["iou"]["n_empty_predictions"] == 1
    assert lines["hd95_px"]["n"] == 1 and lines["hd95_px"]["n_undefined"] == 1


@pytest.mark.parametrize(
    ("patients", "gap", "said"), [(5, 0.2, "no claim"), (12, 0.0, "no difference shown"), (12, 0.2, "zim is better")]
)
def test_sentences_name_a_winner_only_where_there_is_one(patients: int, gap: float, said: str) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for i in range(patients):
        base = rng.uniform(0.4, 0.6)
        rows.append(row(base + gap + rng.normal(0, 0.02), patient=f"p{i:02}", case=f"c{i:02}"))
        rows.append(row(base, patient=f"p{i:02}", case=f"c{i:02}", model="sam"))
    (found,) = contrasts(rows, ["zim", "sam"], max_clicks=9)
    assert found.outcome.n == patients and said in found.says and f"n = {patients}" in found.says


def test_rows_survive_their_file_and_csv_has_no_nan() -> None:
    one = row(0.5)
    back = row_from(row_fields(one))
    assert math.isnan(back.hd95_mm) and back.iou == 0.5 and back.case == one.case
    text = csv_text(COLUMNS, [row_fields(one)])
    assert "nan" not in text.lower() and text.count("\n") == 2
    with pytest.raises(ValueError, match="another version"):
        row_from({"iou": 1.0})


def test_nnunets_shape_pools_the_slices_of_a_case() -> None:
    rows = [row(0.5), row(0.5, frame=1, n_both=10), row(0.0, label="b", n_both=0, n_pred=0)]
    found = nnunet_summary(rows, model="zim", prompt="mode5", max_clicks=9)
    a = found["metric_per_case"][0]["metrics"]["a"]
    assert (a["TP"], a["FP"], a["FN"], a["TN"]) == (50, 50, 50, 650) and a["Dice"] == 0.5 and a["IoU"] == 0.333333
    assert found["mean"]["b"]["Dice"] == 0 and found["foreground_mean"]["Dice"] == 0.25


def test_number_of_clicks_counts_what_is_never_reached_as_the_maximum() -> None:
    ious = {1: [0.5, 0.86, 0.95], 2: [0.1, 0.2, 0.3]}
    rows = [
        row(iou, prompt="clicks", n_clicks=n, case=f"case_{c}")
        for c, found in ious.items()
        for n, iou in enumerate(found, start=1)
    ]
    line = next(line for line in noc_lines(rows) if line["target_iou"] == 0.85)
    assert line["mean_clicks"] == 2.5 and line["share_reached"] == 0.5 and line["n_objects"] == 2


def test_best_median_and_worst() -> None:
    rows = [row(iou, case=f"case_{i}") for i, iou in enumerate((0.3, 0.9, 0.5, 0.7, 0.1))]
    assert {rank: r.iou for rank, r in pick_cases(rows, "zim", "mode5", 9).items()} == {
        "best": 0.9, "median": 0.5, "worst": 0.1,
    }  # fmt: skip
    assert list(pick_cases(rows[:1], "zim", "mode5", 9)) == ["best"] and not pick_cases(rows, "sam", "mode5", 9)


def test_small_objects_are_shown_close_and_all_of_them() -> None:
    mask = np.zeros((300, 400), bool)
    mask[290:299, 5:15] = True
    view = view_of(mask)
    assert mask[view].sum() == mask.sum() and mask[view].shape[1] <= 64 and view[0].stop == 300
    mask[10:290, 20:390] = True
    assert mask[view_of(mask)].shape == (300, 400)


def test_names_are_safe_whatever_they_were(rng: np.random.Generator) -> None:
    allowed = set(string.ascii_letters + string.digits + "._-")
    for _ in range(200):
        text = "".join(map(chr, rng.integers(1, 1000, size=int(rng.integers(0, 300)))))
        name = safe_name(text)
        assert name and set(name) <= allowed and name[0] != "." and len(name) <= MAX_NAME
    assert safe_name("../../etc/passwd") == "etc_passwd" or "/" not in safe_name("../../etc/passwd")


def test_places_are_numbers_unless_names_are_asked_for(tmp_path: Path) -> None:
    cases = [CaseFiles(f"Doe Jane/{i}", "Doe Jane" if i < 2 else "Roe", (tmp_path,), ()) for i in range(3)]
    places = name_places("set", cases)
    assert [p.case for p in places] == ["case_0001", "case_0002", "case_0003"]
    assert [p.patient for p in places] == ["patient_0001", "patient_0001", "patient_0002"]
    assert name_places("set", cases, keep_names=True)[0].case == "Doe_Jane_0"


def test_paths_stay_inside_also_through_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    assert inside(root, "a", "b.png") == root / "a" / "b.png"
    for parts in (("..", "x"), ("out", "x"), ("/etc/passwd",)):
        with pytest.raises(ValueError, match="leads out"):
            inside(root, *parts)


def test_a_plain_folder_is_not_taken_for_somebodys_data_set(folder_set: Path, tmp_path: Path) -> None:
    assert guess_layout(folder_set).name == "folder"
    grey = np.zeros((4, 4), np.uint8)
    save(tmp_path / "Kvasir-SEG/images/a.jpg", grey)
    save(tmp_path / "Kvasir-SEG/masks/a.jpg", grey)
    assert guess_layout(tmp_path / "Kvasir-SEG").name == "kvasir-seg"
    with pytest.raises(ValueError, match="no known layout"):
        guess_layout(Path(__file__).parents[1])
