"""Strict reading with remedies: refused with the remedy named, mended on request with a note; no file ends a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medical.cli import Args, CheckArgs, check
from medical.io.errors import ScanFault
from medical.io.remedies import Remedies, mend_labels
from medical.segment.command import SegmentArgs
from medical.segment.command import main as segment
from tests.conftest import FakePredictor
from tests.medical.whole_runs import table
from zim_plugins.cli.runtime import run as command

SHAPE = (24, 20, 6)


def block() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[6:16, 4:12, 1:5] = 1
    return mask


def folder_of(root: Path, image: np.ndarray, labels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """A plain folder with one volume."""
    nib = pytest.importorskip("nibabel")
    for name, array, place in (
        ("images", image, np.eye(4)),
        ("labels", labels, np.eye(4) if affine is None else affine),
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, place), root / name / "p1.nii.gz")
    return root


def image_of(dtype: type = np.float32) -> np.ndarray:
    return (40 + 100 * block() + np.random.default_rng(0).integers(0, 9, SHAPE)).astype(dtype)


def flipped() -> tuple[np.ndarray, np.ndarray]:
    """The labels as (y, z, x) with x backwards, and the affine that says so."""
    turned = block()[::-1].transpose(1, 2, 0)
    affine = np.array([[0, 0, -1, SHAPE[0] - 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
    return np.ascontiguousarray(turned), affine


def nan_image() -> np.ndarray:
    image = image_of()
    image[0] = np.nan
    image[1, 0, 0] = np.inf
    return image


def cases() -> dict[str, tuple]:
    """Kind: image, labels, affine of the labels, the options that mend it, what the refusal and the note say."""
    jittered, coarse = np.eye(4), np.diag([2.0, 2.0, 1.0, 1.0])
    jittered[0, 3], coarse[:2, 3] = 0.01, 0.5
    tolerant, nearest = {"tolerance_affine": 0.02}, {"resample_labels": "nearest"}
    nan_labels = block().astype(np.float32)
    nan_labels[nan_labels == 0] = np.nan
    return {
        "jitter": (image_of(), block(), jittered, tolerant, "--tolerance-affine", "differ by 0.01 mm"),
        "axes": (image_of(), *flipped(), {"reorient": True}, "--reorient", "turned to the image's order"),
        "grid": (image_of(), block()[::2, ::2], coarse, nearest, "--resample-labels", "resampled"),
        "nan image": (nan_image(), block(), None, {"nan": 0.0}, "--nan 0", "taken as 0: 121"),
        "nan labels": (image_of(), nan_labels, None, {"nan": 0.0}, "--nan 0", "taken as 0"),
    }


@pytest.mark.parametrize("kind", list(cases()))
def test_refused_with_the_remedy_and_mended_with_a_note(kind: str, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    image, labels, affine, options, refusal, note = cases()[kind]
    root = folder_of(tmp_path / "set", image, labels, affine)
    args = {"data": str(root), "models": "box", "prompts": "box", "save": "none", "no_surfaces": True}
    assert call(Args(**args, out=str(tmp_path / "strict"))) == 1
    assert refusal in capsys.readouterr().err
    assert call(Args(**args, **options, out=str(tmp_path / "mended"))) == 0
    (row,) = [r for r in table(tmp_path / "mended/cases.csv") if r["level"] == "volume"]
    assert int(row["n_ref"]) == block().sum() and float(row["dice"]) == 1.0, "a block is its own box"
    (data,) = json.loads((tmp_path / "mended/report.json").read_text())["datasets"]
    assert any(note in one for one in data["notes"]), data["notes"]


@pytest.mark.parametrize("kind", list(cases()))
@pytest.mark.parametrize("which", ["check", "segment"])
def test_every_command_takes_the_same_remedies(kind: str, which: str, tmp_path: Path, monkeypatch, capsys) -> None:
    nib = pytest.importorskip("nibabel")
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: FakePredictor(9.0))
    image, labels, affine, options, refusal, note = cases()[kind]
    root = folder_of(tmp_path / "set", image, labels, affine)
    out = tmp_path / "out"

    def call(**given: Any) -> int:
        if which == "check":
            return command(check, CheckArgs(str(root), layout="folder", **given), package="medical")
        scan, mask = (str(root / name / "p1.nii.gz") for name in ("images", "labels"))
        args = SegmentArgs(scan, mask=(f"block={mask}",), keep_masks=True, reach=0, out=str(out), **given)
        return command(segment, args, package="medical")

    assert call() == 1
    told = capsys.readouterr()
    (line,) = [one for one in (told.err + told.out).splitlines() if refusal in one]
    named = {option for option in ("--tolerance-affine", "--reorient", "--resample-labels", "--nan") if option in line}
    assert named == {refusal.split()[0]}, "the remedy of this fault alone"
    assert not out.exists()
    assert call(**options) == 0
    told = capsys.readouterr()
    assert note in told.err + told.out
    if which == "segment":
        assert np.array_equal(np.asarray(nib.load(out / "p1_seg.nii.gz").dataobj), block())
        record = json.loads((out / "p1_seg.json").read_text())
        assert any(note in one for one in record["notes"])
        assert record["options"] | options == record["options"]


def test_what_no_remedy_mends_names_none(tmp_path: Path, capsys) -> None:
    far = np.eye(4)
    far[0, 3] = 500
    root = folder_of(tmp_path / "set", image_of(), block(), far)
    assert command(check, CheckArgs(str(root), layout="folder"), package="medical") == 1
    told = capsys.readouterr().out
    assert "another scan" in told and "--" not in told


def test_the_tolerance_that_a_message_names_is_enough(tmp_path: Path, capsys) -> None:
    jittered = np.eye(4)
    jittered[:3, 3] = 0.012345, 0.0077, 0.4
    root = folder_of(tmp_path / "set", image_of(), block(), jittered)
    assert command(check, CheckArgs(str(root), layout="folder"), package="medical") == 1
    named = float(capsys.readouterr().out.split("--tolerance-affine ")[1].split()[0])
    assert named == pytest.approx(0.4, abs=0.02)
    assert command(check, CheckArgs(str(root), layout="folder", tolerance_affine=named), package="medical") == 0


@pytest.mark.parametrize(
    "given",
    [{"tolerance_affine": -1.0}, {"nan": float("nan")}, {"max_values": 0.0}, {"volume": -1}, {"max_pixels": np.inf}],
)
def test_options_that_make_no_sense(given: dict, tmp_path: Path, call) -> None:
    root = folder_of(tmp_path / "set", image_of(), block())
    assert command(check, CheckArgs(str(root), layout="folder", **given), package="medical") == 2
    scan = str(root / "images" / "p1.nii.gz")
    assert command(segment, SegmentArgs(scan, point=("5,5@2",), **given), package="medical") == 2
    assert call(Args(data=str(root), out=str(tmp_path / "out"), **given)) == 2


@pytest.mark.parametrize("kind", ["singleton axes", "near integers", "five axes"])
def test_what_needs_no_asking(kind: str, tmp_path: Path, call) -> None:
    pytest.importorskip("matplotlib")
    image, labels = image_of(), block()
    if kind == "near integers":
        labels = labels.astype(np.float32) * np.float32(0.9999)
    elif kind == "singleton axes":
        image, labels = image[..., None], labels[..., None, None]
    else:
        image = image[..., None, None]
    root = folder_of(tmp_path / "set", image, labels)
    args = Args(data=str(root), models="box", prompts="box", save="masks", no_surfaces=True, out=str(tmp_path / "out"))
    assert call(args) == 0
    (row,) = [r for r in table(tmp_path / "out/rows.csv") if r["level"] == "volume"]
    assert int(row["n_ref"]) == block().sum()
    (data,) = json.loads((tmp_path / "out/report.json").read_text())["datasets"]
    assert any("rounded" in one for one in data["notes"]) == (kind == "near integers")


def test_fractions_are_still_refused_and_labels_elsewhere_too() -> None:
    affine = np.eye(4)
    with pytest.raises(ScanFault, match="fractions"):
        mend_labels(block() * 0.99, affine, affine, SHAPE, Remedies())
    far = np.eye(4)
    far[0, 3] = 500
    with pytest.raises(ScanFault, match="outside the image"):
        mend_labels(block(), far, affine, SHAPE, Remedies(resample_labels=True))
    with pytest.raises(ScanFault, match="lie apart"):
        mend_labels(block(), far, affine, SHAPE, Remedies(reorient=True, affine_tolerance=10))


def test_resampling_is_simpleitks(rng: np.random.Generator) -> None:
    sitk = pytest.importorskip("SimpleITK")
    labels = rng.integers(0, 4, (9, 8, 7)).astype(np.uint8)
    affine = np.diag([2.0, 3.0, 1.5, 1.0])
    affine[:3, 3] = (0.3, -0.2, 0.4)
    found, _ = mend_labels(labels, affine, np.eye(4), SHAPE, Remedies(resample_labels=True))
    source = sitk.GetImageFromArray(labels.T)
    source.SetSpacing((2.0, 3.0, 1.5))
    source.SetOrigin((0.3, -0.2, 0.4))
    grid = sitk.Image(*SHAPE, sitk.sitkUInt8)
    twin = sitk.GetArrayFromImage(sitk.Resample(source, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)).T
    assert (found != twin).mean() < 0.02, "halves may fall either way"


def test_one_odd_file_never_ends_a_run(tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pytest.importorskip("matplotlib")
    nib = pytest.importorskip("nibabel")
    root = folder_of(tmp_path / "set", image_of(), block())
    colours = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    for name in ("images", "labels"):
        nib.save(nib.Nifti1Image(colours, np.eye(4)), root / name / "odd.nii.gz")
        (root / name / "junk.nii.gz").write_bytes(b"\x1f\x8b" + bytes(range(200)))
    (root / "images" / "p1.json").write_text("{not json")
    args = Args(data=str(root), models="box", prompts="box", save="none", no_surfaces=True, out=str(tmp_path / "out"))
    assert call(args) == 1
    assert len({r["case"] for r in table(tmp_path / "out/rows.csv")}) == 1
    assert len((tmp_path / "out/errors.jsonl").read_text().splitlines()) == 2
    assert command(check, CheckArgs(str(root), layout="folder"), package="medical") == 1
    assert "1 of 3 cases can be used" in capsys.readouterr().out

    def surprise(*args: object, **options: object) -> None:
        raise KeyError("Doe^Jane")

    monkeypatch.setattr("medical.run.read_scan", surprise)
    assert call(Args(data=str(root), models="box", prompts="box", out=str(tmp_path / "o2"))) == 1
    said = capsys.readouterr()
    assert "KeyError" in said.err and "Doe" not in said.err + said.out


@pytest.mark.parametrize(("folder", "options"), [("affjitter", {"tolerance_affine": 0.5}), ("nanbg", {"nan": 0.0})])
def test_the_faulty_inputs(folder: str, options: dict, medical_cases: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("nibabel")
    args = {"data": str(medical_cases / folder), "models": "box", "prompts": "box", "save": "none", "no_surfaces": True}
    assert call(Args(**args, out=str(tmp_path / "strict"))) == 1
    option = next(iter(options)).replace("_", "-")
    assert f"--{option}" in capsys.readouterr().err
    assert call(Args(**args, **options, out=str(tmp_path / "mended"))) == 0
