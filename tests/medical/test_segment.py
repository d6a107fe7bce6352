"""`zim-medseg segment`: prompts in the scan's own coordinates, what is followed, what is written, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from medical.segment.command import SegmentArgs, main
from medical.segment.marks import gather_marks, marks_from_json, parse_mark
from tests.conftest import FakePredictor
from zim_plugins.cli.runtime import run as command
from zim_plugins.core.prediction import Prediction
from zim_plugins.core.prompt import Prompt

nib = pytest.importorskip("nibabel")

ORIENTATIONS = [("R", "A", "S"), ("L", "P", "S"), ("P", "S", "R"), ("A", "I", "L")]


class Threshold:
    """A predictor that takes what is bright within its box, or within 12 px of its clicks inside, but not of others."""

    name = "threshold"

    def set_image(self, image: np.ndarray) -> None:
        self.image = image

    def predict(self, prompt: Prompt) -> Prediction:
        prompt.check_inside(self.image.shape[:2])
        ys, xs = np.mgrid[: self.image.shape[0], : self.image.shape[1]] + 0.5
        allowed = np.zeros(self.image.shape[:2], dtype=bool)
        if prompt.box is not None:
            x1, y1, x2, y2 = prompt.box + np.array([-2, -2, 2, 2])
            allowed |= (xs > x1) & (xs < x2) & (ys > y1) & (ys < y2)
        if prompt.alpha is not None:
            allowed |= prompt.alpha > 0.5
        for (x, y), label in zip(*(() if prompt.points is None else (prompt.points, prompt.labels)), strict=False):
            near = np.hypot(xs - x, ys - y) < (12 if label else 5)
            allowed = allowed | near if label else allowed & ~near
        alpha = (allowed & (self.image[..., 0] > 127)).astype(np.float32)
        return Prediction(alpha[None], np.ones(1, dtype=np.float32))

    def predict_many(self, prompts: list[Prompt]) -> list[Prediction]:
        return [self.predict(one) for one in prompts]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """The command, with a predictor that needs no weights."""
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Threshold())
    return lambda **options: command(main, SegmentArgs(**options), package="medical")


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """A ball in a volume, bool (i, j, k)."""
    grid = np.moveaxis(np.indices(shape), 0, -1)
    return np.linalg.norm(grid - centre, axis=-1) <= radius


@pytest.fixture
def volume(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A bright ball of radius 9 voxels in a volume of 40 x 44 x 30; its file, the ball, the affine."""
    truth = ball((40, 44, 30), (15, 25, 12), 9)
    affine = np.array([[1.5, 0, 0, -20], [0, 2.0, 0, 7], [0, 0, 2.2, 30], [0, 0, 0, 1]])
    image = nib.Nifti1Image(np.where(truth, 200, 20).astype(np.int16), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    path = tmp_path / "scans" / "ball.nii.gz"
    path.parent.mkdir()
    nib.save(image, path)
    return path, truth, affine


def turned(path: Path, codes: tuple[str, str, str], out: Path) -> tuple[Path, np.ndarray]:
    """The same volume stored in another orientation, and where its array's axes went."""
    image = nib.load(path)
    there = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
    )
    stored = image.as_reoriented(there)
    nib.save(stored, out)
    return out, there


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_a_click_in_mm_finds_the_same_ball_however_the_file_is_turned(volume, codes, call, tmp_path: Path) -> None:
    path, truth, affine = volume
    stored, there = turned(path, codes, tmp_path / "turned.nii.gz")
    x, y, z = (affine @ [15, 25, 12, 1])[:3]
    for units, mm in (("ras", (x, y, z)), ("lps", (-x, -y, z))):
        out = tmp_path / units
        assert call(scan=str(stored), point=(",".join(f"{v:g}" for v in mm),), units=units, out=str(out)) == 0
        labels = nib.load(out / "turned_seg.nii.gz")
        assert labels.get_data_dtype() == np.uint8
        expected = nib.orientations.apply_orientation(truth, there)
        assert np.array_equal(np.asarray(labels.dataobj) > 0, expected)
        assert np.array_equal(labels.affine, nib.load(stored).affine)
        for code in ("qform_code", "sform_code"):
            assert labels.header[code] == nib.load(stored).header[code]


def test_voxels_are_the_files_own_indices(volume, call, tmp_path: Path) -> None:
    path, truth, _ = volume
    stored, there = turned(path, ("P", "S", "R"), tmp_path / "turned.nii.gz")
    where = np.argwhere(nib.orientations.apply_orientation(truth, there))
    low, high = where.min(0), where.max(0) + 1
    i, j, k = (low + high) // 2
    # Axial slices of a volume stored P, S, R are those of its second axis.
    marks = {
        "point": ({"point": (f"{i},{k}@{j}",)}, {"point": (f"{i},{j},{k}",)}),
        "box": ({"box": (f"{low[0]},{low[2]},{high[0]},{high[2]}@{j}",)},
                {"box": (f"{low[0]},{j},{low[2]},{high[0]},{j + 1},{high[2]}",)}),
    }  # fmt: skip
    for number, given in enumerate(one for pair in marks.values() for one in pair):
        assert call(scan=str(stored), out=str(tmp_path / str(number)), **given) == 0
        found = np.asarray(nib.load(tmp_path / str(number) / "turned_seg.nii.gz").dataobj) > 0
        assert np.array_equal(np.argwhere(found), where), given
        record = json.loads((tmp_path / str(number) / "turned_seg.json").read_text())
        assert record["structures"][0]["prompted_slices"] == [j] and record["labels"] == {"object": 1}
        assert record["structures"][0]["slices"] == [low[1], high[1] - 1]


def test_a_box_through_slices_bounds_what_is_followed(volume, call, tmp_path: Path) -> None:
    path, truth, _ = volume
    assert call(scan=str(path), box=("5,15,10,26,36,15",), out=str(tmp_path / "out")) == 0
    found = np.asarray(nib.load(tmp_path / "out" / "ball_seg.nii.gz").dataobj) > 0
    bounded = truth & (np.arange(30) >= 10) & (np.arange(30) < 15)
    assert np.array_equal(found, bounded)
    assert call(scan=str(path), point=("15,25@12",), reach=2, out=str(tmp_path / "reach")) == 0
    found = np.asarray(nib.load(tmp_path / "reach" / "ball_seg.nii.gz").dataobj) > 0
    assert np.flatnonzero(found.any(axis=(0, 1))).tolist() == [10, 11, 12, 13, 14]


def test_a_correction_holds_on_its_slice_and_from_there_on(tmp_path: Path, call) -> None:
    """A tube with a bright neighbour from slice 10 on, which clicks outside on slice 12 take away again."""
    values = np.full((40, 40, 20), 20, dtype=np.int16)
    values[10:18, 10:18] = 200
    values[18:20, 10:18, 10:] = 200
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "tube.nii.gz")
    scan = str(tmp_path / "tube.nii.gz")
    assert call(scan=scan, box=("10,10,18,18@2",), out=str(tmp_path / "first")) == 0
    first = np.asarray(nib.load(tmp_path / "first" / "tube_seg.nii.gz").dataobj)
    assert first[19, 12, 12] == 1 and first[14, 14].all()
    clicks = ("21,12,0@12", "21,16,0@12")
    assert call(scan=scan, box=("10,10,18,18@2",), point=clicks, out=str(tmp_path / "then")) == 0
    then = np.asarray(nib.load(tmp_path / "then" / "tube_seg.nii.gz").dataobj)
    assert then[19, 12, 12] == 0 and then[14, 14].all()
    record = json.loads((tmp_path / "then" / "tube_seg.json").read_text())
    assert record["structures"][0]["prompted_slices"] == [2, 12]
    # The record's prompts alone bring the same labels again.
    (tmp_path / "again.json").write_text(json.dumps(record["prompts"]))
    assert call(scan=scan, prompts=str(tmp_path / "again.json"), out=str(tmp_path / "again")) == 0
    again = np.asarray(nib.load(tmp_path / "again" / "tube_seg.nii.gz").dataobj)
    assert np.array_equal(again, then)


def test_several_structures_and_their_values(tmp_path: Path, call) -> None:
    one, other = ball((40, 40, 12), (10, 10, 5), 4), ball((40, 40, 12), (28, 26, 6), 5)
    nib.save(nib.Nifti1Image(np.where(one | other, 200, 10).astype(np.int16), np.eye(4)), tmp_path / "two.nii.gz")
    table = {"structures": [{"name": "liver", "value": 300, "points": [[10, 10, 5]]},
                            {"name": "kidney", "points": [[28, 26, 6, 1]]}]}  # fmt: skip
    (tmp_path / "prompts.json").write_text(json.dumps(table))
    assert call(scan=str(tmp_path / "two.nii.gz"), prompts=str(tmp_path / "prompts.json"), out=str(tmp_path / "o")) == 0
    labels = nib.load(tmp_path / "o" / "two_seg.nii.gz")
    assert labels.get_data_dtype() == np.uint16
    assert np.array_equal(np.asarray(labels.dataobj), np.where(one, 300, np.where(other, 1, 0)))
    assert json.loads((tmp_path / "o" / "two_seg.json").read_text())["labels"] == {"liver": 300, "kidney": 1}


def test_masks_on_one_slice_are_followed(volume, call, tmp_path: Path) -> None:
    path, truth, affine = volume
    rough = np.zeros(truth.shape, dtype=np.uint8)
    rough[..., 12] = truth[..., 12] * 4
    rough[2, 2, 12] = 6
    nib.save(nib.Nifti1Image(rough, affine), tmp_path / "rough.nii.gz")
    assert call(scan=str(path), mask=(f"ball={tmp_path / 'rough.nii.gz'}",), out=str(tmp_path / "named")) == 0
    named = np.asarray(nib.load(tmp_path / "named" / "ball_seg.nii.gz").dataobj)
    assert np.array_equal(named > 0, truth)
    kept = {"keep_masks": True, "reach": 0}
    assert call(scan=str(path), mask=(str(tmp_path / "rough.nii.gz"),), out=str(tmp_path / "map"), **kept) == 0
    assert np.array_equal(np.asarray(nib.load(tmp_path / "map" / "ball_seg.nii.gz").dataobj), rough)


def test_an_image_has_no_slices(tmp_path: Path, call) -> None:
    import PIL.Image

    values = np.full((50, 70), 20, dtype=np.uint8)
    values[20:30, 40:60] = 220
    PIL.Image.fromarray(values).save(tmp_path / "slice.png")
    for number, marks in enumerate(({"point": ("50,25",)}, {"box": ("40,20,60,30",)})):
        assert call(scan=str(tmp_path / "slice.png"), out=str(tmp_path / str(number)), **marks) == 0
        found = np.asarray(PIL.Image.open(tmp_path / str(number) / "slice_seg.png"))
        assert found[25, 50] == 1 and np.array_equal(found > 0, (values > 127) & (found > 0))
    assert np.array_equal(found > 0, values > 127)


def test_a_folder_of_scans_by_a_table(volume, call, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, truth, _ = volume
    (path.parent / "damaged.nii.gz").write_bytes(b"no volume")
    table = tmp_path / "prompts.csv"
    table.write_text(
        "scan,structure,point,box\n"
        'ball.nii.gz,ball,"15,25@12",\n'
        "damaged.nii.gz,ball,15 25 12,\n"
        'ball.nii.gz,ball,"15,25,14; 15,25,10",\n'
    )
    assert call(scan=str(path.parent), table=str(table), out=str(tmp_path / "out"), json=True) == 1
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 2 and "error" in records[1] and "structures" in records[0]
    assert np.array_equal(np.asarray(nib.load(tmp_path / "out" / "ball_seg.nii.gz").dataobj) > 0, truth)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "ball_overlay.png", "ball_seg.json", "ball_seg.nii.gz",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing points"),
        ({"point": ("15,25",)}, "which slice"),
        ({"point": ("15,25,40",)}, "outside the scan"),
        ({"point": ("15,25,1,1,1",)}, "a click is"),
        ({"box": ("1,2,3@4",)}, "a box is"),
        ({"box": ("60,60,70,70@4",)}, "no voxel"),
        ({"box": ("1,1,5,5@4", "2,2,6,6@4")}, "two boxes"),
        ({"point": ("15,25,0@12",)}, "do not name"),
        ({"point": ("15,25@12",), "format": "dicom-seg"}, "DICOM series"),
        ({"point": ("15,25@12",), "format": "tiff"}, "formats are"),
        ({"point": ("15,25@12",), "window": "liver"}, "window"),
        ({"mask": ("nowhere.nii.gz",)}, ""),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_nothing_is_written(volume, options, said, call, tmp_path: Path, capsys):
    path, *_ = volume
    before = path.read_bytes()
    assert call(scan=str(path), out=str(tmp_path / "out"), **options) in (1, 2)
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told
    assert not list((tmp_path / "out").glob("*")) and path.read_bytes() == before


def test_results_are_never_replaced_unasked(volume, call, tmp_path: Path, capsys) -> None:
    path, *_ = volume
    out = tmp_path / "out"
    assert call(scan=str(path), point=("15,25@12",), out=str(out)) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert call(scan=str(path), point=("15,25@11",), out=str(out)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert call(scan=str(path), point=("15,25@11",), out=str(out), overwrite=True) == 0


def test_a_full_disk_leaves_nothing(volume, call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, *_ = volume

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medical.segment.outputs.draw_sheet", full)
    assert call(scan=str(path), point=("15,25@12",), out=str(tmp_path / "out")) == 1
    assert not list((tmp_path / "out").iterdir())


def test_marks_as_text_and_as_json() -> None:
    assert parse_mark("a b=1,2@3", "point")[0] == "a b"
    with pytest.raises(ValueError, match="got '1'"):
        parse_mark("1", "point")
    read = marks_from_json({"structures": [{"name": "x", "boxes": [[1, 2, 3, 4, 5, 6]]}]})
    assert read == gather_marks(boxes=["x=1,2,3,4,5,6"])
    for broken in ({}, {"structures": [{"name": "x", "colour": 1}]}, {"units": "px", "structures": []},
                   {"structures": [{"points": [[1]]}]}, {"structures": [{"name": "x"}, {"name": "x"}]}):  # fmt: skip
        with pytest.raises(ValueError):
            marks_from_json(broken)


def test_the_fake_of_other_tests_is_a_predictor_here(volume, monkeypatch, tmp_path: Path) -> None:
    """Predictors that take no mask, and that say nothing of themselves, are served with boxes."""
    path, *_ = volume
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: FakePredictor(4.0))
    args = SegmentArgs(scan=str(path), box=("10,20,20,30@12",), out=str(tmp_path))
    assert command(main, args, package="medical") == 0


def test_colours_are_no_volume_and_drift_is_said(call, tmp_path: Path, capsys) -> None:
    colours = np.zeros((8, 8, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "rgb.nii.gz")
    assert call(scan=str(tmp_path / "rgb.nii.gz"), point=("3,3@1",), out=str(tmp_path / "o")) == 1
    assert "colours (R, G, B)" in capsys.readouterr().err
    values = np.full((60, 40, 20), 20, dtype=np.int16)
    for k in range(20):
        values[4 + 2 * k : 14 + 2 * k, 10:20, k] = 200
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "oblique.nii.gz")
    assert call(scan=str(tmp_path / "oblique.nii.gz"), box=("4,10,14,20@0",), out=str(tmp_path / "o")) == 0
    record = json.loads((tmp_path / "o" / "oblique_seg.json").read_text())
    assert record["structures"][0]["slices"] == [0, 19]
    assert any("15 of 20 slices, 5 to 19, have no pixel in common" in note for note in record["notes"])


def test_values_that_are_no_numbers_are_replaced_on_request(call, tmp_path: Path, capsys) -> None:
    values = np.where(ball((30, 30, 8), (15, 15, 4), 5), 200, 20).astype(np.float32)
    values[:3] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "nan.nii.gz")
    options = {"scan": str(tmp_path / "nan.nii.gz"), "point": ("15,15@4",), "out": str(tmp_path / "o")}
    assert call(**options) == 1 and "NaN" in capsys.readouterr().err
    assert call(**options, nan=0.0) == 0
    assert "taken as 0" in (tmp_path / "o" / "nan_seg.json").read_text()
