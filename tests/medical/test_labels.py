"""Labels: decided once for a data set, written with its own values, one rule where they overlap."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medical.io.errors import ScanFault
from medical.io.layouts import find_layout
from medical.io.nifti import file_space, read_volume, stored_geometry, write_nifti
from medical.io.pairing import find_cases
from medical.io.reading import read_scan
from medical.labelling import LabelTable, label_map, settle_labels
from medical.protocol.models import load_rival
from medical.run import DatasetSpec, run
from tests.medical.conftest import save
from tests.medical.whole_runs import config_of

nib = pytest.importorskip("nibabel")
GREY = np.full((8, 8), 90, np.uint8)


def square(*values: int, size: int = 8) -> np.ndarray:
    """An image (h, w) that holds these values in 2 x 2 squares along its diagonal, and 0."""
    array = np.zeros((size, size), np.uint8)
    for i, value in enumerate(values):
        array[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = value
    return array


def nnunet(root: Path, cases: dict[str, tuple[int, ...]], names: dict[str, int]) -> Path:
    """A miniature of nnU-Net's layout whose case files hold these values, in 2 x 2 x 2 cubes along the diagonal."""
    for name, values in cases.items():
        labels = np.zeros((8, 8, 4), np.uint16)
        for i, value in enumerate(values):
            labels[2 * i : 2 * i + 2, 2 * i : 2 * i + 2, :2] = value
        for path, array in ((f"imagesTr/{name}_0000", labels * 10), (f"labelsTr/{name}", labels)):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([0.8, 0.7, 3, 1])), root / f"{path}.nii.gz")
    table = {"channel_names": {"0": "CT"}, "labels": {"background": 0} | names, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(table))
    return root


def written(out: Path, case: str, title: str = "plain") -> np.ndarray:
    return np.asarray(nib.load(out / f"volumes/{title}/{case}/box_mode5.nii.gz").dataobj)


@pytest.mark.parametrize(
    ("names", "cases", "wanted"),
    [
        ({"liver": 1, "kidney": 2}, {"a": (1, 2), "b": (2,)}, ({1, 2}, {2})),
        ({"ventricle": 3, "lesion": 7}, {"a": (3, 7), "b": (7,)}, ({3, 7}, {7})),
        ({"x": 300}, {"a": (300,)}, ({300},)),
        ({"x": 1, "y": 300}, {"a": (1,), "b": (300,)}, ({1}, {300})),
        ({}, {"a": (2,), "b": (5,)}, ({2}, {5})),
    ],
)
def test_label_maps_hold_the_values_of_the_data_set(names, cases, wanted, tmp_path: Path) -> None:
    root = nnunet(tmp_path / "Dataset001_X", cases, names)
    config = config_of(root, tmp_path / "out", prompts=("mode5",))
    config = type(config)(**{**config.__dict__, "datasets": (DatasetSpec("plain", "nnunet", ""),)})
    tally = run(config, [load_rival("box")])
    assert tally.done == len(cases) and tally.faults == 0
    largest = max(v for values in cases.values() for v in values)
    for number, (name, values) in enumerate(zip(cases, wanted, strict=True), start=1):
        found = written(tmp_path / "out", f"case_{number:04d}")
        assert set(np.unique(found)) - {0} == values, name
        assert found.dtype == (np.uint8 if largest < 256 else np.uint16), "the smallest type, one for all cases"
        truth = np.asarray(nib.load(root / f"labelsTr/{name}.nii.gz").dataobj)
        assert np.array_equal(found, truth), "boxes of cubes are the cubes"
        beside = json.loads((tmp_path / f"out/volumes/plain/case_{number:04d}/box_mode5.json").read_text())
        assert beside["labels"] == (names or {"class_2": 2, "class_5": 5}) and beside["overlap_voxels"] == 0


def test_where_labels_overlap_the_smaller_structure_stays_and_it_is_said() -> None:
    large, small = np.zeros((4, 8, 8), bool), np.zeros((4, 8, 8), bool)
    large[:, :6], small[1, 4:7, 2] = True, True
    table = LabelTable({"organ": 5, "lesion": 2})
    for masks in ([("organ", large), ("lesion", small)], [("lesion", small), ("organ", large)]):
        joined, both = label_map(masks, table)
        assert both == 2 == int((large & small).sum())
        assert np.array_equal(joined == 2, small) and np.array_equal(joined == 5, large & ~small)
    same, both = label_map([("organ", large), ("lesion", large)], table)
    assert set(np.unique(same)) == {0, 5} and both == int(large.sum()), "of equals the larger value"
    with pytest.raises(ValueError, match="no value for cyst"):
        label_map([("cyst", small)], table)


def test_overlap_is_told_in_the_record(tmp_path: Path) -> None:
    labels = np.zeros((12, 12, 3), np.uint8)
    labels[1:10, 1:10], labels[4:6, 4:6] = 1, 2  # the box round 1 covers 2
    for name, array in (("images", labels * 50), ("masks", labels)):
        (tmp_path / "set" / name).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "set" / name / "a.nii.gz")
    run(config_of(tmp_path / "set", tmp_path / "out", prompts=("mode5",)), [load_rival("box")])
    part = json.loads((tmp_path / "out/rows/plain/case_0001.json").read_text())
    assert part["overlaps"] == {"box_mode5": 12}
    assert (written(tmp_path / "out", "case_0001") == 2).sum() == 12


@pytest.mark.parametrize(
    ("files", "labels", "values"),
    [
        ({"a": (1, 2), "b": (1,), "c": (2,), "d": (1, 2)}, {"class_1", "class_2"}, {"class_1": 1, "class_2": 2}),
        ({"a": (1,), "b": (1,)}, {"object"}, {"object": 1}),
        ({"a": (255,), "b": ()}, {"object"}, {"object": 255}),
        ({"a": (2,), "b": (2,)}, {"object"}, {"object": 2}),
        ({"a": (1,), "b": (2,)}, {"class_1", "class_2"}, {"class_1": 1, "class_2": 2}),
    ],
)
def test_what_values_mean_is_decided_for_the_data_set(files, labels, values, tmp_path: Path) -> None:
    for name, own in files.items():
        save(tmp_path / "images" / f"{name}.png", GREY)
        save(tmp_path / "masks" / f"{name}.png", square(*own))
    cases, table = settle_labels(find_cases(tmp_path, find_layout("folder"))[0])
    assert table.values == values
    for case, own in zip(cases, files.values(), strict=True):
        found = {t.label: int(t.mask.sum()) for t in read_scan(case).targets(0)}
        assert set(found) <= labels and list(found.values()) == [4] * len(own), "nothing is empty that is not"


def test_one_soft_mask_is_refused_and_the_others_keep_their_meaning(tmp_path: Path) -> None:
    for name, array in (("a", square(255)), ("b", square(255, 128, 40)), ("c", square(255))):
        save(tmp_path / "images" / f"{name}.png", GREY)
        save(tmp_path / "masks" / f"{name}.png", array)
    cases, table = settle_labels(find_cases(tmp_path, find_layout("folder"))[0])
    assert table.values == {"object": 255}
    assert [next(read_scan(cases[i]).targets(0)).label for i in (0, 2)] == ["object", "object"]
    with pytest.raises(ScanFault, match=r"0, 40, 128, 255.*--labels"):
        read_scan(cases[1])


def test_masks_that_contradict_one_another_are_a_question(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 255)):
        save(tmp_path / "images" / f"{name}.png", GREY)
        save(tmp_path / "masks" / f"{name}.png", square(value))
    with pytest.raises(ValueError, match=r"1, 255.*--labels"):
        settle_labels(find_cases(tmp_path, find_layout("folder"))[0])
    cases, _ = settle_labels(find_cases(tmp_path, find_layout("folder"), labels="binary")[0])
    assert [int(next(read_scan(case).targets(0)).mask.sum()) for case in cases] == [4, 4]
    cases, table = settle_labels(find_cases(tmp_path, find_layout("folder"), labels="map")[0])
    assert table.values == {"class_1": 1, "class_255": 255}


def test_a_binary_mask_of_classes_is_refused_not_empty(tmp_path: Path) -> None:
    save(tmp_path / "images/a.jpg", GREY)
    save(tmp_path / "masks/a.png", square(1, 2))
    (case,), _ = settle_labels(find_cases(tmp_path, find_layout("kvasir-seg"))[0])
    with pytest.raises(ScanFault, match="1, 2, all below the threshold"):
        read_scan(case)


def test_masks_of_several_files_get_values_of_their_own(tmp_path: Path) -> None:
    for name in ("t2s", "t2s_seg", "t2s_gmseg_manual"):
        nib.save(nib.Nifti1Image(np.ones((3, 3, 2), np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    _, table = settle_labels(find_cases(tmp_path, find_layout("sct"))[0])
    assert table.values == {"spinal_cord": 1, "grey_matter": 2}


SHEARED = np.array([[1, 0.2, 0, 5], [0, 1, 0, -3], [0, 0, 2, 7], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("codes", [(1, 1), (0, 2), (3, 0), (0, 0), (1, 4)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32])
def test_codes_forms_and_types_come_back(codes: tuple[int, int], dtype: type, tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.header.set_sform(SHEARED, codes[1])
    image.header.set_qform(np.diag([1, 1, 2, 1.0]), codes[0])
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None, image.header), tmp_path / "a.nii.gz")
    array, affine, _ = read_volume(tmp_path / "a.nii.gz")
    space = file_space(affine, (4, 5, 6), "axial", stored_geometry(tmp_path / "a.nii.gz"))
    write_nifti(tmp_path / "b.nii.gz", array.astype(dtype), space.affine, space.stored)
    before, after = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "b.nii.gz")
    assert np.array_equal(before.affine, after.affine)
    for field in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "pixdim"):
        assert np.array_equal(before.header[field], after.header[field]), field
    assert after.get_data_dtype() == (np.uint8 if dtype is bool else dtype)
    if codes[1] == 0:  # SimpleITK refuses a sheared sform
        sitk = pytest.importorskip("SimpleITK")
        one, other = (sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in "ab")
        assert (one.GetOrigin(), one.GetDirection()) == (other.GetOrigin(), other.GetDirection())


def test_forms_agree_or_one_of_them_is_silent(tmp_path: Path) -> None:
    for name, affine in (("sheared", SHEARED), ("plain", np.diag([1, 2, 3, 1.0]))):
        write_nifti(tmp_path / f"{name}.nii", np.zeros((2, 2, 2), np.uint8), affine)
        header = nib.load(tmp_path / f"{name}.nii").header
        assert np.allclose(header.get_sform(), affine) and header["sform_code"] == 1
        qform, code = header.get_qform(coded=True)
        assert (code == 0) if name == "sheared" else np.allclose(qform, affine)


def test_the_faulty_inputs_come_out_right(medical_cases: Path, tmp_path: Path) -> None:
    shutil.copytree(medical_cases / "Dataset001_X", tmp_path / "Dataset001_X")
    config = config_of(tmp_path / "Dataset001_X", tmp_path / "out", prompts=("mode5",))
    config = type(config)(**{**config.__dict__, "datasets": (DatasetSpec("plain", "nnunet", ""),)})
    run(config, [load_rival("box")])
    assert [set(np.unique(written(tmp_path / "out", f"case_000{i}"))) for i in (1, 2)] == [{0, 1, 2}, {0, 2}]
    cases, table = settle_labels(find_cases(medical_cases / "png", find_layout("folder"))[0])
    assert table.values == {"class_1": 1, "class_2": 2} and len(cases) == 4
    assert [sorted(t.label for t in read_scan(c).targets(0)) for c in cases[1:3]] == [["class_1"], ["class_2"]]
