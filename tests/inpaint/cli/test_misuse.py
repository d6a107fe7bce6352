"""Uses of `zim-inpaint` that go wrong: said in one line before anything is done, or of one image alone."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.cli import parse
from inpaint.cli.command import main
from zim_plugins.cli.runtime import run

pytest.importorskip("cv2", reason="the cv2 filler")


@pytest.fixture(autouse=True)
def folder(scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    PIL.Image.fromarray(scene.image).save("a.png")
    PIL.Image.fromarray((scene.alpha > 0.5) * np.uint8(255)).save("mask.png")
    return tmp_path


def call(*words: str) -> int:
    return run(main, parse(list(words)), package="inpaint")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["", "--mask", "mask.png"], "IMAGE is empty"),
        (["x" * 300 + ".png", "a.png", "--mask", "mask.png"], "more than 255 bytes"),
        (["a.png", "--mask", ""], "--mask is empty"),
        (["a.png", "--mask", "mask.png", "--out", ""], "--out is empty"),
        (["--list", ""], "--list is empty"),
        (["a.png", "--objects", ""], "--objects is empty"),
        (["replace", "a.png", "--mask", "mask.png", "--background", ""], "--background is empty"),
        (["a.png", "--mask", "gone.png"], "there is no mask gone.png"),
        (["a.png", "--mask", "gone.png#2"], "there is no mask gone.png"),
        (["a.png", "--mask", "mask.png", "--backend", "http://"], "names no server"),
        (["a.png", "--mask", "mask.png", "--backend", "http://localhost:port"], "names no server"),
        (["a.png", "--mask", "mask.png", "--quality", "50"], "--quality is of JPEG and WebP"),
        (["a.png", "--mask", "mask.png", "--quality", "50", "--out", "a.tif"], "--quality is of JPEG and WebP"),
        (["a.png", "--mask", "mask.png", "--out", "a.png"], "would be written over the input"),
        (["a.png", "--mask", "mask.png", "--out", "mask.png"], "would be written over the input"),
        (["a.png", "--mask", "mask.png", "--out", "a.png/x"], "a.png is a file"),
        (["a.png", "--mask", "mask.png", "--out", "a.gif"], "results are written as"),
    ],
)
def test_it_is_said_before_anything_is_done(words: list[str], message: str, capsys) -> None:
    before = {path: path.read_bytes() for path in Path().iterdir()}
    local = words if "--backend" in words or words[0] == "replace" else [*words, "--backend", "cv2"]
    assert call(*local) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_columns_of_other_tasks_are_said(capsys) -> None:
    Path("list.csv").write_text("image,mask,background\na.png,mask.png,navy\n")
    assert call("--list", "list.csv", "--backend", "cv2") == 0
    assert "the column background of list.csv is of other tasks" in capsys.readouterr().err


def test_a_hole_at_all_four_edges(scene) -> None:
    frame = np.full(scene.alpha.shape, 255, np.uint8)
    frame[20:-20, 20:-20] = 0
    PIL.Image.fromarray(frame).save("frame.png")
    assert call("a.png", "--mask", "frame.png", "--backend", "cv2") == 0
    result, hole = (np.asarray(PIL.Image.open(f"outputs/a_{kind}.png")) for kind in ("removed", "hole"))
    assert (hole[0] == 255).all() and np.array_equal(result[hole == 0], scene.image[hole == 0])


def test_one_pixel_cannot_be_emptied(capsys) -> None:
    PIL.Image.new("RGB", (1, 1)).save("one.png")
    PIL.Image.new("L", (1, 1), 255).save("all.png")
    assert call("one.png", "--mask", "all.png", "--backend", "cv2") == 1
    assert "nothing is left to fill it from" in capsys.readouterr().err and not Path("outputs/one_removed.png").exists()
