"""Every command by its own front door, with a predictor that needs no weights."""

import io
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zim_plugins.cli import main
from zim_plugins.errors import CheckpointError


@pytest.fixture
def loaded(monkeypatch, fake_predictor) -> list:
    """Calls of `load_predictor`, which answers with the fake."""
    calls = []
    fake_predictor.name = "soft_disk"

    def load_predictor(name: str = "auto", **options):
        calls.append((name, options))
        return fake_predictor

    build = types.ModuleType("zim_plugins.core.load")
    build.load_predictor = load_predictor  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "zim_plugins.core.load", build)
    return calls


@pytest.fixture
def photo(tmp_path, monkeypatch) -> np.ndarray:
    """A red ball on blue, as `ball.png` in the working folder: uint8 (80, 120, 3)."""
    monkeypatch.chdir(tmp_path)
    ys, xs = np.mgrid[:80, :120] + 0.5
    alpha = np.clip((20 - np.hypot(xs - 60, ys - 40)) / 2 + 0.5, 0, 1)[..., None]
    rgb = (alpha * (220, 30, 20) + (1 - alpha) * (20, 40, 200) + 0.5).astype(np.uint8)
    PIL.Image.fromarray(rgb).save("ball.png")
    return rgb


def written(folder: str = "outputs") -> list[str]:
    """Names in a folder but for the records of what results were made from."""
    return sorted(name for name in os.listdir(folder) if name[0] != ".") if Path(folder).exists() else []


class TestMatte:
    def test_three_files(self, loaded, photo):
        assert main(["matte", "ball.png", "--point", "60,40"]) == 0
        assert written() == ["ball_alpha.png", "ball_overlay.png", "ball_rgba.png"]
        alpha = PIL.Image.open("outputs/ball_alpha.png")
        assert (alpha.mode, alpha.size) == ("L", (120, 80))
        assert alpha.getpixel((60, 40)) == 255
        assert alpha.getpixel((5, 5)) == 0
        assert loaded == [
            ("auto", {"runtime": "auto", "device": "auto", "dtype": "fp32", "zoom": None, "refine": "auto"})
        ]

    def test_cut_out_is_free_of_the_background(self, loaded, photo):
        main(["matte", "ball.png", "--point", "60,40"])
        rgba = np.asarray(PIL.Image.open("outputs/ball_rgba.png")).astype(int)
        alpha = np.asarray(PIL.Image.open("outputs/ball_alpha.png"))
        np.testing.assert_array_equal(rgba[..., 3], alpha)
        fringe = (alpha > 60) & (alpha < 200)
        assert fringe.sum() > 50
        distance = np.abs(rgba[..., :3] - (220, 30, 20)).mean(axis=2)
        assert distance[fringe].mean() < 10
        assert np.abs(photo.astype(int) - (220, 30, 20)).mean(axis=2)[fringe].mean() > 30  # as the image shows it

    def test_overlay_shows_prompt_and_object(self, loaded, photo):
        main(["matte", "ball.png", "--point", "60,40", "--point", "10,10,0", "--box", "30,15,90,65"])
        overlay = np.asarray(PIL.Image.open("outputs/ball_overlay.png")).astype(int)
        assert overlay.shape == photo.shape
        assert overlay[40, 60, 1] > overlay[40, 60, 0] + 50  # a green click
        assert overlay[10, 10, 0] > overlay[10, 10, 1] + 50  # a red one
        assert (overlay[15, 50] == (255, 210, 0)).all()  # the box
        assert overlay[50, 60, 2] > photo[50, 60, 2] + 50  # the object, tinted blue
        assert overlay[75, 100].sum() < photo[75, 100].sum()  # the background, dimmed

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--box", "20,20,60,60", "--box", "70,20,110,60"],
            ["--box=20,20,60,60", "--also", "70,20,110,60"],
            ["--box", "16.66667%,25%,50%,75%", "--box", "70,20,110,60"],
            ["--point", "40,40", "--also", "90,40"],
        ],
    )
    def test_each_box_is_an_object(self, loaded, photo, capsys, arguments):
        assert main(["matte", "ball.png", *arguments, "--json"]) == 0
        alpha = PIL.Image.open("outputs/ball_alpha.png")
        assert [alpha.getpixel(at) for at in ((40, 40), (90, 40), (65, 75))] == [255, 255, 0]
        assert len(json.loads(capsys.readouterr().out)["prompt"]["objects"]) == 2

    def test_shares_of_the_image(self, loaded, photo, capsys):
        assert main(["matte", "ball.png", "--point", "50%,50%", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["prompt"] == {"points": [[60.0, 40.0, 1]]}

    def test_json_on_stdout_logs_on_stderr(self, loaded, photo, capsys):
        PIL.Image.fromarray(photo).convert("RGBA").save(
            "moving.gif", save_all=True, append_images=[PIL.Image.new("RGB", (120, 80))]
        )
        arguments = [
            "matte",
            "ball.png",
            "moving.gif",
            "--point",
            "60,40",
            "--box",
            "30,15,90,65",
            "--json",
            "--no-zoom",
        ]
        assert main(arguments) == 0
        captured = capsys.readouterr()
        first, second = map(json.loads, captured.out.splitlines())
        assert (first["image"], first["width"], first["height"]) == ("ball.png", 120, 80)
        assert first["prompt"] == {"points": [[60.0, 40.0, 1]], "box": [30.0, 15.0, 90.0, 65.0]}
        assert (first["model"], first["checkpoint"]) == ("soft_disk", "auto")
        assert first["score"] == pytest.approx(0.9)
        assert set(first["files"]) == {"alpha", "rgba", "overlay"}
        assert all(Path(path).is_file() for path in first["files"].values())
        assert second["notes"] == ["animated: the first of 2 is used"]
        assert "moving.gif: animated" in captured.err
        assert loaded[0][1]["zoom"] is False
        assert len(loaded) == 1  # one model for all images

    def test_bad_file_in_a_batch_is_one_line(self, loaded, photo, capsys):
        Path("broken.png").write_bytes(b"")
        assert main(["matte", "broken.png", "ball.png", "gone.png", "--point", "60,40", "--json"]) == 1
        captured = capsys.readouterr()
        first, done, *others = captured.err.splitlines()
        assert first == "broken.png is empty (0 bytes)"
        assert done.startswith("2/3 ball.png -> outputs/ball_alpha.png, ")
        assert others == ["gone.png does not exist", "2 of 3 images failed, 1 written to outputs"]
        records = [json.loads(line) for line in captured.out.splitlines()]
        assert [("error" in r, "files" in r) for r in records] == [(True, False), (False, True), (True, False)]
        assert written() == ["ball_alpha.png", "ball_overlay.png", "ball_rgba.png"]

    def test_folder_and_glob(self, loaded, photo):
        Path("in").mkdir()
        for name in ("a.png", "b.png"):
            PIL.Image.fromarray(photo).save(f"in/{name}")
        assert main(["matte", "in", "*.png", "--box", "30,15,90,65", "--out", "o/deep"]) == 0
        assert [name for name in written("o/deep") if "alpha" in name] == ["ball_alpha.png"]
        assert [name for name in written("o/deep/in") if "alpha" in name] == ["a_alpha.png", "b_alpha.png"]

    def test_pipe(self, loaded, photo, monkeypatch, capsysbinary):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(Path("ball.png").read_bytes())))
        assert main(["matte", "-", "--point", "60,40", "--out", "-"]) == 0
        image = PIL.Image.open(io.BytesIO(capsysbinary.readouterr().out))
        assert (image.mode, image.size) == ("RGBA", (120, 80))
        assert written() == []

    def test_stdin_to_folder(self, loaded, photo, monkeypatch):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(Path("ball.png").read_bytes())))
        assert main(["matte", "-", "--point", "60,40"]) == 0
        assert written() == ["stdin_alpha.png", "stdin_overlay.png", "stdin_rgba.png"]

    def test_no_overwrite_leaves_finished_images_out(self, loaded, photo):
        main(["matte", "ball.png", "--point", "60,40"])
        Path("outputs/ball_alpha.png").write_bytes(b"mine")
        assert main(["matte", "ball.png", "--point", "60,40", "--no-overwrite"]) == 0
        assert Path("outputs/ball_alpha.png").read_bytes() == b"mine"
        Path("outputs/ball_rgba.png").unlink()
        assert main(["matte", "ball.png", "--point", "60,40", "--no-overwrite"]) == 0
        assert Path("outputs/ball_rgba.png").exists()
        assert Path("outputs/ball_alpha.png").read_bytes() == b"mine"

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["--point", "60,40"], "no image given"),
            (["ball.png", "--point", "60"], "a click is x,y"),
            (["ball.png", "--box", "1,2,3"], "a box is x1,y1,x2,y2"),
            (["ball.png", "--box", "5,5,5,9"], "has no area"),
            (["ball.png", "--point", "1,1,0"], "add a foreground click"),
            (["ball.png", "--point", "120.5,40"], "the click 120.5,40 is outside the image, which is 120x80 px"),
            (["ball.png", "--point", "-3,40"], "the click -3,40 is outside"),
            (["ball.png", "--box", "200,5,300,50"], "which is 120x80 px"),
            (["*.jpg", "--point", "1,1"], "no file matches"),
            (["ball.png", "--point", "1,1", "--overwrite", "--resume"], "exclude one another"),
            (["ball.png", "--point", "1,1", "--range", "5,5"], "a range is low,high"),
            (["ball.png", "other.png", "--point", "1,1", "--out", "-"], "one image"),
            (["ball.png", "--point", "1,1", "--out", "ball.png"], "would be written over the input ball.png"),
            (["ball.png", "--point", "1,1", "--out", "ball.png", "--overwrite"], "over the input"),
            (["ball.png", "--pint", "1,1"], "Unrecognized"),
            (["ball.png", "--box", "1,1,9,9", "--box", "5,5,20,20", "--point", "3,3"], "--also"),
            (["ball.png", "--point", "1,1", "--model", "a", "--model=b"], "--model is given twice"),
            (["ball.png", "--point", "1,1", "-o", "a", "--out", "b"], "--out is given twice"),
            (["ball.png", "--point", "120%,1"], "outside the image"),
        ],
    )
    def test_misuse(self, loaded, photo, capsys, arguments, reason):
        try:
            code = main(["matte", *arguments])
        except SystemExit as stop:  # tyro's own refusals
            code = stop.code
        captured = capsys.readouterr()
        assert code == 2
        assert reason in captured.err
        assert "Traceback" not in captured.err
        assert captured.out == ""
        assert written() == []
        assert loaded == []  # refused before any model is loaded

    def test_one_bad_file(self, loaded, photo, capsys):
        assert main(["matte", "gone.png", "--point", "1,1"]) == 1
        assert capsys.readouterr().err == "gone.png does not exist\n"

    def test_missing_checkpoint_is_told_once(self, photo, capsys, monkeypatch):
        def load_predictor(name: str, **options):
            raise CheckpointError("zim_vit_b is not on this machine: fetch it with `zim models --download zim_vit_b`")

        build = types.ModuleType("zim_plugins.core.load")
        build.load_predictor = load_predictor  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, "zim_plugins.core.load", build)
        PIL.Image.fromarray(photo).save("other.png")
        assert main(["matte", "ball.png", "other.png", "--point", "60,40", "--model", "zim_vit_b"]) == 1
        assert capsys.readouterr().err.count("zim models --download zim_vit_b") == 1

    def test_unwritable_folder(self, loaded, photo, capsys):
        Path("in_the_way").touch()
        assert main(["matte", "ball.png", "--point", "60,40", "--out", "in_the_way/deep"]) == 2
        assert "--out in_the_way/deep cannot be made: in_the_way is a file" in capsys.readouterr().err
        assert loaded == []  # found before a model is loaded

    def test_the_real_loader(self, photo, capsys):
        from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim, save_weights

        save_weights(Zim(ZIM_CONFIGS["tiny"]), Path("untrained.safetensors"), {})
        arguments = ["matte", "ball.png", "--point", "60,40", "--model", "untrained.safetensors", "--device", "cpu"]
        assert main([*arguments, "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert (record["model"], record["checkpoint"]) == ("untrained", "untrained.safetensors")
        with PIL.Image.open("outputs/ball_alpha.png") as alpha:
            assert (alpha.mode, alpha.size) == ("L", (120, 80))
        assert main([*arguments, "--runtime", "onnx"]) == 1
        assert "is a torch checkpoint" in capsys.readouterr().err

    def test_debug_shows_the_traceback(self, loaded, photo):
        with pytest.raises(ValueError, match="does not exist"):
            main(["matte", "gone.png", "--point", "1,1", "--debug"])

    def test_odd_files_of_the_collection(self, loaded, photo, test_data, capsys):
        folder = test_data / "bad_inputs"
        files = [str(path) for path in sorted(folder.iterdir()) if path.suffix != ".md"]
        assert main(["matte", *files, "--box", "0,0,1,1", "--json"]) == 1
        captured = capsys.readouterr()
        records = [json.loads(line) for line in captured.out.splitlines()]
        failed = {Path(r["image"]).name for r in records if "error" in r}
        refused = {"truncated.jpg", "zero_bytes.png", "text_named.png", "bomb_60000x60000.png"}
        assert failed - {"float32_rgb.tif"} == refused
        assert "Traceback" not in captured.err
        for record in records:
            if "error" not in record:
                with PIL.Image.open(record["files"]["rgba"]) as image:
                    assert image.size == (record["width"], record["height"])
        assert len(written()) == 3 * (len(files) - len(failed))
        assert "фото_été_図_alpha.png" in written()


class TestEverything:
    def test_every_object_has_its_file(self, loaded, photo, capsys):
        Path("outputs/ball_objects").mkdir(parents=True)
        Path("outputs/ball_objects/017_alpha.png").touch()
        assert main(["everything", "ball.png", "--points-per-side", "2"]) == 2
        assert "no record says what it is" in capsys.readouterr().err
        assert main(["everything", "ball.png", "--points-per-side", "2", "--json", "--overwrite"]) == 0
        record = json.loads(capsys.readouterr().out)
        found = sorted(tuple(described["point"]) for described in record["objects"])
        assert found == [(30, 20), (30, 60), (90, 20), (90, 60)]
        assert written("outputs/ball_objects") == [f"00{i}_alpha.png" for i in range(4)]
        for path in ("outputs/ball_objects/000_alpha.png", "outputs/ball_objects.png"):
            with PIL.Image.open(path) as image:
                assert image.size == (120, 80)

    def test_finding_nothing_is_told(self, loaded, photo, capsys):
        assert main(["everything", "ball.png", "--points-per-side", "2", "--min-score", "1.1"]) == 0
        assert "lower --min-score" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [["--points-per-side", "0"], ["--out", "-"]])
    def test_misuse(self, loaded, photo, arguments):
        assert main(["everything", "ball.png", *arguments]) == 2
        assert written() == []


class TestExport:
    @pytest.mark.parametrize(
        ("model", "reason"),
        [
            ("sam_vit_b", "SAM's weights"),
            ("zim_vit_b", "ONNX pair already"),
            ("nonsense", "neither a checkpoint's name"),
        ],
    )
    def test_misuse(self, photo, capsys, model, reason):
        assert main(["export", "--model", model]) == 2
        assert reason in capsys.readouterr().err
        assert written() == []


class TestModels:
    def test_table_names_licence_and_command(self, capsys, monkeypatch, tmp_path):
        monkeypatch.setenv("ZIM_PLUGINS_HOME", str(tmp_path))
        assert main(["models"]) == 0
        shown = capsys.readouterr().out
        for expected in ("zim_tiny", "zim_vit_b", "sam_vit_h", "CC BY-NC 4.0", "zim models --download"):
            assert expected in shown

    def test_json(self, capsys, monkeypatch, tmp_path):
        for variable in ("ZIM_PLUGINS_HOME", "HF_HUB_CACHE", "TORCH_HOME"):
            monkeypatch.setenv(variable, str(tmp_path))
        assert main(["models", "--json"]) == 0
        records = {r["name"]: r for r in map(json.loads, capsys.readouterr().out.splitlines())}
        assert records["sam_vit_b"]["path"] is None
        assert records["sam_vit_b"]["command"] == "zim models --download sam_vit_b"
        assert "Apache-2.0" in records["sam_vit_b"]["licence"]

    def test_unknown_name(self, capsys):
        assert main(["models", "--download", "zim_vit_x"]) == 2
        assert "known are zim_vit_b" in capsys.readouterr().err

    def test_offline_download_names_the_way_out(self, capsys, monkeypatch, tmp_path):
        for variable in ("ZIM_PLUGINS_HOME", "HF_HUB_CACHE", "TORCH_HOME"):
            monkeypatch.setenv(variable, str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert main(["models", "--download", "sam_vit_b"]) == 1
        assert "HF_HUB_OFFLINE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["mate", "ball.png"], "did you mean matte?"),
        (["xyzzy"], "Commands are matte, everything"),
        (["data", "check", "folder", "--dataset", "a", "--dataset", "b"], "--dataset is given twice"),
        (["train", "zim", "--freeze", "a", "--freeze", "b"], "--freeze is given twice"),
        (["evaluate", "--data", "a", "--no-zoom", "--data=b"], "--data is given twice"),
    ],
)
def test_a_command_line_that_says_two_things(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


def test_version(capsys):
    from zim_plugins import __version__

    for arguments in (["--version"], ["matte", "--version"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        assert capsys.readouterr().out == f"zim-plugins {__version__}\n"


def test_no_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
