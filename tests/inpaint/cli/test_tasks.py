"""The tasks of `zim-inpaint` from the command line to files, with masks or a fake predictor in the model's place."""

import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from inpaint.cli import parse
from inpaint.cli.command import main
from zim_plugins.cli.runtime import run
from zim_plugins.core import read_original

pytest.importorskip("patchmatch")

RESULTS = {"remove": "removed", "replace": "replaced", "cutout": "cutout"}


def call(*arguments: str | Path) -> int:
    """What the command does with these words."""
    return run(main, parse([str(word) for word in arguments]), package="inpaint")


class Painter:
    """Paints the hole blue."""

    name = "painter"
    work_side_px: int | None = None

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def fill(self, image, hole):
        return self.fill_guided(image, hole)

    def fill_guided(self, image, hole, *, prompt="", change=None):
        self.prompts.append(prompt)
        return np.where(hole[..., None], np.array([0, 0, 255], np.uint8), image)


@pytest.fixture
def painter(monkeypatch) -> Painter:
    painter = Painter()
    monkeypatch.setattr("inpaint.inpainters.registry.load_inpainter", lambda *a, **k: painter)
    return painter


@pytest.fixture(autouse=True)
def folder(scene, tmp_path, monkeypatch, fake_predictor) -> Path:
    """The working folder, with `ball.png` and its matte `mask.png`; a soft disk stands in for the model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zim_plugins.core.load.load_predictor", lambda *a, **k: fake_predictor)
    PIL.Image.fromarray(scene.image).save("ball.png")
    PIL.Image.fromarray((scene.alpha * 255 + 0.5).astype(np.uint8)).save("mask.png")
    return tmp_path


def read(name: str) -> np.ndarray:
    return np.asarray(PIL.Image.open(Path("outputs") / name))


def written() -> list[str]:
    return sorted(path.name for path in Path("outputs").glob("[!.]*"))


@pytest.mark.parametrize("words", [["remove", "ball.png"], ["ball.png"]])
def test_remove_is_the_task_where_none_is_named(words) -> None:
    assert call(*words, "--point", "80,64") == 0
    assert written() == ["ball_alpha.png", "ball_hole.png", "ball_removed.png"]


def test_fill(painter, scene, capsys) -> None:
    assert call("fill", "ball.png", "--mask", "mask.png", "--prompt", "a moon", "--json") == 0
    assert written() == ["ball_alpha.png", "ball_filled.png", "ball_hole.png"]
    hole = read("ball_hole.png") > 0
    assert (read("ball_filled.png")[hole] == (0, 0, 255)).all()
    assert np.array_equal(read("ball_filled.png")[~hole], scene.image[~hole])
    record = json.loads(capsys.readouterr().out)
    assert painter.prompts == ["a moon"] == [record["text"]] and record["backend"] == "painter"


def test_fill_by_a_filler_without_text_names_those_that_can(capsys) -> None:
    assert call("fill", "ball.png", "--mask", "mask.png", "--prompt", "a moon", "--backend", "patchmatch") == 1
    assert "takes no text" in capsys.readouterr().err and written() == []


@pytest.mark.parametrize("colour", ["#0000ff", "0,0,255", "blue"])
def test_replace_by_a_colour(colour, scene) -> None:
    assert call("replace", "ball.png", "--mask", "mask.png", "--background", colour) == 0
    assert written() == ["ball_alpha.png", "ball_replaced.png"]
    alpha, result = read("ball_alpha.png"), read("ball_replaced.png")
    assert (result[alpha == 0] == (0, 0, 255)).all()
    assert np.array_equal(result[alpha == 255], scene.image[alpha == 255])


def test_replace_by_a_file_and_by_a_text(painter, scene) -> None:
    PIL.Image.fromarray(scene.background[::-1]).save("new.png")
    assert call("replace", "ball.png", "--mask", "mask.png", "--background", "new.png") == 0
    alpha = read("ball_alpha.png")
    assert np.array_equal(read("ball_replaced.png")[alpha == 0], scene.background[::-1][alpha == 0])
    assert call("replace", "ball.png", "--mask", "mask.png", "--prompt", "the sea") == 0
    assert painter.prompts == ["the sea"] and (read("ball_replaced.png")[alpha == 0] == (0, 0, 255)).all()


def test_cutout_keeps_within_the_images_own_opacity(scene) -> None:
    opacity = np.full((128, 160), 255, np.uint8)
    opacity[:, :80] = 0
    PIL.Image.fromarray(np.dstack([scene.image, opacity])).save("half.png")
    assert call("cutout", "half.png", "--mask", "mask.png") == 0
    assert written() == ["half_alpha.png", "half_cutout.png"]
    cut = read("half_cutout.png")
    assert cut.shape == (128, 160, 4) and (cut[:, :80, 3] == 0).all()
    assert np.array_equal(cut[:, 80:, 3], read_mask()[:, 80:])


def read_mask() -> np.ndarray:
    return np.asarray(PIL.Image.open("mask.png"))


def test_several_objects_in_every_form(fake_predictor, capsys) -> None:
    fake_predictor.radius_px = 8
    Path("more.json").write_text(json.dumps([{"points": [[140, 20]]}]))
    words = [
        "ball.png",
        "--point",
        "20,20",
        "--also",
        "60,100;5,5,0",
        "--also",
        "100,90,120,110",
        "--objects",
        "more.json",
    ]
    assert call(*words, "--json", "--backend", "patchmatch") == 0
    alpha = read("ball_alpha.png")
    assert all(alpha[y, x] == 255 for x, y in ((20, 20), (60, 100), (110, 100), (140, 20))) and alpha[64, 80] == 0
    assert len(json.loads(capsys.readouterr().out)["prompt"]["objects"]) == 4


def test_a_mask_and_its_shadow_by_a_click(fake_predictor) -> None:
    fake_predictor.radius_px = 5
    assert call("ball.png", "--mask", "mask.png", "--also", "15,15", "--backend", "patchmatch") == 0
    assert read("ball_alpha.png")[15, 15] == read("ball_alpha.png")[64, 80] == 255


def test_a_matte_that_a_model_made_is_told_by_its_record(capsys) -> None:
    def unmixed(*words: str) -> bool:
        assert call("ball.png", "--mask", "outputs/ball_alpha.png", "--out", "again", "--json", *words) == 0
        return json.loads(capsys.readouterr().out)["unmix"]

    assert call("ball.png", "--point", "80,64") == 0
    capsys.readouterr()
    assert not unmixed()
    assert unmixed("--unmix")
    PIL.Image.fromarray(read("ball_alpha.png") // 2 * 2).save("outputs/ball_alpha.png")
    assert unmixed()
    assert not unmixed("--no-unmix")


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("task", ["remove", "cutout", "replace"])
def test_depth_profile_and_exif_go_through(task, depth, scene) -> None:
    from zim_plugins.imaging.codecs.png16 import write_png

    exif = PIL.Image.Exif()
    exif[0x010F] = "Maker"
    pixels = scene.image if depth == 8 else scene.image.astype(np.uint16) * 257 + 1
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    with Path("deep.png").open("wb") as stream:
        write_png(stream, pixels, icc_profile=profile, exif=exif.tobytes())
    extra = ["--background", "red"] if task == "replace" else []
    assert call(task, "deep.png", "--mask", "mask.png", *extra) == 0
    written_as = Path(f"outputs/deep_{RESULTS[task]}.png")
    result = read_original(written_as).raster
    assert result.pixels.dtype == pixels.dtype and result.metadata.icc_profile == profile
    with PIL.Image.open(written_as) as image:
        assert image.getexif()[0x010F] == "Maker"
    same = read("deep_hole.png") == 0 if task == "remove" else read("deep_alpha.png") == 255
    assert same.any() and np.array_equal(result.pixels[same][:, :3], pixels[same])


def test_the_fringe_of_a_deep_image_has_more_than_eight_bits(scene) -> None:
    from zim_plugins.imaging.codecs.png16 import write_png

    deep = scene.image.astype(np.uint16) * 257 + np.random.default_rng(0).integers(-99, 99, scene.image.shape)
    with Path("deep.png").open("wb") as stream:
        write_png(stream, deep.clip(0, 65535).astype(np.uint16))
    assert call("deep.png", "--mask", "mask.png") == 0
    result = read_original("outputs/deep_removed.png").raster.pixels
    thin = (scene.alpha > 0.02) & (scene.alpha < 0.2)
    assert (result[thin] % 257 != 0).mean() > 0.5


@pytest.mark.parametrize("task", ["remove", "replace", "cutout"])
def test_a_result_for_a_pipe(task, capsysbinary, monkeypatch) -> None:
    content = io.BytesIO(Path("ball.png").read_bytes())
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=content))
    extra = ["--background", "red"] if task == "replace" else []
    assert call(task, "-", "--mask", "mask.png", "--out", "-", *extra) == 0
    image = PIL.Image.open(io.BytesIO(capsysbinary.readouterr().out))
    assert image.size == (160, 128) and image.mode == ("RGBA" if task == "cutout" else "RGB")
    assert written() == []


@pytest.mark.parametrize(("task", "extra"), [("remove", []), ("cutout", []), ("replace", ["--background", "red"])])
def test_what_is_there_is_left_alone_on_request(task, extra, capsys) -> None:
    PIL.Image.fromarray(np.dstack([np.asarray(PIL.Image.open("ball.png")), read_mask() * 0]), mode="CMYK").save(
        "print.tif"
    )
    words = [task, "ball.png", "print.tif", "--box", "40,24,120,104", "--json", *extra]
    assert call(*words) == 0
    stamps = {path: path.stat().st_mtime_ns for path in Path("outputs").glob("[!.]*")}
    assert ("print_removed.tif" in written()) == (task == "remove")
    capsys.readouterr()
    assert call(*words, "--no-overwrite") == 0
    assert all(json.loads(line)["skipped"] for line in capsys.readouterr().out.splitlines())
    assert {path: path.stat().st_mtime_ns for path in Path("outputs").glob("[!.]*")} == stamps
    last = Path("outputs", written()[-1])
    last.unlink()
    assert call(*words, "--no-overwrite") == 0 and last.exists()


def test_a_list_names_images_objects_and_backgrounds(scene, capsys) -> None:
    Path("in").mkdir()
    for name in ("a", "b"):
        PIL.Image.fromarray(scene.image).save(f"in/{name}.png")
    PIL.Image.fromarray(scene.background).save("in/new.png")
    Path("in/list.csv").write_text('image,points,background\na.png,"80,64",new.png\nb.png,"40,64",\ngone.png,"1,1",\n')
    assert call("replace", "--list", "in/list.csv", "--background", "0,0,255", "--json") == 1
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r.get("background") for r in records] == [str(Path("in/new.png")), "0,0,255", None]
    assert "does not exist" in records[2]["error"]
    assert np.array_equal(read("a_replaced.png")[0], scene.background[0])
    assert (read("b_replaced.png")[0] == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--list", "list.csv", "--point", "1,1"], "give it alone"),
        (["ball.png", "--list", "list.csv"], "give it alone"),
        (["--list", "gone.csv"], "cannot read gone.csv"),
        (["--list", "twice.json"], "row 2: column prompt"),
        (["ball.png", "--point", "1,1", "--also", "1"], "a click is"),
        (["ball.png", "--point", "1,1", "--jobs", "0"], "--jobs"),
        (["ball.png", "mask.png", "--point", "1,1", "--out", "-"], "one image"),
        (["ball.png", "-", "--point", "1,1", "--jobs", "2"], "standard input"),
        (["fill", "ball.png", "--point", "1,1"], "--prompt"),
        (["replace", "ball.png", "--point", "1,1"], "--background FILE or COLOUR, or --prompt"),
        (["replace", "ball.png", "--point", "1,1", "--background", "nope"], "neither a file nor a colour"),
        (["replace", "ball.png", "--point", "1,1", "--background", "red", "--prompt", "x"], "one of them"),
        (["ball.png", "--point", "1,1", "--strength", "2"], "strength"),
        (["--download", "nothing"], "'nothing'"),
    ],
)
def test_misuse_is_told_in_one_line(words, message, capsys) -> None:
    Path("list.csv").write_text('image,points\nball.png,"1,1"\n')
    Path("twice.json").write_text(json.dumps([{"image": "ball.png", "points": "1,1", "prompt": what} for what in "ab"]))
    assert call(*words) == 2
    streams = capsys.readouterr()
    assert message in streams.err and len(streams.err.splitlines()) == 1 and streams.out == ""
    assert written() == []


@pytest.mark.parametrize("task", ["remove", "cutout"])
def test_a_matte_over_everything_and_an_empty_one(task, capsys) -> None:
    PIL.Image.new("L", (160, 128), 255).save("full.png")
    PIL.Image.new("L", (160, 128), 0).save("empty.png")
    assert call(task, "ball.png", "--mask", "empty.png") == 1
    assert "the matte is empty" in capsys.readouterr().err and written() == []
    code = call(task, "ball.png", "--mask", "full.png")
    assert "whole image" in capsys.readouterr().err
    assert code == (1 if task == "remove" else 0) and bool(written()) == (task == "cutout")


def test_an_object_at_the_border_is_removed_with_a_warning(scene, capsys) -> None:
    mask = np.zeros((128, 160), np.uint8)
    mask[:40, :30] = 255
    PIL.Image.fromarray(mask).save("corner.png")
    assert call("ball.png", "--mask", "corner.png") == 0
    assert "touches the image's edge" in capsys.readouterr().err
    hole = read("ball_hole.png") > 0
    assert np.array_equal(read("ball_removed.png")[~hole], scene.image[~hole])


@pytest.mark.parametrize("option", ["--box", "--mask"])
def test_an_object_for_each_box_and_each_mask(option, fake_predictor) -> None:
    """The second one is not dropped, nor the first."""
    for name, corner in (("left.png", 5), ("right.png", 120)):
        drawn = np.zeros((128, 160), np.uint8)
        drawn[5:25, corner : corner + 20] = 255
        PIL.Image.fromarray(drawn).save(name)
    values = {"--mask": ("left.png", "right.png"), "--box": ("5,5,25,25", "120,5,140,25")}[option]
    assert call("cutout", "ball.png", option, values[0], option, values[1]) == 0
    alpha = np.asarray(PIL.Image.open("outputs/ball_alpha.png"))
    assert alpha[15, 15] == alpha[15, 130] == 255 and alpha[15, 70] == 0


def test_one_seed_only(capsys) -> None:
    with pytest.raises(SystemExit):
        call("ball.png", "--mask", "mask.png", "--seed", "1", "--seed", "2")
    assert "--seed is given twice" in capsys.readouterr().err
