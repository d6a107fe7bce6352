"""`zim matte` by its own front door: batches, lists, masks, formats; with a predictor that needs no weights."""

import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zim_plugins.cli import main
from zim_plugins.core.prediction import Prediction


@pytest.fixture(autouse=True)
def predictor(monkeypatch, fake_predictor, tmp_path):
    """The fake, which gives a coarse matte back and takes a disk in the middle for the salient object."""
    fake_predictor.name = "soft_disk"
    given = fake_predictor.predict

    def predict(prompt):
        fake_predictor.prompts.append(prompt)
        if prompt.alpha is not None:
            return Prediction(prompt.alpha[None], np.array([0.8], np.float32))
        if prompt.is_salient:
            height, width = fake_predictor.size
            return given(type(prompt).from_point(width / 2, height / 2))
        return given(prompt)

    fake_predictor.prompts = []
    fake_predictor.predict = predict
    build = types.ModuleType("zim_plugins.core.load")
    build.load_predictor = lambda name="auto", **options: fake_predictor  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "zim_plugins.core.load", build)
    monkeypatch.chdir(tmp_path)
    return fake_predictor


def photo(*names: str, colour: tuple[int, int, int] = (220, 30, 20), **how) -> np.ndarray:
    ys, xs = np.mgrid[:80, :120] + 0.5
    alpha = np.clip((20 - np.hypot(xs - 60, ys - 40)) / 2 + 0.5, 0, 1)[..., None]
    rgb = (alpha * colour + (1 - alpha) * (20, 40, 200) + 0.5).astype(np.uint8)
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(rgb).save(name, **how)
    return rgb


def files(folder: str) -> list[str]:
    found = (path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if path.parts[0][0] != "." and ".zim-records" not in path.parts)


def mode(path: str) -> str:
    with PIL.Image.open(path) as image:
        return image.mode


def records(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_went_wrong_in_silence(capsys):
    """Two folders, one name; one by one; another prompt; output into the input folder, twice."""
    photo("a/x.jpg")
    photo("b/x.jpg", colour=(30, 200, 30))
    common = ["--point", "60,40", "--outputs", "alpha,rgba"]
    assert main(["matte", "a", "b", *common, "-o", "both"]) == 0
    assert files("both") == [f"{d}/x_{k}.png" for d in "ab" for k in ("alpha", "rgba")]
    assert main(["matte", "a/x.jpg", *common, "-o", "o"]) == 0
    capsys.readouterr()
    assert main(["matte", "b/x.jpg", *common, "-o", "o", "--no-overwrite"]) == 2
    assert "x_alpha.png was made from" in capsys.readouterr().err
    assert main(["matte", "b/x.jpg", *common, "-o", "o"]) == 2
    assert main(["matte", "a/x.jpg", "--box", "0,0,20,20", "--outputs", "alpha,rgba", "-o", "o", "--no-overwrite"]) == 2
    assert "made with another prompt" in capsys.readouterr().err
    assert main(["matte", "a/x.jpg", *common, "-o", "o", "--no-overwrite", "--json"]) == 0
    assert records(capsys)[0]["skipped"] is True
    for _ in range(3):
        assert main(["matte", "a", *common, "-o", "a"]) == 0
    assert files("a") == ["x.jpg", "x_alpha.png", "x_rgba.png"]


def test_options_and_models_are_part_of_the_record():
    photo("x.png")
    assert main(["matte", "x.png", "--point", "60,40"]) == 0
    assert main(["matte", "x.png", "--point", "60,40", "--no-overwrite"]) == 0
    for more in (["--no-zoom"], ["--refine", "none"], ["--model", "sam_vit_b"], ["--depth", "16"]):
        assert main(["matte", "x.png", "--point", "60,40", "--no-overwrite", *more]) == 2
        assert main(["matte", "x.png", "--point", "60,40", "--resume", *more]) == 0
    assert main(["matte", "x.png", "--point", "60,40", "--resume", "--device", "cpu", "--depth", "16"]) == 0


def test_every_format_is_read_alike_when_named_and_in_folders(capsys):
    photo("in/1.jp2", "in/2.tga", "in/4.bmp", "in/sub/5.webp")
    photo("in/3.jfif", format="JPEG")
    Path("in/6.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99)
    Path("in/7.jxl").write_bytes(b"\xff\x0a" + b"\0" * 99)
    Path("in/8.cr2").touch()
    Path("in/Thumbs.db").touch()
    assert main(["matte", "in", "--point", "60,40", "-o", "o", "--outputs", "alpha", "--json"]) == 1
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(row["image"]).name for row in rows if "error" in row] == ["6.heic", "7.jxl"]
    assert files("o") == ["1_alpha.png", "2_alpha.png", "3_alpha.png", "4_alpha.png", "sub/5_alpha.png"]
    assert "1 left out, images of formats that are not read here: in/8.cr2" in captured.err
    assert "1 left out, no images: in/Thumbs.db" in captured.err
    for name, plugin in (("6.heic", "pillow_heif"), ("7.jxl", "pillow_jxl")):
        code = 1 if importlib.util.find_spec(plugin) else 2
        assert main(["matte", f"in/{name}", "--point", "60,40", "-o", "p"]) == code


@pytest.mark.parametrize(
    ("suffix", "package"), [("heic", "pillow-heif"), ("jxl", "pillow-jxl-plugin"), ("exr", "Open")]
)
def test_a_format_without_its_package_names_it(suffix, package, monkeypatch, capsys):
    from zim_plugins.imaging import formats

    monkeypatch.setattr(formats.Plugin, "is_here", property(lambda self: False))
    heads = {"heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "jxl": b"\xff\x0a", "exr": b"\x76\x2f\x31\x01"}
    Path(f"x.{suffix}").write_bytes(heads[suffix] + b"\0" * 99)
    assert main(["matte", f"x.{suffix}", "--point", "1,1"]) == 2
    assert f"needs {package}" in capsys.readouterr().err
    Path("all").mkdir()
    for number in (1, 2):
        Path(f"all/{number}.{suffix}").write_bytes(heads[suffix] + b"\0" * 99)
    assert main(["matte", "all", "--point", "1,1"]) == 2, "nothing was done, as for one"
    photo("all/3.png")
    assert main(["matte", "all", "--point", "60,40"]) == 1, "the other image is written"
    assert files("outputs") == ["3_alpha.png", "3_overlay.png", "3_rgba.png"]


def test_real_heic_and_jpeg_xl():
    pillow_heif = pytest.importorskip("pillow_heif", reason="HEIC needs the extra formats")
    pytest.importorskip("pillow_jxl", reason="JPEG XL needs the extra formats")
    pillow_heif.register_heif_opener()
    rgb = photo("x.heic", "x.jxl", quality=95)
    assert main(["matte", ".", "--point", "60,40", "-o", "o", "--outputs", "rgba"]) == 0
    for name in ("x_heic_rgba.png", "x_jxl_rgba.png"):
        found = np.asarray(PIL.Image.open(f"o/{name}"))
        inside = found[..., 3] == 255
        assert np.abs(found[..., :3].astype(int) - rgb)[inside].mean() < 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name here")
def test_a_pipe_is_refused_at_once(capsys):
    os.mkfifo("f.jpg")
    for given in ("f.jpg", "/dev/null", "/dev/zero"):
        assert main(["matte", given, "--point", "1,1"]) == 1
        assert "is a pipe or a device" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_that_standard_output_cannot_write(encoding, tmp_path):
    photo("uni/a.jpg", "uni/b_写真_😀.jpg", "uni/c.jpg")
    code = (
        "import sys, types\nimport tests.conftest as c\nb = types.ModuleType('b')\n"
        "f = c.FakePredictor(); f.name = 'f'; b.load_predictor = lambda *a, **k: f\n"
        "sys.modules['zim_plugins.core.load'] = b\nfrom zim_plugins.cli import entrypoint\nentrypoint()\n"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", code, "matte", "uni", "--point", "60,40", "--json", "--outputs", "alpha"],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode("utf-8", "replace")[-800:]
    rows = [json.loads(line) for line in ran.stdout.decode(encoding).splitlines()]
    assert [Path(row["image"]).name for row in rows] == ["a.jpg", "b_写真_😀.jpg", "c.jpg"]


def test_records_nobody_takes_are_no_fault_of_the_run(monkeypatch, capsys):
    photo("a.png", "b.png")

    class Full:
        encoding = "utf-8"

        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            pass

    monkeypatch.setattr("zim_plugins.cli.reporting.leave_stdout_alone", lambda: None)
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["matte", "a.png", "b.png", "--point", "60,40", "--json", "--outputs", "alpha"]) == 0
    assert files("outputs") == ["a_alpha.png", "b_alpha.png"]
    assert capsys.readouterr().err.count("records cannot be printed (No space left on device)") == 1


def test_success_says_where_files_went(capsys):
    photo("a.png", "b.png")
    assert main(["matte", "a.png", "--point", "60,40", "--outputs", "alpha"]) == 0
    assert capsys.readouterr().err.startswith(f"a.png -> {Path('outputs/a_alpha.png')} (")
    assert main(["matte", "a.png", "b.png", "--point", "60,40", "--outputs", "alpha"]) == 0
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("1/2 a.png -> ") and second.startswith("2/2 b.png -> ")
    assert last == "2 written to outputs"


def test_a_file_for_one_image(capsys):
    photo("x.png")
    for out in ("cut.png", "deep/cut.tif", "cut.webp"):
        assert main(["matte", "x.png", "--point", "60,40", "-o", out, "--json"]) == 0
        assert records(capsys)[0]["files"] == {"rgba": out}
    assert mode("cut.webp") == "RGBA"
    assert main(["matte", "x.png", "--point", "60,40", "-o", "a.png", "--outputs", "alpha"]) == 0
    assert mode("a.png") == "L"
    assert main(["matte", "x.png", "--point", "10,40", "-o", "a.png", "--outputs", "alpha", "--no-overwrite"]) == 2
    before = Path("x.png").read_bytes()
    assert main(["matte", "x.png", "--point", "60,40", "-o", "x.png", "--overwrite"]) == 2
    assert Path("x.png").read_bytes() == before
    assert files(".") == ["a.png", "cut.png", "cut.webp", "deep/cut.tif", "x.png"]


def test_no_prompt_takes_the_salient_object(predictor, capsys):
    photo("x.png")
    assert main(["matte", "x.png", "--json"]) == 0
    assert records(capsys)[0]["prompt"] == {"salient": True}
    assert PIL.Image.open("outputs/x_alpha.png").getpixel((60, 40)) == 255


class TestMasks:
    def test_a_folder_of_masks(self, predictor, capsys):
        photo("in/a.jpg", "in/sub/b.jpg", "in/c.jpg")
        mask = np.zeros((80, 120), np.uint8)
        mask[20:40, 30:60] = 255
        for name in ("masks/a.png", "masks/sub/b_mask.png"):
            Path(name).parent.mkdir(exist_ok=True, parents=True)
            PIL.Image.fromarray(mask).save(name)
        assert main(["matte", "in", "--mask", "masks", "--outputs", "alpha"]) == 1
        assert "no file for in/c.jpg in the folder of --mask" in capsys.readouterr().err
        assert files("outputs") == ["a_alpha.png", "sub/b_alpha.png"]
        np.testing.assert_array_equal(np.asarray(PIL.Image.open("outputs/sub/b_alpha.png")), mask)

    def test_a_mask_and_clicks_name_one_object(self, predictor):
        photo("x.png")
        PIL.Image.fromarray(np.full((40, 60), 255, np.uint8)).save("half.png")  # of a copy half as large
        assert main(["matte", "x.png", "--mask", "half.png", "--point", "60,40"]) == 0
        (prompt,) = predictor.prompts
        assert prompt.alpha.shape == (80, 120) and prompt.points.tolist() == [[60, 40]]

    def test_two_masks_are_two_objects_and_a_changed_mask_another_prompt(self, predictor):
        photo("x.png")
        for name, column in (("m1.png", 10), ("m2.png", 90)):
            mask = np.zeros((80, 120), np.uint8)
            mask[:, column : column + 20] = 255
            PIL.Image.fromarray(mask).save(name)
        arguments = ["matte", "x.png", "--mask", "m1.png", "--mask", "m2.png", "--outputs", "alpha", "--no-overwrite"]
        assert main(arguments) == 0
        alpha = PIL.Image.open("outputs/x_alpha.png")
        assert [alpha.getpixel((x, 40)) for x in (15, 60, 95)] == [255, 0, 255]
        PIL.Image.fromarray(np.full((80, 120), 255, np.uint8)).save("m2.png")
        assert main(arguments) == 2

    @pytest.mark.parametrize(
        ("size", "value", "reason"),
        [((30, 30), 255, "m.png is 30x30 px, the image 120x80 px"), ((120, 80), 0, "m.png is empty")],
    )
    def test_masks_that_do_not_fit(self, size, value, reason, capsys):
        photo("x.png")
        PIL.Image.new("L", size, value).save("m.png")
        assert main(["matte", "x.png", "--mask", "m.png"]) == 1
        assert reason in capsys.readouterr().err

    def test_a_mask_is_not_written_over(self, capsys):
        photo("outputs/x_alpha.png", "x.png")
        assert main(["matte", "x.png", "--mask", "outputs/x_alpha.png", "--overwrite"]) == 2
        assert "would be written over the input" in capsys.readouterr().err

    def test_strokes(self, predictor):
        photo("x.png")
        drawn = np.zeros((80, 120, 3), np.uint8)
        drawn[38:42, 40:80] = (255, 255, 255)
        drawn[5:8, 5:100] = (255, 0, 0)
        PIL.Image.fromarray(drawn).save("s.png")
        assert main(["matte", "x.png", "--scribble", "s.png"]) == 0
        (prompt,) = predictor.prompts
        assert set(prompt.labels) == {0, 1}
        for (_, y), label in zip(prompt.points, prompt.labels, strict=True):
            assert (38 <= y < 42) if label else (5 <= y < 8)


class TestLists:
    def test_csv(self, predictor, capsys):
        photo("in/a.png", "in/b.png", "in/c.png")
        PIL.Image.fromarray(np.full((80, 120), 255, np.uint8)).save("in/m.png")
        Path("in/l.csv").write_text(
            'image,points,box,mask,also\na.png,"60,40;5,5,0",,,\na.png,,"5,5,30,30",,\n'
            'b.png,,,m.png,"10,10|90,40"\nc.png,,,,\ngone.png,"1,1",,,\n'
        )
        assert main(["matte", "--list", "in/l.csv", "--json", "--outputs", "alpha"]) == 1
        rows = records(capsys)
        assert [len(row.get("scores", [0])) for row in rows] == [2, 3, 1, 1]
        assert rows[2]["prompt"] == {"salient": True}
        assert "does not exist" in rows[3]["error"]
        assert files("outputs") == ["a_alpha.png", "b_alpha.png", "c_alpha.png"]

    def test_json(self, predictor, capsys):
        photo("a.png")
        rows = [{"image": "a.png", "objects": [{"points": [[60, 40], [5, 5, 0]]}, {"box": ["10%", 5, 30, 30]}]}]
        Path("l.json").write_text(json.dumps(rows))
        assert main(["matte", "--list", "l.json", "--json"]) == 0
        objects = records(capsys)[0]["prompt"]["objects"]
        assert objects[0]["points"] == [[60, 40, 1], [5, 5, 0]]
        assert objects[1]["box"] == [12, 5, 30, 30]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("[]", "holds no rows"),
            ("{", "cannot read"),
            ("[3]", "row 1: a row is an object"),
            ('[{"points": "1,1"}]', "the key image is missing"),
            ('[{"image": "a.png", "colour": 3}]', "unknown key 'colour'"),
            ('[{"image": "a.png", "points": 3}]', "row 1: points: "),
            ('[{"image": "a.png", "points": "1"}]', "row 1: points[0]: a click is"),
            ('[{"image": "a.png"}, {"image": "a.png", "box": [1, 2, 3]}]', "row 2: box: a box is"),
            ('[{"image": "a.png", "objects": [[1]]}]', "row 1: an object has the keys"),
        ],
    )
    def test_what_is_no_list(self, content, reason, capsys):
        Path("l.json").write_text(content)
        assert main(["matte", "--list", "l.json"]) == 2
        assert reason in capsys.readouterr().err


class TestFrames:
    def test_pages(self, capsys):
        frames = [PIL.Image.fromarray(photo()).rotate(angle) for angle in (0, 90, 180)]
        frames[0].save("s.tif", save_all=True, append_images=frames[1:])
        assert main(["matte", "s.tif", "--frames", "all", "--point", "60,40", "--outputs", "alpha"]) == 0
        assert files("outputs") == ["s_0000_alpha.png", "s_0001_alpha.png", "s_0002_alpha.png"]
        assert main(["matte", "s.tif[1]", "--point", "60,40", "--outputs", "alpha", "-o", "o"]) == 0
        assert main(["matte", "s.tif", "--frames", "2-3", "--point", "60,40", "-o", "p"]) == 1
        assert "s.tif[3] does not exist: the file has 3 pages, counted from 0" in capsys.readouterr().err

    def test_sequences(self, capsys):
        photo(*(f"shot/s.{n:04d}.png" for n in (1, 2, 3, 5)), "shot/other.png")
        common = ["--point", "60,40", "--outputs", "alpha"]
        assert main(["matte", "shot/s.####.png", "--frames", "2-5", *common]) == 1
        assert "shot/s.0004.png does not exist" in capsys.readouterr().err
        assert files("outputs") == [f"s.000{n}_alpha.png" for n in (2, 3, 5)]
        assert main(["matte", "shot/s.%04d.png", "--frames", "all", *common, "-o", "all"]) == 0
        assert len(files("all")) == 4
        assert main(["matte", "shot", "--frames", "1-9x2", *common, "-o", "odd"]) == 0
        assert files("odd") == [f"s.000{n}_alpha.png" for n in (1, 3, 5)]


@pytest.mark.slow
def test_processes_give_the_same_results(capsys):
    photo("in/a.png", "in/b.png", "in/c.png")
    Path("in/bad.png").write_bytes(b"x")
    arguments = ["matte", "in", "--box", "30,15,90,65", "--outputs", "alpha", "--model", "zim_tiny", "--device", "cpu"]
    assert main([*arguments, "--jobs", "2", "-o", "two", "--json"]) == 1
    assert [Path(row["image"]).name for row in records(capsys)] == ["a.png", "b.png", "bad.png", "c.png"]
    assert len(files("two")) == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ball.png", "--point", "1,1", "--outputs", "beta"], "--outputs are alpha,rgba,overlay,trimap,labelme"),
        (["ball.png", "--point", "1,1", "--format", "webp", "--depth", "16"], "webp holds 8 bits, not 16"),
        (["ball.png", "--point", "1,1", "--premultiplied", "--straight"], "contradict each other"),
        (["ball.png", "--point", "1,1", "--all"], "--all takes every object"),
        (["ball.png", "other.png", "--point", "1,1", "-o", "one.png"], "is one file, and there are 2"),
        (["ball.png", "--point", "1,1", "-o", "one.jpg"], "results are .png, .tif"),
        (["ball.png", "--point", "1,1", "-o", "one.png", "--outputs", "alpha,rgba"], "give --outputs one kind"),
        (["ball.png", "--list", "list.csv"], "give it alone"),
        (["--list", "list.txt"], "a list is a .csv, .json or .jsonl file"),
        (["ball.png", "--frames", "9-1"], "frames are numbers and ranges"),
        (["ball.png", "--mask", "a.png", "--mask", "b.png", "--point", "1,1"], "which belong together"),
        (["ball.png", "--point", "1,1", "--jobs", "0"], "at least 1"),
        (["ball.png", "--rle"], "adds to the records of --json"),
        (["ball.png", "--polygons"], "adds to the records of --json"),
        (["ball.png", "--coco", "c.txt"], "a COCO file is a .json file"),
        (["ball.png", "--coco", "c.json", "--resume"], "--coco needs every image"),
    ],
)
def test_misuse(arguments, reason, capsys):
    photo("ball.png")
    assert main(["matte", *arguments]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err and len(captured.err.splitlines()) == 1
    assert files(".") == ["ball.png"]
