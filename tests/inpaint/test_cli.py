"""`zim-inpaint` from arguments to files; no weights are needed: the matte is given, or a fake predictor stands in."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from inpaint.cli.arguments import RemoveArgs
from inpaint.cli.command import main
from zim_plugins.cli.runtime import run

pytest.importorskip("patchmatch")


def call(args: RemoveArgs) -> int:
    """What `zim-inpaint` does once its arguments are parsed."""
    return run(main, args, package="inpaint")


@pytest.fixture
def image(scene, tmp_path: Path) -> Path:
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


def test_a_mask_removes_the_object(image: Path, mask: Path, out: Path, scene, capsys) -> None:
    assert call(RemoveArgs(images=(str(image),), mask=(str(mask),), out=str(out), json=True)) == 0
    assert sorted(p.name for p in out.glob("[!.]*")) == ["дом_alpha.png", "дом_hole.png", "дом_removed.png"]
    removed, alpha, hole = (read(out / f"дом_{kind}.png") for kind in ("removed", "alpha", "hole"))
    assert removed.shape == scene.image.shape and np.array_equal(alpha, read(mask))
    assert set(np.unique(hole)) == {0, 255}
    assert np.array_equal(removed[hole == 0], scene.image[hole == 0])
    assert np.abs(removed.astype(float) - scene.background)[hole > 0].mean() < 20
    streams = capsys.readouterr()
    record = json.loads(streams.out)
    assert record["backend"] == "patchmatch" and record["files"]["removed"] == str(out / "дом_removed.png")
    assert record["hole_share"] == pytest.approx((hole > 0).mean(), abs=1e-5)
    assert "filling with patchmatch" in streams.err


def test_clicks_of_both_labels_make_one_prompt(image, out, fake_predictor, monkeypatch, capsys) -> None:
    monkeypatch.setattr("zim_plugins.core.load.load_predictor", lambda *a, **k: fake_predictor, raising=False)
    args = RemoveArgs(images=(str(image),), point=("80,64", "10,10,0"), out=str(out), backend="cv2", json=True)
    pytest.importorskip("cv2")
    assert call(args) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == {"points": [[80.0, 64.0, 1], [10.0, 10.0, 0]]}
    assert read(out / "дом_alpha.png")[64, 80] == 255


def test_a_bad_image_does_not_stop_the_others(image, out, tmp_path, fake_predictor, monkeypatch, capsys) -> None:
    monkeypatch.setattr("zim_plugins.core.load.load_predictor", lambda *a, **k: fake_predictor, raising=False)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    args = RemoveArgs(images=(str(broken), str(image)), point=("80,64",), out=str(out), json=True)
    assert call(args) == 1
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "broken.png" in records[0]["error"] and "files" in records[1]
    assert len(list(out.glob("[!.]*"))) == 3


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"point": ("500,20",)}, 2, "160x128"),
        ({"point": ("80",)}, 2, "x,y"),
        ({"box": ("1,2,3",)}, 2, "x1,y1,x2,y2"),
        ({}, 2, "--point"),
        ({"images": ()}, 2, "no image"),
        ({"point": ("80,64",), "backend": "magic"}, 2, "patchmatch"),
        ({"point": ("80,64",), "tau": 1.5}, 2, "--tau"),
        ({"point": ("80,64",), "grow": -1}, 2, "--grow"),
        ({"point": ("80,64",), "mask": ("a.png",)}, 2, "--mask"),
        ({"images": ("nowhere.png",), "point": ("80,64",)}, 1, "nowhere.png does not exist"),
        ({"mask": ("nowhere.png",)}, 2, "there is no mask nowhere.png"),
    ],
)
def test_errors_are_one_line_and_leave_no_output(change, code, message, image, out, capsys) -> None:
    args = dataclasses.replace(RemoveArgs(images=(str(image),), out=str(out)), **change)
    assert call(args) == code
    streams = capsys.readouterr()
    lines = [line for line in streams.err.splitlines() if not line.startswith("filling with")]
    assert len(lines) == 1 and message in lines[0]
    assert streams.out == "" and not out.exists()


def test_an_empty_matte_fails_and_leaves_no_output(image, out, tmp_path, capsys) -> None:
    PIL.Image.new("L", (160, 128)).save(tmp_path / "empty.png")
    assert call(RemoveArgs(images=(str(image),), mask=(str(tmp_path / "empty.png"),), out=str(out))) == 1
    assert "the matte is empty" in capsys.readouterr().err
    assert not out.exists()


def test_a_mask_of_another_size_is_misuse(image, out, tmp_path, capsys) -> None:
    PIL.Image.new("L", (20, 10), 255).save(tmp_path / "small.png")
    assert call(RemoveArgs(images=(str(image),), mask=(str(tmp_path / "small.png"),), out=str(out))) == 2
    assert "20x10" in capsys.readouterr().err
    assert not out.exists()


def test_results_that_are_there_are_left_alone_on_request(image, mask, out, capsys) -> None:
    args = RemoveArgs(images=(str(image),), mask=(str(mask),), out=str(out), json=True)
    assert call(args) == 0
    stamp = (out / "дом_removed.png").stat().st_mtime_ns
    assert call(dataclasses.replace(args, no_overwrite=True)) == 0
    assert (out / "дом_removed.png").stat().st_mtime_ns == stamp
    assert '"skipped": true' in capsys.readouterr().out


def test_a_disk_that_refuses_leaves_nothing_half_done(image, mask, out, monkeypatch, capsys) -> None:
    genuine = os.replace

    def refuse_removed(source, target) -> None:
        if str(target).endswith("_removed.png"):
            raise OSError(28, "No space left on device")
        genuine(source, target)

    monkeypatch.setattr(os, "replace", refuse_removed)
    assert call(RemoveArgs(images=(str(image),), mask=(str(mask),), out=str(out))) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(out.glob("[!.]*")) == []


def test_an_interruption_takes_back_a_result_that_is_half_written(image, mask, out, monkeypatch) -> None:
    genuine = os.replace

    def interrupt(source, target) -> None:
        if str(target).endswith("_removed.png"):
            raise KeyboardInterrupt
        genuine(source, target)

    monkeypatch.setattr(os, "replace", interrupt)
    assert call(RemoveArgs(images=(str(image),), mask=(str(mask),), out=str(out))) == 130
    assert list(out.glob("[!.]*")) == []


REFUSED = {
    "truncated.jpg": "truncated",
    "zero_bytes.png": "empty",
    "text_named.png": "not an image",
    "one_pixel.png": "whole image",
    "bomb_60000x60000.png": "too large",
}
"""Files of `bad_inputs` that are to be refused, and the reason; one pixel is all hole."""
TURNED_OVER = {"animated.gif": ("RGB", "the first of 4"), "palette_transparent.png": ("RGBA", "a palette")}
"""Files whose mode cannot be kept, what they become, and what is said."""


def test_every_bad_input_is_served_or_refused(test_data, out, fake_predictor, monkeypatch, capsys) -> None:
    monkeypatch.setattr("zim_plugins.core.load.load_predictor", lambda *a, **k: fake_predictor)
    fake_predictor.radius_px = 4
    for path in sorted(p for p in (test_data / "bad_inputs").iterdir() if p.suffix != ".md"):
        point = {"w3_h2000.png": "1,1", "one_pixel.png": "0.5,0.5"}.get(path.name, "100,100")
        folder = out / f"of {path.name} d"
        code = call(RemoveArgs(images=(str(path),), point=(point,), out=str(folder), backend="patchmatch"))
        said = capsys.readouterr().err
        assert "Traceback" not in said
        written = {p.name.rpartition("_")[2]: p for p in folder.glob("[!.]*")}
        if path.name in REFUSED:
            assert code == 1 and not written, path.name
            assert path.name in said and REFUSED[path.name] in said
            continue
        suffix = ".tif" if path.suffix == ".tif" or path.name == "cmyk.jpg" else ".png"
        assert code == 0 and set(written) == {"alpha.png", "hole.png", f"removed{suffix}"}, path.name
        assert written["hole.png"].name == f"{path.stem}_hole.png"
        with PIL.Image.open(path) if suffix == ".png" or path.name == "cmyk.jpg" else nullcontext() as shown:
            if shown is None:
                before, after = (tifffile().imread(p) for p in (path, written["removed.tif"]))
            else:
                upright = PIL.ImageOps.exif_transpose(shown)
                mode, word = TURNED_OVER.get(path.name, (upright.mode, ""))
                assert word in said
                with PIL.Image.open(written[f"removed{suffix}"]) as result:
                    assert (result.size, result.mode) == (upright.size, mode)
                    before, after = np.asarray(upright.convert(mode)), np.asarray(result)
        hole = read(written["hole.png"]) > 0
        assert hole.any() and np.array_equal(after[~hole], before[~hole]), path.name
        assert not np.array_equal(after[hole], before[hole]), path.name


def tifffile():
    return pytest.importorskip("tifffile")


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
