"""Results of other tools: found by name, scored by the same metrics, faults told."""

import csv
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.evaluation.cli import COMMANDS, main
from inpaint.evaluation.others import OtherTool, repainted
from zim_plugins.cli.options import parse_command
from zim_plugins.cli.runtime import run
from zim_plugins.core import ImageError

pytest.importorskip("cv2")


def call(*words: str) -> int:
    args = parse_command(COMMANDS, ["folders", *words], prog="zim-inpaint-eval", description="")
    return run(main, args, package="inpaint")


@pytest.fixture
def folders(scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cases, and three tools: one that knows the truth, one that does nothing, one that answered once."""
    monkeypatch.chdir(tmp_path)
    tools = {"perfect": scene.background, "idle": scene.image, "lazy": scene.background}
    for stem in ("a", "b"):
        parts = {"image": scene.image, "clean": scene.background, "mask": (scene.alpha * 255).astype(np.uint8)}
        for name, pixels in (parts | tools).items():
            if (name, stem) != ("lazy", "b"):
                Path(name).mkdir(exist_ok=True)
                suffix = "_removed" if name == "idle" else ""
                PIL.Image.fromarray(pixels).save(f"{name}/{stem}{suffix}.png")
    return tmp_path


@pytest.mark.slow
def test_other_tools_are_scored_beside_our_methods(folders: Path) -> None:
    words = ["--data", ".", "--model", "truth", "--fillers", "cv2", "--methods", "ours,hard", "--out", "out"]
    tools = [word for name in ("perfect", "idle", "lazy") for word in ("--results", f"{name}={name}")]
    assert call(*words, *tools, "--keep-results", "--no-pictures") == 1  # one result is missing
    rows = list(csv.DictReader(Path("out/rows.csv").read_text().splitlines()))
    scores = {(row["case"], row["method"]): row for row in rows}
    assert len(rows) == 2 * 5 and float(scores["a", "perfect"]["hole_psnr"]) == 100
    assert float(scores["a", "idle"]["hole_psnr"]) < float(scores["a", "ours"]["hole_psnr"]) < 100
    assert "should hold one result of b" in scores["b", "lazy"]["message"] and not scores["a", "lazy"]["message"]
    kept = sorted(Path("out/results").glob("a*perfect.png"))
    assert len(kept) == 1 and np.array_equal(
        np.asarray(PIL.Image.open(kept[0])), np.asarray(PIL.Image.open("clean/a.png"))
    )


@pytest.mark.parametrize("given", ["lama", "=x", "gone=nowhere", "ours=perfect"])
def test_misuse(given: str, folders: Path, capsys) -> None:
    assert call("--data", ".", "--fillers", "cv2", "--model", "truth", "--results", given, "--out", "out") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) <= 4 and not Path("out").exists()


def test_a_result_of_another_size_or_two_of_one_name_are_refused(folders: Path, scene) -> None:
    PIL.Image.new("RGB", (5, 5)).save("perfect/b.png")
    with pytest.raises(ImageError, match="5x5 px"):
        OtherTool("perfect", Path("perfect")).read("b", scene.image)
    PIL.Image.new("RGB", (5, 5)).save("perfect/a.jpg")
    with pytest.raises(ImageError, match=r"several: a\.jpg, a\.png"):
        OtherTool("perfect", Path("perfect")).find("A")


def test_what_was_repainted_is_told_from_the_result(rng) -> None:
    image = rng.integers(30, 220, (60, 80, 3), dtype=np.uint8)
    hole = np.zeros((60, 80), bool)
    hole[20:40, 30:60] = True
    result = np.where(hole[..., None], 255 - image, image)
    found = repainted(image, result, hole)
    assert (found & hole).sum() / hole.sum() > 0.98 and (found & ~hole).sum() < 10
    assert np.array_equal(repainted(image, image, hole), hole)
