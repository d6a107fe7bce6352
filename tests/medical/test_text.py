"""Structures by words: boxes of a detector slice by slice, in `segment` and in evaluations."""

import json
from pathlib import Path

import numpy as np
import pytest

from medical.cli import Args
from medical.cli import main as evaluate
from medical.io.opening import open_scan
from medical.protocol.text_prompts import TextFinder, Wanted, parse_text
from medical.segment.by_words import box_on, search
from medical.segment.command import SegmentArgs, main
from medical.segment.marks import Marks
from medical.segment.placing import place_marks
from tests.conftest import FakePredictor
from tests.core.test_text_boxes import grounding_dino, owlv2
from tests.medical.scanner import block, ct_series, positions
from tests.medical.test_segment import ORIENTATIONS, Threshold, ball, turned
from tests.medical.whole_runs import table
from zim_plugins.cli.runtime import run as command
from zim_plugins.core import TextBox

nib = pytest.importorskip("nibabel")

FINDER = """
import numpy as np

def make():
    # What is bright on the slice, for one word; two halves of the image for another; nothing for all others.
    def find(image, text):
        ys, xs = np.nonzero(image[..., 0] > 127)
        if text == "left kidney" and len(xs):
            yield xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, len(xs) / image[..., 0].size
        if text == "halves":
            h, w = image.shape[:2]
            yield 0, 0, w / 2, h, 0.3
            yield w / 2, 0, w, h, 0.6
    return find

def broken():
    return lambda image, text: [(1, 2, 3)]

def number():
    return 3
"""


@pytest.fixture
def finder(tmp_path: Path) -> Path:
    path = tmp_path / "finder.py"
    path.write_text(FINDER)
    return path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, finder: Path):
    """`segment` with somebody's own detector and a predictor that needs no weights."""
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Threshold())

    def segment(**options: object) -> int:
        options = {"text_model": f"{finder}:make"} | options
        return command(main, SegmentArgs(**options), package="medical")

    return segment


@pytest.fixture
def volume(tmp_path: Path) -> tuple[Path, np.ndarray]:
    truth = ball((40, 44, 30), (15, 25, 12), 9)
    affine = np.array([[1.5, 0, 0, -20], [0, 2.0, 0, 7], [0, 0, 2.2, 30], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.where(truth, 200, 20).astype(np.int16), affine), tmp_path / "ball.nii.gz")
    return tmp_path / "ball.nii.gz", truth


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_every_slice_is_looked_at_and_told(volume, codes, call, tmp_path: Path, capsys) -> None:
    path, truth = volume
    stored, there = turned(path, codes, tmp_path / "turned.nii.gz")
    expected = nib.orientations.apply_orientation(truth, there)
    assert call(scan=str(stored), text=("left kidney",), reach=0, out=str(tmp_path / "out")) == 0
    found = np.asarray(nib.load(tmp_path / "out" / "turned_seg.nii.gz").dataobj) > 0
    assert np.array_equal(found, expected)
    slices = int(truth.any(axis=(0, 1)).sum())
    assert f"'left kidney' is found on {slices} of 30 slices" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "turned_seg.json").read_text())
    assert record["labels"] == {"left kidney": 1} and record["text_model"].startswith("finder.py:make")
    (text,) = record["text"]
    assert text["slices"] == 30 and len(text["found"]) == slices and all(one["score"] > 0 for one in text["found"])
    # The record's prompts bring the same labels without a detector.
    (tmp_path / "again.json").write_text(json.dumps(record["prompts"]))
    again = {"prompts": str(tmp_path / "again.json"), "text_model": None, "reach": 0}
    assert call(scan=str(stored), **again, out=str(tmp_path / "again")) == 0
    assert np.array_equal(np.asarray(nib.load(tmp_path / "again" / "turned_seg.nii.gz").dataobj) > 0, expected)


def test_a_named_slice_is_followed_like_a_box(volume, call, tmp_path: Path) -> None:
    path, truth = volume
    assert call(scan=str(path), text=("organ=left kidney@12",), out=str(tmp_path / "out")) == 0
    assert np.array_equal(np.asarray(nib.load(tmp_path / "out" / "ball_seg.nii.gz").dataobj) > 0, truth)
    record = json.loads((tmp_path / "out" / "ball_seg.json").read_text())
    assert record["labels"] == {"organ": 1} and record["structures"][0]["prompted_slices"] == [12]


def test_nothing_found_is_a_result_and_said(volume, call, tmp_path: Path, capsys) -> None:
    path, truth = volume
    given = {"text": ("spleen", "left kidney@12"), "json": True}
    assert call(scan=str(path), **given, out=str(tmp_path / "out")) == 0
    told = capsys.readouterr()
    assert "nothing that is 'spleen' is found on 30 slices" in told.err and "Traceback" not in told.err
    record = json.loads(told.out)
    assert [s["voxels"] for s in record["structures"]] == [0, truth.sum()]
    assert record["text"][0]["found"] == []
    assert call(scan=str(path), text=("spleen",), out=str(tmp_path / "none")) == 0
    assert not np.asarray(nib.load(tmp_path / "none" / "ball_seg.nii.gz").dataobj).any()
    assert sorted(p.name for p in (tmp_path / "none").iterdir()) == [
        "ball_overlay.png", "ball_seg.json", "ball_seg.nii.gz",
    ]  # fmt: skip
    assert call(scan=str(path), text=("left kidney",), text_threshold=0.9, out=str(tmp_path / "high")) == 0
    assert "nothing that is" in capsys.readouterr().err


def test_an_empty_segmentation_object_is_refused(call, tmp_path: Path, capsys) -> None:
    pytest.importorskip("highdicom")
    ct_series(tmp_path / "ct")
    options = {"scan": str(tmp_path / "ct"), "text": ("spleen",), "out": str(tmp_path / "out")}
    assert call(**options, format="dicom-seg") == 1
    assert "--format nifti" in capsys.readouterr().err and not list((tmp_path / "out").iterdir())
    assert call(**options) == 0


def test_a_series_with_gaps(call, tmp_path: Path) -> None:
    places = positions()
    ct_series(tmp_path / "ct", [*places[:3], *places[5:]])
    assert call(scan=str(tmp_path / "ct"), text=("left kidney",), reach=0, out=str(tmp_path / "out")) == 0
    found = np.asarray(nib.load(tmp_path / "out" / "ct_seg.nii.gz").dataobj).transpose(2, 1, 0) > 0
    expected = block((6, 32, 40))
    assert np.array_equal(found[[0, 1, 2, 5, 6, 7]], expected) and not found[[3, 4]].any()


def test_every_instance_of_one_slice(call, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.fromarray(np.full((40, 60), 200, dtype=np.uint8)).save(tmp_path / "a.png")
    scan = str(tmp_path / "a.png")
    assert call(scan=scan, text=("halves",), out=str(tmp_path / "best")) == 0
    record = json.loads((tmp_path / "best" / "a_seg.json").read_text())
    assert list(record["labels"]) == ["halves"] and record["text"][0]["found"][0]["score"] == 0.6
    assert call(scan=scan, text=("halves",), text_all=True, out=str(tmp_path / "all")) == 0
    assert list(json.loads((tmp_path / "all" / "a_seg.json").read_text())["labels"]) == ["halves", "halves 2"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"text": (" ",)}, 2, "--text is"),
        ({"text": ("a", "A")}, 2, "twice"),
        ({"text": ("left kidney@99",)}, 2, "0..29"),
        ({"text": ("left kidney",), "text_all": True}, 2, "WORDS@25"),
        ({"text": ("organ=left kidney",), "point": ("organ=1,1@1",)}, 2, "name it once"),
        ({"text": ("left kidney",), "point": ("a=1,1,1",), "units": "ras"}, 2, "voxels"),
        ({"point": ("1,1@1",)}, 2, "belong to --text"),
        ({"text": ("left kidney",), "text_model": "finder:nothing"}, 1, "cannot take"),
        ({"text": ("left kidney",), "text_model": "broken"}, 2, "x1, y1, x2, y2"),
        ({"text": ("left kidney",), "text_model": "number"}, 1, "no function"),
        ({"text": ("left kidney",), "text_model": "./nowhere"}, 1, ""),
    ],
)
def test_what_makes_no_sense(volume, options, code, said, call, finder: Path, tmp_path: Path, capsys) -> None:
    if options.get("text_model") in ("broken", "number"):
        options = options | {"text_model": f"{finder}:{options['text_model']}"}
    assert call(scan=str(volume[0]), out=str(tmp_path / "out"), **options) == code
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told and len(told.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_evaluations_take_words_as_a_prompt(
    folder_set: Path, finder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: FakePredictor(9.0))
    args = {"data": str(folder_set), "models": "box", "no_surfaces": True, "save": "masks",
            "text_model": f"{finder}:make"}  # fmt: skip
    out = tmp_path / "found"
    assert command(evaluate, Args(**args, prompts="box", text=("left kidney",), out=str(out)), package="medical") == 0
    told = capsys.readouterr().err
    assert told.count("'left kidney' is found on 1 of 1 slices") == 7
    rows = {prompt: [r for r in table(out / "cases.csv") if r["prompt"] == prompt] for prompt in ("mode5", "text")}
    assert len(rows["text"]) == len(rows["mode5"]) == 7
    for ours, theirs in zip(rows["text"], rows["mode5"], strict=True):  # what is bright is the object, nearly
        assert abs(float(ours["iou"]) - float(theirs["iou"])) < 0.2
    lines = [json.loads(line) for line in (out / "prompts.jsonl").read_text().splitlines()]
    saved = [line for line in lines if line["prompt"] == "text"]
    assert len(saved) == 7 and all(len(line["prompts"]) == 1 for line in saved)
    protocol = json.loads((out / "report.json").read_text())["protocol"]
    assert protocol["text"] == ["left kidney"] and protocol["text_model"].startswith("finder.py:make ")
    assert "Doe" not in (out / "report.html").read_text()
    # Another run takes the same boxes from the file.
    again = Args(**args, prompts="text", text=("left kidney",), prompts_from=str(out / "prompts.jsonl"),
                 out=str(tmp_path / "again"))  # fmt: skip
    assert command(evaluate, again, package="medical") == 0
    ious = [r["iou"] for r in table(tmp_path / "again" / "cases.csv")]
    assert ious == [r["iou"] for r in rows["text"]]


def test_nothing_found_counts_as_an_empty_answer(folder_set: Path, finder: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    args = Args(data=str(folder_set), models="box,grabcut", prompts="text", text=("spleen",), save="none",
                text_model=f"{finder}:make", no_surfaces=True, out=str(tmp_path / "out"))  # fmt: skip
    assert command(evaluate, args, package="medical") == 0
    assert "'spleen' is found on 0 of 1 slices" in capsys.readouterr().err
    rows = table(tmp_path / "out" / "cases.csv")
    assert len(rows) == 14 and all(float(row["iou"]) == 0 and int(row["n_pred"]) == 0 for row in rows)
    bad = {"text": ("spleen@4",)}
    args = Args(data=str(folder_set), models="box", text_model=f"{finder}:make", out=str(tmp_path / "o"), **bad)
    assert command(evaluate, args, package="medical") == 2
    assert "--slices" in capsys.readouterr().err


def test_volumes_are_followed_from_words(finder: Path, tmp_path: Path, volume) -> None:
    pytest.importorskip("matplotlib")
    path, truth = volume
    for name, array in (("images", nib.load(path).get_fdata()), ("labels", truth.astype(np.uint8))):
        (tmp_path / "set" / name).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, nib.load(path).affine), tmp_path / "set" / name / "p1.nii.gz")
    args = Args(data=str(tmp_path / "set"), models="box", prompts="text,box", text=("left kidney",), save="none",
                volumes="both", text_model=f"{finder}:make", no_surfaces=True, out=str(tmp_path / "out"))  # fmt: skip
    assert command(evaluate, args, package="medical") == 0
    rows = [r for r in table(tmp_path / "out" / "cases.csv") if r["level"] == "volume"]
    dice = {r["prompt"]: r["dice"] for r in rows}
    for kind in ("", "+propagated", "+copied"):
        assert dice[f"text{kind}"] == dice[f"mode5{kind}"], "what is bright is the object"


def test_whose_words_they_are() -> None:
    class Nothing:
        name = "nothing"

        def find(self, image: np.ndarray, text: str, **options: object) -> list[TextBox]:
            return []

    two = TextFinder(Nothing(), [parse_text("liver=the big organ"), parse_text("left kidney")])
    labels = ["Liver", "left_kidney", "spleen"]
    assert [two.words_for(label, labels) for label in labels] == ["the big organ", "left kidney", ""]
    assert two.words_for("object", ["object"]) == "left kidney", "the one label of a scan needs no name"
    names = TextFinder(Nothing())
    assert [names.words_for(label, labels) for label in ("right_kidney", "class_3", "object", "segment_001")] == [
        "right kidney", "", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize("family", [grounding_dino, owlv2])
def test_a_model_of_transformers(family, volume, call, tmp_path: Path, capsys) -> None:
    """Tiny random models: the boxes mean nothing, but they are the class's own, put on the right slices."""
    pytest.importorskip("transformers", reason="the extra `models`", minversion="5.0")
    pytest.importorskip("torchvision", reason="transformers' own processors stand on it")
    import torch
    import transformers

    from zim_plugins.core import load_text_detector

    folder = tmp_path / family.__name__
    folder.mkdir()
    torch.manual_seed(0)
    model, processor = family(transformers, folder)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    options = {"scan": str(volume[0]), "text": ("the red car@12",), "text_model": str(folder), "text_threshold": 0.0}
    assert call(**options, reach=0, device="cpu", out=str(tmp_path / "out")) == 0
    (text,) = json.loads((tmp_path / "out" / "ball_seg.json").read_text())["text"]
    scan = open_scan(volume[0]).scan
    (theirs,) = load_text_detector(str(folder), device="cpu").find(
        np.ascontiguousarray(scan.frames[scan.space.numbers().index(12)]), "the red car", which="best", threshold=0.0
    )
    (ours,) = text["found"]
    assert ours["slice"] == 12 and ours["score"] == pytest.approx(theirs.score, abs=1e-4)
    assert np.abs(np.array(ours["box"]) - np.array(theirs.box)).max() <= 1, "to whole pixels"
    assert "'the red car' is found on 1 of 1 slice" in capsys.readouterr().err


def test_boxes_come_back_to_their_frames(volume, finder: Path, tmp_path: Path) -> None:
    path, _ = volume
    for codes in ORIENTATIONS:
        stored, _ = turned(path, codes, tmp_path / "turned.nii.gz")
        scan = open_scan(stored).scan

        class Corner:
            name = "corner"

            def find(self, image: np.ndarray, text: str, **options: object) -> list[TextBox]:
                return [TextBox((3.2, 5.4, 9.0, 12.6), 0.5)]

        marks, searches = search(TextFinder(Corner(), [Wanted("x")]), scan)
        assert len(searches[0].found) == 30
        (placed,) = place_marks(marks, scan)
        assert sorted(placed.slices) == list(range(30))
        for prompts in placed.slices.values():
            assert prompts.box == pytest.approx((3, 5, 9, 13))
        found = searches[0].found[4][1]
        (one,) = place_marks([Marks("x", boxes=(box_on(scan, 4, found),))], scan)
        assert list(one.slices) == [4]
