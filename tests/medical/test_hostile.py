"""A hostile folder: each odd input is right, or refused in one line that says what is seen and what mends it."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medical.cli import CheckArgs, check
from medical.segment.command import SegmentArgs, main
from tests.medical.scanner import block, ct_series, segmentation
from tests.medical.test_remedies import block as small_block
from tests.medical.test_remedies import folder_of, image_of
from tests.medical.test_segment import Threshold
from zim_plugins.cli.runtime import run as command

nib = pytest.importorskip("nibabel")


def looked_at(root: Path, capsys: pytest.CaptureFixture, layout: str = "folder", **options: object) -> tuple[int, str]:
    code = command(check, CheckArgs(str(root), layout=layout, **options), package="medical")  # type: ignore[arg-type]
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return code, told.out


def repacked(path: Path, *, pack: bool) -> None:
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content) if pack else gzip.decompress(content))


def without_zooms(path: Path) -> None:
    """Voxel sizes of 0, and neither form."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[76:108], content[252:256] = bytes(32), bytes(4)
    path.write_bytes(gzip.compress(bytes(content)))


@pytest.mark.parametrize("kind", ["0 bytes", "call it .nii.gz", "call it .nii", "voxel size is 0", "number of its own"])
def test_volumes_that_are_refused(kind: str, tmp_path: Path, capsys) -> None:
    root = folder_of(tmp_path / "set", image_of(), small_block())
    image, labels = (root / name / "p1.nii.gz" for name in ("images", "labels"))
    if kind == "0 bytes":
        image.write_bytes(b"")
    elif kind == "call it .nii.gz":
        image = image.rename(image.with_name("p1.nii"))
    elif kind == "call it .nii":
        repacked(image, pack=False)
    elif kind == "voxel size is 0":
        without_zooms(image)
    else:
        nib.save(nib.Nifti1Image(small_block().astype(np.int16) * 2 - 1, np.eye(4)), labels)
    code, out = looked_at(root, capsys)
    assert code == 1 and kind in out
    args = SegmentArgs(str(image), point=("8,8@2",), out=str(tmp_path / "o"))
    if kind != "number of its own":
        assert command(main, args, package="medical") == 1
        assert kind in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.mark.parametrize("kind", ["capitals", "two dimensions", "big-endian", "thick"])
def test_volumes_that_are_right(kind: str, tmp_path: Path, capsys, monkeypatch) -> None:
    image, labels, affine = image_of(np.int16), small_block(), np.diag([0.33333, 0.7777, 4.999, 1])
    if kind == "two dimensions":
        image, labels = image[..., 3], labels[..., 3]
    root = folder_of(tmp_path / "set", image, labels)
    path = root / "images" / "p1.nii.gz"
    if kind == "capitals":
        path = path.rename(path.with_name("p1.NII.GZ"))
    elif kind == "big-endian":
        header = nib.Nifti1Header(endianness=">")
        header.set_data_dtype(np.int16)
        nib.save(nib.Nifti1Image(image, np.eye(4), header), path)
        assert nib.load(path).header.endianness == ">"
    elif kind == "thick":
        for name, array in (("images", image), ("labels", labels)):
            nib.save(nib.Nifti1Image(array, affine), root / name / "p1.nii.gz")
    code, out = looked_at(root, capsys)
    assert code == 0 and "1 of 1 cases can be used" in out
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Threshold())
    at = ("10,8@0",) if kind == "two dimensions" else ("10,8@3",)
    assert (
        command(
            main, SegmentArgs(str(path), box=("6,4,16,12" + at[0][4:],), out=str(tmp_path / "o")), package="medical"
        )
        == 0
    )
    written = nib.load(tmp_path / "o" / "p1_seg.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj).reshape(labels.shape) > 0, labels > 0)
    assert np.array_equal(written.affine, nib.load(path).affine)


@pytest.mark.parametrize("twin", ["labels/p1.nii", "masks/p1.nii.gz", "images/p1.nii"])
def test_one_case_has_one_image_and_one_mask(twin: str, tmp_path: Path, capsys) -> None:
    root = folder_of(tmp_path / "set", image_of(), small_block())
    (root / twin).parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(small_block() * 2, np.eye(4)), root / twin)
    code, out = looked_at(root, capsys)
    assert code == 1 and "left out" in out and "class_2" not in out


def test_patients_of_a_series(tmp_path: Path, capsys) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    from medical.io.layouts import find_layout
    from medical.io.pairing import find_cases

    paths = ct_series(tmp_path / "set" / "ct")
    segmentation(tmp_path / "set" / "seg.dcm", paths, {"Liver": block((8, 32, 40))})
    for path in paths[:3]:
        one = pydicom.dcmread(path)
        del one.PatientID
        one.save_as(path)
    ((case,), _) = find_cases(tmp_path / "set", find_layout("dicom"))
    assert case.group is not None and case.group.endswith("MRN-1"), "those that name one agree"
    one = pydicom.dcmread(paths[5])
    one.PatientID = "MRN-2"
    one.save_as(paths[5])
    code, out = looked_at(tmp_path / "set", capsys, "dicom")
    assert code == 1 and "name 2 patients" in out and "MRN" not in out


def test_what_a_series_lacks_is_named(tmp_path: Path, capsys) -> None:
    pydicom = pytest.importorskip("pydicom")
    paths = ct_series(tmp_path / "ct")
    for path in paths:
        one = pydicom.dcmread(path)
        del one.PixelSpacing
        one.save_as(path)
    args = SegmentArgs(str(tmp_path / "ct"), point=("27,11@2",), out=str(tmp_path / "o"))
    assert command(main, args, package="medical") == 2
    assert "pixel spacing" in capsys.readouterr().err


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`segment` on a small volume."""
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Threshold())
    root = folder_of(tmp_path / "set", image_of(np.int16), small_block())
    shutil.copy(root / "images" / "p1.nii.gz", tmp_path / "v.nii.gz")

    def segment(scan: Path | None = None, **options: object) -> int:
        args = SegmentArgs(str(scan or tmp_path / "v.nii.gz"), out=str(tmp_path / "o"), **options)  # type: ignore[arg-type]
        return command(main, args, package="medical")

    return segment


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"value": 1.5, "points": [[11, 8, 3]]}, "the value a number"),
        ({"value": True, "points": [[11, 8, 3]]}, "the value a number"),
        ({"name": ["a"], "points": [[11, 8, 3]]}, "texts"),
        ({"name": "a", "mask": 5}, "texts"),
        ({"points": {"x": 1}}, "points are"),
        ({"points": [[11, 8, 3, 2]]}, "points are"),
    ],
)
def test_prompts_that_mean_nothing(entry: dict, said: str, call, tmp_path: Path, capsys) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"structures": [entry]}))
    assert call(prompts=str(tmp_path / "p.json")) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_tables_as_spreadsheets_write_them(call, tmp_path: Path, capsys) -> None:
    table = tmp_path / "t.csv"
    for text in ("Scan;Structure;Point\nv.nii.gz;a;11,8@3\n", 'SCAN ,point\nv.nii.gz,"11,8@3"\n./v.nii.gz,"8,8@3"\n',
                 "scan\tpoint\nv.nii.gz\t11,8@3\n"):  # fmt: skip
        table.write_text(text)
        assert call(tmp_path, table=str(table), overwrite=True) == 0
    assert [path.name for path in (tmp_path / "o").glob("*_seg.json")] == ["v_seg.json"], "one scan however it is named"
    for content, said in ((b"scan,point\nv.nii.gz,11,8@3\n", "quote"), ("scan,point\n".encode("utf-16"), "UTF-8")):
        table.write_bytes(content)
        assert call(tmp_path, table=str(table)) == 2
        assert said in capsys.readouterr().err
    assert call(prompts=str(tmp_path / "gone.json")) == 2 and "Errno" not in capsys.readouterr().err
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert call(prompts=str(tmp_path / "deep.json")) == 2 and "is no JSON" in capsys.readouterr().err


def test_boxes_that_reach_out_are_cut_off_and_told(call, tmp_path: Path, capsys) -> None:
    for box in ("-5,-5,16,12@3", "6,4,1,16,12,99"):
        assert call(box=(box,), overwrite=True) == 0
        assert "cut off at its border" in capsys.readouterr().err
        assert any("cut off" in note for note in json.loads((tmp_path / "o" / "v_seg.json").read_text())["notes"])
    assert call(box=("6,4,16,12@3",), overwrite=True) == 0
    assert "cut off" not in capsys.readouterr().err


def test_mm_on_an_oblique_volume_is_nibabels_place(call, tmp_path: Path) -> None:
    turn = np.linalg.qr(np.array([[0.9, -0.3, 0.05], [0.3, 0.9, 0.2], [0.1, -0.1, 1.0]]))[0]
    affine = nib.affines.from_matvec(turn * np.array([0.8, 1.1, 2.5]), [3, -7, 11])
    nib.save(nib.Nifti1Image(image_of(np.int16), affine), tmp_path / "oblique.nii.gz")
    places = nib.affines.apply_affine(affine, [[5.5, 3.5, 3], [15.5, 11.5, 3]])
    for units, sign in (("ras", [1, 1, 1]), ("lps", [-1, -1, 1])):
        box = ",".join(f"{v:.6f}" for v in (places * sign).ravel())
        assert call(tmp_path / "oblique.nii.gz", box=(box,), units=units, overwrite=True) == 0
        found = np.asarray(nib.load(tmp_path / "o" / "oblique_seg.nii.gz").dataobj)
        assert np.array_equal(found > 0, small_block() > 0)


def test_one_mask_of_several_kinds_for_an_image(call, tmp_path: Path, capsys) -> None:
    PIL.Image.fromarray(np.full((20, 30), 200, np.uint8)).save(tmp_path / "a.png")
    soft = np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    PIL.Image.fromarray(soft).save(tmp_path / "soft.png")
    assert call(tmp_path / "a.png", mask=(str(tmp_path / "soft.png"),)) == 1
    assert "holds 255 values" in capsys.readouterr().err
