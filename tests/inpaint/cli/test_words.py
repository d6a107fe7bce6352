"""`zim-inpaint --text`: what a detector finds is removed as what a box names is; faults before any image is read."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.cli import parse
from inpaint.cli.command import main
from zim_plugins.cli.runtime import run
from zim_plugins.core import TextBox


def call(*arguments: str | Path) -> int:
    return run(main, parse([str(word) for word in arguments]), package="inpaint")


class Detector:
    """Finds two boxes of anything."""

    boxes = (TextBox((20.5, 10.0, 60.25, 50.0), 0.9), TextBox((2.0, 2.0, 12.0, 12.0), 0.4))

    def find(self, image, text, *, which):
        return list(self.boxes[: 1 if which == "best" else None])


@pytest.fixture(autouse=True)
def folder(scene, tmp_path, monkeypatch, fake_predictor) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zim_plugins.core.load.load_predictor", lambda *a, **k: fake_predictor)
    PIL.Image.fromarray(scene.image).save("ball.png")
    return tmp_path


@pytest.fixture
def detector(monkeypatch) -> None:
    monkeypatch.setattr("zim_plugins.core.text_boxes.load_text_detector", lambda *a, **k: Detector())


def result(*arguments: str) -> np.ndarray:
    assert call(*arguments, "--backend", "cv2", "--overwrite") == 0
    return np.asarray(PIL.Image.open(next(Path("out").glob("ball_removed.*"))))


def test_a_name_removes_what_its_box_removes(detector, capsys) -> None:
    pytest.importorskip("cv2", reason="the cv2 filler")
    named = result("ball.png", "--text", "the ball", "--text-best", "--out", "out", "--json")
    record = json.loads(capsys.readouterr().out)
    assert record["prompt"] == {"box": [20.5, 10.0, 60.25, 50.0]}
    boxed = result("ball.png", "--box", "20.5,10,60.25,50", "--out", "out")
    np.testing.assert_array_equal(named, boxed)
    capsys.readouterr()
    result("ball.png", "--text", "the ball", "--out", "out", "--json")
    told = capsys.readouterr()
    assert len(json.loads(told.out)["prompt"]["objects"]) == 2 and "score 0.90" in told.err and "score 0.40" in told.err


def test_a_list_names_objects_in_words_beside_other_kinds(detector, monkeypatch, capsys) -> None:
    pytest.importorskip("cv2", reason="the cv2 filler")
    find = Detector.find
    monkeypatch.setattr(
        Detector,
        "find",
        lambda self, image, text, *, which: find(self, image, text, which=which)[: "dog" in text or None],
    )
    PIL.Image.fromarray(np.asarray(PIL.Image.open("ball.png"))).save("b.png")
    Path("list.csv").write_text('image,points,text\nball.png,"100,90",the dog\nb.png,,the dog|all\nb.png,"9,9",\n')
    assert call("--list", "list.csv", "--backend", "cv2", "--out", "out", "--json") == 0
    first, second = (json.loads(line)["prompt"]["objects"] for line in capsys.readouterr().out.splitlines())
    assert first == [{"points": [[100, 90, 1]]}, {"box": [20.5, 10.0, 60.25, 50.0]}]
    assert [list(one) for one in second] == [["points"], ["box"], ["box"], ["box"]]
    monkeypatch.setattr(Detector, "boxes", ())
    Path("list.csv").write_text('image,points,text\nball.png,,a cat\nb.png,"9,9",\n')
    assert call("--list", "list.csv", "--backend", "cv2", "--out", "more", "--json") == 1
    told = capsys.readouterr()
    assert "nothing that is 'a cat' is found" in told.err and Path("more/b_removed.png").exists()
    assert not Path("more/ball_removed.png").exists()


def test_nothing_found_and_options_alone(detector, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Detector, "boxes", ())
    assert call("ball.png", "--text", "the ball", "--backend", "cv2") == 1
    assert "nothing that is 'the ball' is found" in capsys.readouterr().err
    assert call("ball.png", "--point", "30,30", "--text-best", "--backend", "cv2") == 2
    assert "belong to --text" in capsys.readouterr().err


def test_a_detector_that_cannot_be_had_is_said_first(capsys) -> None:
    pytest.importorskip("transformers", reason="the extra `models`")
    Path("broken.png").write_bytes(b"no image")
    assert call("broken.png", "--text", "the ball", "--text-model", "./nowhere", "--backend", "cv2") != 0
    said = capsys.readouterr().err
    assert "no folder" in said and "broken" not in said
