"""Patients: who is counted, who is resampled, and that nothing is claimed where nobody knows."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medical.cli import Args
from medical.deidentify import name_places
from medical.grouping import group_cases, grouping_note, read_groups
from medical.io.layouts import find_layout
from medical.io.pairing import CaseFiles, find_cases
from medical.metrics.statistics import bootstrap_clusters, compare_clusters, summarise_clusters
from medical.report.aggregate import ALL_DATASETS, contrasts, summary_lines, with_pooled
from tests.medical.conftest import save
from tests.medical.scanner import block, ct_series, segmentation
from tests.medical.test_tables import row
from tests.medical.whole_runs import table
from zim_plugins.evaluation.statistics import bootstrap_interval


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """60 slices of 3 patients in a plain folder."""
    rng = np.random.default_rng(0)
    for i in range(60):
        mask = np.zeros((20, 24), np.uint8)
        mask[3 : 9 + i % 4, 4 : 12 + i % 5] = 255
        noise = rng.integers(0, 40, mask.shape).astype(np.uint8)
        save(tmp_path / "set/images" / f"P{i % 3}_s{i // 3:02d}.png", mask // 2 + noise)
        save(tmp_path / "set/masks" / f"P{i % 3}_s{i // 3:02d}.png", mask)
    return tmp_path / "set"


def run_of(slices: Path, out: Path, call, **changes: object) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    pytest.importorskip("matplotlib")
    args = Args(data=str(slices), models="m,box", prompts="box", out=str(out), no_surfaces=True, save="none", **changes)
    assert call(args) == 0
    return table(out / "summary.csv"), table(out / "compare.csv")


def test_nobody_knows_so_nothing_is_tested(slices: Path, tmp_path: Path, call, capsys) -> None:
    summary, compared = run_of(slices, tmp_path / "out", call)
    assert all(line["unit"] == "case" and line["n"] == "60" and line["ci_low"] == "" for line in summary)
    assert [(line["p"], line["p_holm"], line["ci_low"], line["ci_high"]) for line in compared] == [("", "", "", "")]
    assert "patients unknown" in compared[0]["claim"] and "no claim" in compared[0]["claim"]
    said = capsys.readouterr().err
    assert "--groups FILE" in said and "is better" not in said
    (data,) = json.loads((tmp_path / "out/report.json").read_text())["datasets"]
    assert data["patients"] is None and data["patients_from"].startswith("patients unknown")
    html = (tmp_path / "out/report.html").read_text()
    assert "unknown" in html and "is better" not in html and "60 cases" in html


@pytest.mark.parametrize("how", ["pattern", "file", "named file"])
def test_three_patients_are_three(how: str, slices: Path, tmp_path: Path, call) -> None:
    groups = "pattern:^(P\\d)_"
    if how != "pattern":
        lines = [f"P{i % 3}_s{i // 3:02d}{'.png' if how == 'file' else ''},patient {i % 3}" for i in range(60)]
        groups = str(tmp_path / "groups.csv")
        Path(groups).write_text("\n".join((["case,patient"] if how == "named file" else []) + lines) + "\n")
    summary, compared = run_of(slices, tmp_path / "out", call, groups=groups)
    assert all((line["unit"], line["n"], line["n_predictions"]) == ("patient", "3", "60") for line in summary)
    assert compared[0]["p"] == "" and "n < 6" in compared[0]["claim"]


def test_who_knows_better_may_say_so(slices: Path, tmp_path: Path, call) -> None:
    summary, compared = run_of(slices, tmp_path / "out", call, groups="cases")
    assert summary[0]["n"] == "60" and summary[0]["ci_low"] != "" and float(compared[0]["p"]) < 1e-6
    (data,) = json.loads((tmp_path / "out/report.json").read_text())["datasets"]
    assert data["patients"] == 60 and "the user" in data["patients_from"]


def test_series_of_one_patient_are_one_patient(tmp_path: Path) -> None:
    for i in range(6):
        files = ct_series(tmp_path / f"s{i}", patient="MRN-7" if i < 5 else "")
        segmentation(tmp_path / f"s{i}/seg.dcm", files, {"liver": block((8, 32, 40))})
    cases, problems = find_cases(tmp_path, find_layout("dicom"))
    assert len(cases) == 6 and not problems
    assert len({case.group for case in cases if case.group is not None}) == 1
    assert sum(case.group is None for case in cases) == 1, "an empty PatientID is nobody's"
    places = name_places("dicom", cases)
    assert sorted({place.patient for place in places}) == ["", "patient_0001"]
    named = tmp_path / "groups.tsv"
    named.write_text("case\tpatient\n" + "".join(f"s{i}\tp{i % 2}\n" for i in range(6)))
    grouped = group_cases(cases, str(named), root=tmp_path, dataset="dicom")
    assert sorted(str(case.group) for case in grouped) == ["p0"] * 3 + ["p1"] * 3, "by folder"
    grouped = group_cases(cases, "pattern:^s([0-9])/", root=tmp_path, dataset="dicom")
    assert sorted(str(case.group) for case in grouped) == [*"012345"], "by a pattern of folders"
    named.write_text("case,patient\n" + "".join(f"{case.series_uid},q\n" for case in cases))
    assert {case.group for case in group_cases(cases, str(named), root=tmp_path, dataset="dicom")} == {"q"}


def test_layouts_know_patients_only_where_names_tell_them(tmp_path: Path) -> None:
    grey = np.zeros((4, 4), np.uint8)
    for i in range(5):
        save(tmp_path / "em/image" / f"{i}.png", grey)
        save(tmp_path / "em/label" / f"{i}.png", grey)
        save(tmp_path / "polyps/images" / f"{i}.jpg", grey)
        save(tmp_path / "polyps/masks" / f"{i}.jpg", grey)
    for eye in ("01L", "01R", "02L"):
        save(tmp_path / "eyes" / f"Image_{eye}.jpg", grey)
        save(tmp_path / "eyes" / f"Image_{eye}_1stHO.png", grey)
    em, polyps, eyes = (
        [case.group for case in find_cases(tmp_path / folder, find_layout(name))[0]]
        for folder, name in (("em", "em-membrane"), ("polyps", "kvasir-seg"), ("eyes", "chase"))
    )
    assert len(em) == 5 and len(set(em)) == 1 and None not in em, "five slices of one stack are one"
    assert set(polyps) == {None} and eyes == ["01", "01", "02"]


def test_a_file_of_groups_covers_every_case_and_contradicts_nothing(tmp_path: Path) -> None:
    cases = [CaseFiles(f"Doe_{i}", None, (tmp_path / f"Doe_{i}.nii.gz",), ()) for i in range(3)]
    path = tmp_path / "groups.csv"
    for text, said in (
        ("Doe_0,a\nDoe_1,a\n", "case 3 of 3 is missing"),
        ("Doe_0,a\nDoe_0,b\n", "line 2: this case has another patient"),
        ("Doe_0\n", "line 1: a case and its patient"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=said) as fault:
            group_cases(cases, str(path), root=tmp_path, dataset="x")
        assert "Doe" not in str(fault.value)
    path.write_text("dataset,patient,case\nx,a,Doe_0.nii.gz\nx,a,Doe_1\nx,b,Doe_2\ny,c,Doe_0\n")
    assert [c.group for c in group_cases(cases, str(path), root=tmp_path, dataset="x")] == ["a", "a", "b"]
    assert read_groups(path)["y"] == {"Doe_0": "c"}
    assert {c.group for c in group_cases(cases, str(path), root=tmp_path, dataset="z")} == {None}, (
        "not named: as it was"
    )
    assert grouping_note(cases, find_layout("folder"), str(path), "z").startswith("patients unknown")
    for how, said in (("pattern:(", "no regular"), ("pattern:Doe", "brackets"), ("pattern:(Roe)", "case 1 of 3")):
        with pytest.raises(ValueError, match=said):
            group_cases(cases, how, root=tmp_path, dataset="x")
    with pytest.raises(ValueError, match="cannot be read"):
        group_cases(cases, str(tmp_path / "none.csv"), root=tmp_path, dataset="x")


def test_one_unknown_patient_makes_the_data_set_unknown() -> None:
    rows = []
    for i in range(10):
        who = f"p{i}" if i else ""
        rows += [row(0.9 - i / 100, patient=who, case=f"c{i}"), row(0.5, patient=who, case=f"c{i}", model="sam")]
    (found,) = contrasts(rows, ["zim", "sam"], max_clicks=9)
    assert not found.known and np.isnan(found.outcome.p) and np.isnan(found.outcome.interval[0])
    assert found.unit == "case" and found.outcome.n == 10
    assert all(line["unit"] == "case" and np.isnan(line["ci_low"]) for line in summary_lines(rows))


def test_pooled_statements_resample_data_sets_and_patients_within_them() -> None:
    rng = np.random.default_rng(0)
    rows, sources = [], {}
    for d in range(7):
        name, shift = f"set{d}", rng.normal(0.1, 0.05)
        sources[name] = name
        for i in range(3 + 5 * (d == 0)):
            base, who = rng.uniform(0.4, 0.6), {"dataset": name, "patient": f"patient_{i:04d}", "case": f"case_{i:04d}"}
            rows += [row(base + shift, **who), row(base, model="sam", **who)]
    pooled = with_pooled(rows, sources)
    found = next(c for c in contrasts(pooled, ["zim", "sam"], max_clicks=9) if c.dataset == ALL_DATASETS)
    assert found.unit == "data set" and found.outcome.n == 7
    assert found.outcome.p == pytest.approx(2 / 2**7), "exact Wilcoxon of seven data sets, all in favour"
    gaps = [
        [r.iou - s.iou for r, s in zip(rows[::2], rows[1::2], strict=True) if r.dataset == name] for name in sources
    ]
    assert found.outcome.difference == pytest.approx(np.mean([np.mean(own) for own in gaps]))
    flat = bootstrap_interval(np.concatenate([np.asarray(own) for own in gaps]))
    assert found.outcome.interval[1] - found.outcome.interval[0] > 1.3 * (flat[1] - flat[0]), "sets differ: wider"
    five = [r for r in pooled if r.dataset == ALL_DATASETS and r.case[:4] in ("set0", "set1", "set2", "set3", "set4")]
    (few,) = contrasts(five, ["zim", "sam"], max_clicks=9)
    assert few.outcome.n == 5 and "n < 6" in few.says


def test_clusters_of_one_member_are_the_plain_bootstrap() -> None:
    values = np.random.default_rng(3).normal(size=30)
    one = bootstrap_clusters([np.array([v]) for v in values])
    assert one == pytest.approx(bootstrap_interval(values), abs=0.02)
    alike = summarise_clusters([[0.2, 0.4]] * 8)
    assert alike.n == 8 and alike.mean == pytest.approx(0.3) and alike.interval[0] < 0.3 < alike.interval[1]
    gap = compare_clusters([[0.2, np.nan]] * 6, [[0.1, 0.5]] * 6)
    assert gap.n == 6 and gap.difference == pytest.approx(0.1)


def test_the_faulty_inputs_are_one_patient(medical_cases: Path) -> None:
    cases, problems = find_cases(medical_cases / "onepatient", find_layout("dicom"))
    assert len(cases) == 6 and not problems and len({case.group for case in cases}) == 1


def test_groups_are_part_of_what_a_run_is(slices: Path, tmp_path: Path, call) -> None:
    run_of(slices, tmp_path / "out", call)
    args = Args(data=str(slices), models="m,box", prompts="box", out=str(tmp_path / "out"), no_surfaces=True,
                save="none", groups="cases", resume=True)  # fmt: skip
    assert call(args) == 1, "other groups are another run"
    with (tmp_path / "out/rows.csv").open() as stream:
        assert {line["patient"] for line in csv.DictReader(stream)} == {""}
