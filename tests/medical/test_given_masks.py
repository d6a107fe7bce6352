"""Masks that are given to `segment`: segmentation objects, structure sets and volumes on the scan's own frames."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medical.cli import Args, CheckArgs, check
from medical.io.dicom import read_series
from medical.io.rtstruct import write_structures
from medical.segment.command import SegmentArgs, main
from tests.conftest import FakePredictor
from tests.medical.scanner import block, ct_series, positions, segmentation
from zim_plugins.cli.runtime import run as command

nib = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
SHAPE = (8, 32, 40)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """`segment` that keeps the masks as they are given."""
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: FakePredictor(9.0))
    return lambda **options: command(main, SegmentArgs(keep_masks=True, reach=0, **options), package="medical")


def other() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[2:4, 20:28, 3:9] = True
    return mask


def structure_set(path: Path, paths: Sequence[Path], masks: dict[str, np.ndarray]) -> Path:
    series = read_series(paths, irregular="keep")
    assert series.space is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    write_structures(path, list(masks.items()), series.space, model="m", case_id="", salt=b"s", kept="references")
    return path


def labels_of(out: Path) -> tuple[np.ndarray, dict[str, int]]:
    """Labels by (slice, row, column), and their table."""
    array = np.asarray(nib.load(out / "ct_seg.nii.gz").dataobj)
    return array.transpose(2, 1, 0), json.loads((out / "ct_seg.json").read_text())["labels"]


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("tilt_mm", [0.0, 0.4], ids=["upright", "tilted"])
def test_every_structure_of_a_file_or_the_one_that_is_named(kind: str, tilt_mm: float, call, tmp_path: Path) -> None:
    paths = ct_series(tmp_path / "ct", positions(tilt_mm=tilt_mm))
    masks = {"Liver": block(SHAPE), "Left Kidney": other()}
    write = segmentation if kind == "dicom-seg" else structure_set
    file = write(tmp_path / "given" / "labels", paths, masks)
    assert call(scan=str(tmp_path / "ct"), mask=(str(file),), out=str(tmp_path / "all")) == 0
    found, table = labels_of(tmp_path / "all")
    assert set(table) == set(masks)
    for name, mask in masks.items():
        assert np.array_equal(found == table[name], mask), name
    assert call(scan=str(tmp_path / "ct"), mask=(f"liver={file}",), out=str(tmp_path / "one")) == 0
    found, table = labels_of(tmp_path / "one")
    assert table == {"liver": 1} and np.array_equal(found == 1, masks["Liver"])


def test_highdicom_reads_the_same_segments(call, tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom", reason="the twin of the reader")
    paths = ct_series(tmp_path / "ct")
    file = segmentation(tmp_path / "seg.dcm", paths, {"Liver": block(SHAPE), "Left Kidney": other()})
    series = read_series(paths)
    theirs = hd.seg.segread(file).get_pixels_by_source_instance(
        list(series.instance_uids), ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    options = {"scan": str(tmp_path / "ct"), "mask": (str(file),), "format": "nifti,dicom-seg"}
    assert call(**options, out=str(tmp_path / "out")) == 0
    found, table = labels_of(tmp_path / "out")
    for number, name in enumerate(("Liver", "Left Kidney")):
        assert np.array_equal(found == table[name], theirs[..., number] > 0)
    # What is written is read back by them as what was given.
    again = hd.seg.segread(tmp_path / "out" / "ct_seg.dcm").get_pixels_by_source_instance(
        list(series.instance_uids), ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(again, theirs)


def test_our_own_results_are_prompts_again(call, tmp_path: Path) -> None:
    """A gapped, tilted series: label volume, segmentation object and structure set all lie on its slices."""
    places = positions(tilt_mm=0.4)
    ct_series(tmp_path / "ct", [*places[:3], *places[5:]])
    scan, first = str(tmp_path / "ct"), tmp_path / "first"
    given = {"point": ("27,11@1",), "format": "nifti,dicom-seg,rtstruct"}
    args = SegmentArgs(scan, reach=1, out=str(first), **given)
    assert command(main, args, package="medical") == 0
    wanted = labels_of(first)[0] > 0
    assert wanted.any()
    for name in ("ct_seg.nii.gz", "ct_seg.dcm", "ct_rtstruct.dcm"):
        out = tmp_path / name.replace(".", "_")
        assert call(scan=scan, mask=(f"again={first / name}",), out=str(out)) == 0
        assert np.array_equal(labels_of(out)[0] > 0, wanted), name


def test_interpolated_results_are_prompts_of_the_same_grid(call, tmp_path: Path) -> None:
    ct_series(tmp_path / "ct", positions(tilt_mm=0.4))
    options = {"scan": str(tmp_path / "ct"), "irregular": "resample"}
    args = SegmentArgs(point=("27,11@2",), reach=1, out=str(tmp_path / "first"), **options)
    assert command(main, args, package="medical") == 0
    wanted, _ = labels_of(tmp_path / "first")
    mask = f"again={tmp_path / 'first' / 'ct_seg.nii.gz'}"
    assert call(mask=(mask,), out=str(tmp_path / "again"), **options) == 0
    assert np.array_equal(labels_of(tmp_path / "again")[0], wanted)


def test_names_that_say_nothing_of_anatomy_are_numbered_unless_asked(call, tmp_path: Path) -> None:
    paths = ct_series(tmp_path / "ct")
    file = structure_set(tmp_path / "rs.dcm", paths, {"Doe Jane": block(SHAPE)})
    options = {"scan": str(tmp_path / "ct"), "mask": (str(file),)}
    assert call(**options, out=str(tmp_path / "o")) == 0
    assert "Doe" not in (tmp_path / "o" / "ct_seg.json").read_text() and labels_of(tmp_path / "o")[1] == {
        "segment_001": 1
    }
    assert call(**options, allow_phi_output=True, out=str(tmp_path / "p")) == 0
    assert labels_of(tmp_path / "p")[1] == {"Doe Jane": 1}


def test_pixels_between_the_segmentations_take_the_nearest_on_request(call, tmp_path: Path, capsys) -> None:
    """Labels drawn on a reconstruction of half the pixel size, of the same slices."""
    paths = ct_series(tmp_path / "ct")
    fine = ct_series(tmp_path / "fine", spacing=((0.4, 0.35),), size=(64, 80))
    reference = pydicom.dcmread(paths[0]).FrameOfReferenceUID
    for path in fine:
        one = pydicom.dcmread(path)
        one.FrameOfReferenceUID = reference
        one.save_as(path)
    file = segmentation(tmp_path / "seg.dcm", fine, {"Liver": np.kron(block(SHAPE), np.ones((1, 2, 2))) > 0})
    # Every second pixel of the fine grid is one of the coarse grid; shift it by a quarter to lie between.
    seg = pydicom.dcmread(file)
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        x, y, z = (float(v) for v in position.ImagePositionPatient)
        position.ImagePositionPatient = [x - 0.1, y, z]
    seg.save_as(file)
    options = {"scan": str(tmp_path / "ct"), "mask": (str(file),)}
    assert call(**options, out=str(tmp_path / "o")) == 1
    assert "--resample-labels nearest" in capsys.readouterr().err
    assert call(**options, resample_labels="nearest", out=str(tmp_path / "o")) == 0
    assert np.array_equal(labels_of(tmp_path / "o")[0] > 0, block(SHAPE))
    assert "nearest" in capsys.readouterr().err


def test_what_is_no_mask_of_this_scan(call, tmp_path: Path, capsys) -> None:
    import PIL.Image

    paths = ct_series(tmp_path / "ct")
    elsewhere = ct_series(tmp_path / "other")
    two = segmentation(tmp_path / "two.dcm", paths, {"Liver": block(SHAPE), "Left Kidney": other()})
    given = {
        "other slices": segmentation(tmp_path / "seg.dcm", elsewhere, {"Liver": block(SHAPE)}),
        "another frame of reference": structure_set(tmp_path / "rs.dcm", elsewhere, {"Liver": block(SHAPE)}),
        "neither a segmentation": paths[0],
        "none of this name": f"spleen={two}",
        "has slices": tmp_path / "a.png",
        "0 bytes": tmp_path / "empty.dcm",
        "no mask": tmp_path / "nowhere.dcm",
        "another scan": tmp_path / "far.nii.gz",
        "--resample-labels nearest": tmp_path / "short.nii.gz",
        "named by a mask and by another prompt": two,
    }
    PIL.Image.fromarray(np.ones((32, 40), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "empty.dcm").write_bytes(b"")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.diag([1, 1, 1, 1])), tmp_path / "far.nii.gz")
    space = read_series(paths).space
    assert space is not None
    nib.save(nib.Nifti1Image(np.ones((40, 32, 5), np.uint8), space.affine), tmp_path / "short.nii.gz")
    for said, mask in given.items():
        more = {"point": ("Liver=5,5@2",)} if said.startswith("named") else {}
        assert call(scan=str(tmp_path / "ct"), mask=(str(mask),), out=str(tmp_path / "o"), **more) in (1, 2), said
        told = capsys.readouterr().err
        assert said in told and "Traceback" not in told and len(told.strip().splitlines()) == 1, told
    assert not (tmp_path / "o").exists()
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), tmp_path / "v.nii.gz")
    assert call(scan=str(tmp_path / "v.nii.gz"), mask=(str(two),), out=str(tmp_path / "o")) == 1
    assert "no DICOM series" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_they_are_labels_of_evaluations_too(kind: str, tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: FakePredictor(9.0))
    from medical.cli import main as evaluate

    paths = ct_series(tmp_path / "set" / "ct")
    write = segmentation if kind == "dicom-seg" else structure_set
    write(tmp_path / "set" / "labels.dcm", paths, {"Liver": block(SHAPE)})
    assert command(check, CheckArgs(str(tmp_path / "set")), package="medical") == 0
    assert "labels: Liver" in capsys.readouterr().out
    args = Args(data=str(tmp_path / "set"), dataset="dicom", models="box", prompts="box", save="masks",
                no_surfaces=True, out=str(tmp_path / "out"))  # fmt: skip
    assert command(evaluate, args, package="medical") == 0
    (written,) = (tmp_path / "out" / "volumes").rglob("*.nii.gz")
    image = nib.load(written)
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0) > 0, block(SHAPE)), "a block is its own box"
    space = read_series(paths).space
    assert space is not None and np.allclose(image.affine, space.affine, atol=1e-5)
