"""Folders, masks and formats as people have them: what a run reads, what it writes, and what it says once."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest

from inpaint.cli import parse
from inpaint.cli.command import main
from tests.inpaint.tiny_models import save_lama
from zim_plugins.cli.runtime import run

pytest.importorskip("patchmatch")


def call(*arguments: str | Path) -> int:
    """What the command does with these words; PatchMatch fills where no filler is named."""
    words = [str(word) for word in arguments]
    words += [] if "--backend" in words or words[0] in ("cutout", "replace") else ["--backend", "patchmatch"]
    return run(main, parse(words), package="inpaint")


@pytest.fixture(autouse=True)
def folder(scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images in `photos/`, their masks in `masks/`."""
    monkeypatch.chdir(tmp_path)
    for place in ("photos", "masks"):
        Path(place).mkdir()
    for number, name in enumerate(("a", "b", "c")):
        PIL.Image.fromarray(np.roll(scene.image, 5 * number, axis=1)).save(f"photos/{name}.png")
        mask = np.roll(scene.alpha > 0.5, 5 * number, axis=1)
        PIL.Image.fromarray(mask * np.uint8(255)).save(f"masks/{name}.png")
    return tmp_path


def names(place: str) -> set[str]:
    return {path.name for path in Path(place).glob("[!.]*")}


def read(path: str | Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(path))


def test_one_mask_serves_a_folder(capsys) -> None:
    assert call("photos", "--mask", "masks/a.png", "--json") == 0
    assert names("outputs") == {f"{n}_{k}.png" for n in "abc" for k in ("alpha", "hole", "removed")}
    alphas = [read(f"outputs/{name}_alpha.png") for name in "abc"]
    assert all(np.array_equal(alpha, read("masks/a.png")) for alpha in alphas)
    assert [json.loads(line)["prompt"] for line in capsys.readouterr().out.splitlines()] == [
        {"mask": "masks/a.png"}
    ] * 3


@pytest.mark.parametrize("pattern", ["{}.png", "{}.PNG", "{}_mask.png", "{}-matte.png", "{}_alpha.png", "{}.png.png"])
@pytest.mark.parametrize("task", ["remove", "cutout"])
def test_a_folder_of_masks_by_name(pattern: str, task: str) -> None:
    for name in "abc":
        Path(f"masks/{name}.png").rename(f"masks/{name}.tmp")
    for name in "abc":
        Path(f"masks/{name}.tmp").rename("masks/" + pattern.format(name))
    assert call(task, "photos", "--mask", "masks") == 0
    for name in "abc":
        assert np.array_equal(read(f"outputs/{name}_alpha.png"), read("masks/" + pattern.format(name)))


def test_masks_beside_their_images() -> None:
    for name in "abc":
        shutil.move(f"masks/{name}.png", f"photos/{name}_mask.png")
    assert call("photos", "--mask", "photos") == 0
    assert names("outputs") == {f"{n}_{k}.png" for n in "abc" for k in ("alpha", "hole", "removed")}


def test_masks_in_folders_that_mirror_the_images() -> None:
    for name in "ab":
        for place in ("photos", "masks"):
            Path(f"{place}/sub{name}").mkdir()
            shutil.move(f"{place}/{name}.png", f"{place}/sub{name}/{name}.png")
    assert call("photos", "--mask", "masks") == 0
    assert np.array_equal(read("outputs/subb/b_alpha.png"), read("masks/subb/b.png"))


def test_an_image_without_a_mask_fails_and_the_others_go_on(capsys) -> None:
    Path("masks/b.png").unlink()
    shutil.copy("masks/c.png", "masks/c.bmp")
    PIL.Image.new("L", (5, 5)).save("masks/c.bmp")
    assert call("photos", "--mask", "masks") == 1
    said = capsys.readouterr().err
    assert "photos/b.png: masks holds no mask for it (b.* or b_mask.*)" in said
    assert "several masks for it: c.bmp, c.png" in said and "2 of 3" in said
    assert names("outputs") == {"a_alpha.png", "a_hole.png", "a_removed.png"}


def test_a_folder_without_any_fitting_mask_is_misuse(capsys) -> None:
    Path("empty").mkdir()
    assert call("photos", "--mask", "empty") == 2
    assert "a mask for none of the 3 images" in capsys.readouterr().err and not Path("outputs").exists()


def test_two_masks_are_two_objects_in_every_image() -> None:
    for name, corner in (("x", 5), ("y", 130)):
        drawn = np.zeros((128, 160), np.uint8)
        drawn[5:20, corner : corner + 15] = 255
        PIL.Image.fromarray(drawn).save(f"{name}.png")
    assert call("photos", "--mask", "x.png", "--mask", "y.png") == 0
    for name in "abc":
        alpha = read(f"outputs/{name}_alpha.png")
        assert alpha[10, 10] == alpha[10, 135] == 255 and alpha[64, 80] == 0


@pytest.mark.parametrize("given", ["photos", "photos/*"])
def test_results_in_the_input_folder_are_no_inputs(given: str, capsys) -> None:
    before = names("photos")
    for _ in range(3):
        assert call(given, "--mask", "masks", "--out", "photos") == 0
    assert names("photos") == before | {f"{n}_{k}.png" for n in "abc" for k in ("alpha", "hole", "removed")}
    assert given != "photos" or "9 left out, results of earlier runs" in capsys.readouterr().err
    assert call("cutout", given, "--mask", "masks", "--out", "elsewhere") == 0
    assert len(names("elsewhere")) == 6  # nor for another task, into another folder


def test_what_only_looks_like_a_result_is_an_input() -> None:
    shutil.move("photos/b.png", "photos/old_removed.png")
    assert call("photos", "--mask", "masks/a.png") == 0
    assert "old_removed_removed.png" in names("outputs")


def test_a_mask_and_a_background_within_the_folder_are_no_inputs() -> None:
    shutil.move("masks/a.png", "photos/the mask.png")
    shutil.copy("photos/c.png", "photos/beach.png")
    assert call("replace", "photos", "--mask", "photos/the mask.png", "--background", "photos/beach.png") == 0
    assert names("outputs") == {f"{n}_{k}.png" for n in "abc" for k in ("alpha", "replaced")}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".tif"])
def test_out_is_a_file_for_one_image(suffix: str) -> None:
    for _ in range(2):  # also where it is there already
        assert call("photos/a.png", "--mask", "masks/a.png", "--out", f"new/res{suffix}") == 0
    assert names("new") == {f"res{suffix}", "res_alpha.png", "res_hole.png"}
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
    with PIL.Image.open(f"new/res{suffix}") as result:
        assert result.format == kind
        same = read("new/res_hole.png") == 0
        difference = np.abs(np.asarray(result)[same].astype(int) - read("photos/a.png")[same])
        assert difference.max() == 0 if kind != "JPEG" else difference.mean() < 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos", "--mask", "masks", "--out", "res.png"], "one file, and there are 3 images"),
        (["photos/a.png", "--mask", "masks/a.png", "--out", "res.gif"], "results are written as"),
        (["photos/a.png", "--mask", "masks/a.png", "--out", "photos/a.png"], "written over the input photos/a.png"),
        (["photos/a.png", "--mask", "masks/a.png", "--out", "masks/a.png"], "written over the input masks/a.png"),
        (["photos/a.png", "--mask", "masks/a.png", "--out", "a.jpg", "--format", "png"], "leave out --format"),
        (["photos/a.png", "--mask", "masks/a.png", "--quality", "0"], "--quality"),
        (["cutout", "photos/a.png", "--mask", "masks/a.png", "--format", "jpg"], "no alpha channel"),
        (["cutout", "photos/a.png", "--mask", "masks/a.png", "--out", "a.jpg"], "no alpha channel"),
        (["photos/a.png", "--mask", "masks/a.png", "--backend", "gone.pt"], "there is no file gone.pt"),
    ],
)
def test_misuse_is_told_and_nothing_is_done(words, message, capsys) -> None:
    before = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    assert call(*words) == 2
    assert message in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}


def test_a_folder_called_like_a_file_is_a_folder() -> None:
    Path("res.png").mkdir()
    assert call("photos/a.png", "--mask", "masks/a.png", "--out", "res.png") == 0
    assert "a_removed.png" in names("res.png")


def test_formats_of_a_batch(scene) -> None:
    PIL.Image.fromarray(scene.image).save("photos/d.jpg", quality=90)
    PIL.Image.fromarray(scene.image).save("photos/e.bmp")
    assert call("photos", "--mask", "masks/a.png", "--format", "same") == 0
    assert {name for name in names("outputs") if "removed" in name} == {
        *("a_removed.png", "b_removed.png", "c_removed.png", "d_removed.jpg", "e_removed.png")
    }
    assert call("photos", "--mask", "masks/a.png", "--format", "webp", "--out", "w") == 0
    assert call("photos", "--mask", "masks/a.png", "--format", "webp", "--out", "w", "--no-overwrite", "--json") == 0
    assert {Path(name).suffix for name in names("w") if "removed" in name} == {".webp"}


def test_texts_of_a_png_go_through_and_a_jpeg_says_what_it_lacks(scene, capsys) -> None:
    texts = PIL.PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a ball, steps 20")
    PIL.Image.fromarray(scene.image).save("t.png", pnginfo=texts)
    assert call("t.png", "--mask", "masks/a.png") == 0
    with PIL.Image.open("outputs/t_removed.png") as result:
        assert result.text == {"parameters": "a ball, steps 20"}
    capsys.readouterr()
    assert call("t.png", "--mask", "masks/a.png", "--out", "t.jpg", "--json") == 0
    streams = capsys.readouterr()
    assert "texts left out, which JPEG has no place for: parameters" in streams.err
    assert "parameters" in json.loads(streams.out)["warnings"][-1]


def test_a_mask_of_ones_and_a_jpeg_mask_are_masks(scene, capsys) -> None:
    mask = read("masks/a.png")
    PIL.Image.fromarray((mask > 0).astype(np.uint8)).save("ones.png")
    PIL.Image.fromarray(mask).save("mask.jpg", quality=60)
    for name in ("ones.png", "mask.jpg"):
        assert call("photos/a.png", "--mask", name, "--json") == 0
        streams = capsys.readouterr()
        hole = read("outputs/a_hole.png") > 0
        assert call("photos/a.png", "--mask", "masks/a.png", "--out", "plain") == 0
        plain = read("plain/a_hole.png") > 0
        assert abs(hole.sum() / plain.sum() - 1) < 0.01
        assert name in streams.err and any(name in note for note in json.loads(streams.out)["notes"])
        capsys.readouterr()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_missing_weights_are_said_once(jobs: str, capfd, monkeypatch) -> None:
    monkeypatch.setenv("LAMA_MODEL", str(Path("gone.pt").resolve()))
    Path("photos/0.png").write_bytes(b"broken")
    assert call("photos", "--mask", "masks/a.png", "--backend", "lama", "--jobs", jobs) == 2
    said = capfd.readouterr().err
    assert said.count("gone.pt") == 1 and "Traceback" not in said and not Path("outputs").exists()


@pytest.mark.parametrize("words", [["--backend", "sdxl"], ["--model", "zim_vit_b", "--point", "80,64"]])
def test_missing_models_are_said_once(words, capsys, monkeypatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "ZIM_CACHE", "ZIM_HOME"):
        monkeypatch.setenv(name, str(Path("nothing").resolve()))
    if "--backend" in words:
        pytest.importorskip("diffusers")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(Path("nothing").resolve()))
        words = [*words, "--mask", "masks/a.png"]
    else:
        monkeypatch.setattr("zim_plugins.core.load.load_predictor", refuse)
    assert call("photos", *words) == 2
    said = capsys.readouterr().err
    assert said.count("--download") == 1 and not Path("outputs").exists()


def refuse(*_: object, **__: object) -> None:
    from zim_plugins.core import CheckpointError

    raise CheckpointError("no weights of zim_vit_b: zim models --download")


def test_a_torchscript_file_fills(tmp_path: Path, capsys) -> None:
    save_lama(tmp_path / "my+lama.pt")
    assert call("photos/a.png", "--mask", "masks/a.png", "--backend", "my+lama.pt", "--json") == 0
    assert json.loads(capsys.readouterr().out)["backend"] == "my+lama.pt"


def test_torchscript_of_another_kind_is_refused(capsys) -> None:
    import warnings

    import torch

    network = torch.nn.Conv2d(3, 3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), "conv.pt")
    assert call("photos", "--mask", "masks/a.png", "--backend", "conv.pt") == 2
    assert "not LaMa's forward(image, mask)" in capsys.readouterr().err


def test_a_mask_for_the_stored_pixels_of_a_turned_image_is_explained(scene, capsys) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.rot90(scene.image)).save("turned.jpg", exif=exif)
    PIL.Image.fromarray(np.rot90(read("masks/a.png"))).save("stored.png")
    assert call("turned.jpg", "--mask", "stored.png") == 2
    assert "turned by its EXIF data" in capsys.readouterr().err
    assert call("turned.jpg", "--mask", "masks/a.png") == 0
