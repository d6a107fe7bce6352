"""`zim-inpaint` from arguments to files; no weights are needed: the matte is given, or a fake predictor stands in."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.cli import Args, main
from zim_plugins.commands.session import run

pytest.importorskip("patchmatch")


def call(args: Args) -> int:
    """What `zim-inpaint` does once its arguments are parsed."""
    return run(main, args, package="inpaint")


@pytest.fixture
def picture(scene, tmp_path: Path) -> Path:
    path = tmp_path / "дом.png"
    PIL.Image.fromarray(scene.image).save(path)
    return path


@pytest.fixture
def mask(scene, tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    PIL.Image.fromarray((scene.alpha * 255 + 0.5).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def read(path: Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(path))


def test_a_mask_removes_the_object(picture: Path, mask: Path, out: Path, scene, capsys) -> None:
    assert call(Args(images=(str(picture),), mask=str(mask), out=str(out), json=True)) == 0
    assert sorted(p.name for p in out.iterdir()) == ["дом_alpha.png", "дом_hole.png", "дом_removed.png"]
    removed, alpha, hole = (read(out / f"дом_{kind}.png") for kind in ("removed", "alpha", "hole"))
    assert removed.shape == scene.image.shape and np.array_equal(alpha, read(mask))
    assert set(np.unique(hole)) == {0, 255}
    assert np.array_equal(removed[hole == 0], scene.image[hole == 0])
    assert np.abs(removed.astype(float) - scene.background)[hole > 0].mean() < 20
    streams = capsys.readouterr()
    record = json.loads(streams.out)
    assert record["backend"] == "patchmatch" and record["files"]["removed"] == str(out / "дом_removed.png")
    assert record["hole_share"] == pytest.approx((hole > 0).mean(), abs=1e-5)
    assert "patchmatch: the best filler that needs no weights" in streams.err


def test_clicks_of_both_labels_make_one_prompt(picture, out, fake_predictor, monkeypatch, capsys) -> None:
    monkeypatch.setattr("zim_plugins.core.build.load_predictor", lambda *a, **k: fake_predictor, raising=False)
    args = Args(images=(str(picture),), point=("80,64", "10,10,0"), out=str(out), backend="cv2", json=True)
    pytest.importorskip("cv2")
    assert call(args) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == {"points": [[80.0, 64.0, 1], [10.0, 10.0, 0]]}
    assert read(out / "дом_alpha.png")[64, 80] == 255


def test_a_bad_picture_does_not_stop_the_others(picture, out, tmp_path, fake_predictor, monkeypatch, capsys) -> None:
    monkeypatch.setattr("zim_plugins.core.build.load_predictor", lambda *a, **k: fake_predictor, raising=False)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    args = Args(images=(str(broken), str(picture)), point=("80,64",), out=str(out), json=True)
    assert call(args) == 1
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "broken.png" in records[0]["error"] and "files" in records[1]
    assert len(list(out.iterdir())) == 3


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"point": ("500,20",)}, 2, "160x128"),
        ({"point": ("80",)}, 2, "x,y"),
        ({"box": "1,2,3"}, 2, "x1,y1,x2,y2"),
        ({}, 2, "--point"),
        ({"images": ()}, 2, "no picture"),
        ({"point": ("80,64",), "backend": "magic"}, 2, "patchmatch"),
        ({"point": ("80,64",), "tau": 1.5}, 2, "--tau"),
        ({"point": ("80,64",), "grow": -1}, 2, "--grow"),
        ({"point": ("80,64",), "mask": "a.png"}, 2, "--mask"),
        ({"images": ("nowhere.png",), "point": ("80,64",)}, 1, "nowhere.png does not exist"),
        ({"mask": "nowhere.png"}, 1, "nowhere.png does not exist"),
    ],
)
def test_errors_are_one_line_and_leave_no_output(change, code, message, picture, out, capsys) -> None:
    args = dataclasses.replace(Args(images=(str(picture),), out=str(out)), **change)
    assert call(args) == code
    streams = capsys.readouterr()
    lines = [line for line in streams.err.splitlines() if not line.startswith("filling with")]
    assert len(lines) == 1 and message in lines[0]
    assert streams.out == "" and not out.exists()


def test_an_empty_matte_fails_and_leaves_no_output(picture, out, tmp_path, capsys) -> None:
    PIL.Image.new("L", (160, 128)).save(tmp_path / "empty.png")
    assert call(Args(images=(str(picture),), mask=str(tmp_path / "empty.png"), out=str(out))) == 1
    assert "the matte is empty" in capsys.readouterr().err
    assert not out.exists()


def test_a_mask_of_another_size_is_misuse(picture, out, tmp_path, capsys) -> None:
    PIL.Image.new("L", (20, 10), 255).save(tmp_path / "small.png")
    assert call(Args(images=(str(picture),), mask=str(tmp_path / "small.png"), out=str(out))) == 2
    assert "20x10" in capsys.readouterr().err
    assert not out.exists()


def test_results_that_are_there_are_left_alone_on_request(picture, mask, out, capsys) -> None:
    args = Args(images=(str(picture),), mask=str(mask), out=str(out), json=True)
    assert call(args) == 0
    stamp = (out / "дом_removed.png").stat().st_mtime_ns
    assert call(dataclasses.replace(args, no_overwrite=True)) == 0
    assert (out / "дом_removed.png").stat().st_mtime_ns == stamp
    assert '"skipped": true' in capsys.readouterr().out


def test_a_disk_that_refuses_leaves_nothing_half_done(picture, mask, out, monkeypatch, capsys) -> None:
    import zim_plugins.core as core

    genuine = core.write_image

    def refuse_removed(path: Path, array: np.ndarray) -> Path:
        if path.name.endswith("_removed.png"):
            raise core.ImageError(f"cannot write {path}: No space left on device")
        return genuine(path, array)

    monkeypatch.setattr("zim_plugins.core.image_io.write_image", refuse_removed)
    assert call(Args(images=(str(picture),), mask=str(mask), out=str(out))) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_broken_files_are_refused_and_odd_ones_are_served(test_data, out, fake_predictor, monkeypatch, capsys) -> None:
    """Every deliberately broken or odd file: done, or one line and no output; the good ones go on."""
    monkeypatch.setattr("zim_plugins.core.build.load_predictor", lambda *a, **k: fake_predictor)
    fake_predictor.radius_px = 4
    refused = {"truncated.jpg", "zero_bytes.png", "text_named.png", "one_pixel.png", "bomb_60000x60000.png"}
    files = sorted(p for p in (test_data / "bad_inputs").iterdir() if p.suffix != ".md")
    for path in files:
        point = "1,1" if path.name == "w3_h2000.png" else "0.5,0.5" if path.name == "one_pixel.png" else "100,100"
        code = call(Args(images=(str(path),), point=(point,), out=str(out / path.name), backend="patchmatch"))
        streams = capsys.readouterr()
        written = sorted(p.name for p in (out / path.name).glob("*"))
        if path.name in refused:
            assert code == 1 and written == [], path.name
            assert path.name in streams.err and "Traceback" not in streams.err
        elif not path.name.endswith(".tif"):  # floating-point TIFF is served where tifffile is installed
            assert code == 0 and written == [f"{path.stem}_{kind}.png" for kind in ("alpha", "hole", "removed")]


def test_help_is_quick_and_loads_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['zim-inpaint', '--help']\n"
        "from inpaint.cli import entrypoint\n"
        "try:\n    entrypoint()\n"
        "except SystemExit as e:\n    assert e.code == 0\n"
        "assert not {'torch', 'skimage', 'scipy', 'patchmatch'} & set(sys.modules)\n"
    )
    start_s = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for flag in ("--point", "--box", "--mask", "--backend", "--no-unmix", "--no-zoom", "--json", "--no-overwrite"):
        assert flag in done.stdout
    assert time.perf_counter() - start_s < 5  # a second on a quiet machine
