"""`zim-splat` from its command line to its files, on the scene whose truth is known."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nerf_seg.field.gaussians.files import read_scene
from nerf_seg.field.gaussians.formats.ply import InriaPly, PlyFile
from nerf_seg.splat import cli
from tests.nerf_seg.field.gaussians.test_camera_files import transforms
from tests.nerf_seg.splat_scene import SplatScene, inria_rows, membership_iou
from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.runtime import run

SCENE = SplatScene(views=8, count=1000)


def write_capture(folder: Path, scene: SplatScene = SCENE) -> Path:
    """scene.ply, transforms.json, images/ and mattes/ (the true ones)."""
    (folder / "images").mkdir()
    (folder / "mattes").mkdir()
    for i, camera in enumerate(scene.cameras):
        PIL.Image.fromarray(scene.image(i)).save(folder / "images" / camera.name)
        PIL.Image.fromarray(np.uint8(scene.alpha(i) * 255 + 0.5)).save(folder / "mattes" / camera.name)
    transforms(folder, scene.cameras)
    (folder / "scene.ply").write_bytes(PlyFile({"vertex": inria_rows(scene.gaussians)}).encode())
    return folder


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("capture"))


def command(capture: Path, out: Path | str, *extra: str, **instead: str) -> list[str]:
    options = {
        "cameras": str(capture / "transforms.json"),
        "images": str(capture / "images"),
        "view": "view_00",
        "point": "31,36",
        "model": f"oracle:{capture / 'mattes'}",
        "out": str(out),
    } | instead
    words = [str(capture / "scene.ply")]
    for name, value in options.items():
        words += [f"--{name}", value] if value else []
    return [*words, *extra]


def call(words: list[str]) -> int:
    return run(cli.main, parse_arguments(cli.Args, words, prog="zim-splat"), package="nerf_seg")


@pytest.fixture(scope="module")
def out(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert call(command(capture, folder)) == 0
    return folder


def test_a_click_becomes_the_object_and_the_scene_without_it(capture: Path, out: Path) -> None:
    whole = read_scene(capture / "scene.ply")
    parts = {kind: read_scene(out / f"{kind}.ply") for kind in ("object", "rest", "membership")}
    assert isinstance(whole, InriaPly) and all(isinstance(part, InriaPly) for part in parts.values())
    found = np.isin(whole.rows["of_nobody"], parts["object"].rows["of_nobody"])  # pyright: ignore
    assert membership_iou(found, SCENE.truth) >= 0.98
    together = np.concatenate([parts["object"].rows, parts["rest"].rows])  # pyright: ignore
    together = together[np.argsort(together["of_nobody"], kind="stable")]
    assert together.tobytes() == whole.rows.tobytes()  # every record is in one of the two, bit by bit
    membership = np.load(out / "membership.npy")
    assert np.array_equal(parts["membership"].rows["membership"], membership)  # pyright: ignore
    assert (out / "contact_sheet.png").is_file() and len(list((out / "alpha").glob("*.png"))) == SCENE.views
    with PIL.Image.open(out / "alpha" / "view_02.png") as image:
        error = np.abs(np.asarray(image) / 255 - SCENE.alpha(2)).mean()
    assert error < 0.01


def test_the_report_says_what_was_done(out: Path) -> None:
    report = json.loads((out / "report.json").read_text())
    assert report["views"] == SCENE.views and report["accepted"] >= SCENE.views - 1
    assert report["gaussians"]["scene"] == len(SCENE.truth) and report["left out"] == {}
    assert min(report["psnr_db"].values()) > 40 and len(report["psnr_db"]) == 5
    assert {"reading", "first look", "views", "matting", "files"} <= set(report["seconds"])
    assert report["provenance"]["settings"]["view"] == "view_00" and len(report["visits"]) == 2 * SCENE.views


def test_earlier_results_and_inputs_are_not_overwritten(
    capture: Path, out: Path, capsys: pytest.CaptureFixture
) -> None:
    assert call(command(capture, out)) == 2
    assert "--overwrite" in capsys.readouterr().err
    (capture / "object.ply").write_bytes((capture / "scene.ply").read_bytes())
    words = command(capture, capture)
    words[0] = str(capture / "object.ply")
    assert call([*words, "--overwrite"]) == 2
    assert "would overwrite the scene" in capsys.readouterr().err
    (capture / "object.ply").unlink()


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        ({"point": ""}, "no prompt"),
        ({"point": "310,36"}, "view_00.png"),
        ({"point": "x"}, "a click is"),
        ({"view": "view_99"}, "near are"),
        ({"out": "FILE"}, "is a file"),
    ],
)
def test_misuse_is_one_line_and_code_2(
    capture: Path, tmp_path: Path, instead: dict[str, str], message: str, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    instead = {key: str(tmp_path / "file") if value == "FILE" else value for key, value in instead.items()}
    assert call(command(capture, **{"out": str(tmp_path / "out")} | instead)) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["cameras", "images", "transform", "mask"])
def test_missing_inputs_are_named(capture: Path, tmp_path: Path, missing: str, capsys: pytest.CaptureFixture) -> None:
    assert call(command(capture, tmp_path / "out", **{missing: str(tmp_path / "nothing")})) == 2
    assert str(tmp_path / "nothing") in capsys.readouterr().err


def test_a_bad_photograph_and_a_missing_one_are_left_out_and_said(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in (capture / "images").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    (images / "view_05.png").write_bytes(b"broken")
    (images / "view_06.png").unlink()
    assert call(command(capture, tmp_path / "out", "--passes", "1", images=str(images))) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["left out"]) == {"images/view_05.png", "images/view_06.png"} and report["views"] == 6
    assert "2 of 8 cameras are left out" in capsys.readouterr().err


def test_cameras_of_other_coordinates_are_found_before_anything_is_matted(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    for frame in content["frames"]:
        frame["transform_matrix"] = (np.diag([1.0, -1.0, -1.0, 1.0]) @ np.array(frame["transform_matrix"])).tolist()
        for row in range(3):
            frame["transform_matrix"][row][3] *= 0.2
    other = tmp_path / "transforms.json"
    other.write_text(json.dumps(content))
    assert call(command(capture, tmp_path / "out", cameras=str(other))) == 1
    said = capsys.readouterr().err
    assert "does not look like the photographs" in said and "--transform" in said
    assert not (tmp_path / "out").exists()


def test_a_mask_is_taken_as_it_is_and_a_smaller_size_is_worked_at(capture: Path, tmp_path: Path) -> None:
    mask = str(capture / "mattes" / "view_00.png")
    words = command(capture, tmp_path, "--mask", mask, "--size", "64", "--every", "2", "--overwrite", point="")
    assert call(words) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["views"] == 4 and report["visits"][0]["prompt"] == {}
    with PIL.Image.open(tmp_path / "alpha" / "view_00.png") as image:
        assert image.size == (64, 48)


def test_gaussians_of_impossible_numbers_cost_no_more_than_themselves(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = inria_rows(SCENE.gaussians)
    for place, (name, value) in enumerate(
        [("x", np.nan), ("opacity", np.nan), ("scale_1", np.inf), ("rot_2", np.nan), ("f_dc_0", np.inf)]
    ):
        rows[name][place] = value
    (tmp_path / "scene.ply").write_bytes(PlyFile({"vertex": rows}).encode())
    words = command(capture, tmp_path / "out", "--passes", "1")
    assert call([str(tmp_path / "scene.ply"), *words[1:]]) == 0
    assert "5 Gaussians have impossible numbers and are not drawn" in capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["gaussians"]["with impossible numbers"] == 5 and min(report["psnr_db"].values()) > 20
    shares = np.load(tmp_path / "out" / "membership.npy")
    assert np.isfinite(shares).all() and (shares[:5] == 0).all()
    assert membership_iou(shares[5:] > 0.5, SCENE.truth[5:]) >= 0.97
    rest = read_scene(tmp_path / "out" / "rest.ply")
    assert isinstance(rest, InriaPly) and set(range(5)) <= set(rest.rows["of_nobody"].astype(int))  # none is lost


@pytest.mark.parametrize("where", ["images", "images/results", "."])
def test_mattes_do_not_get_among_the_photographs(
    capture: Path, tmp_path: Path, where: str, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "alpha").mkdir()  # photographs in a folder of the results' name
    images = tmp_path / "alpha" if where == "." else tmp_path / "images"
    if where != ".":
        images.mkdir()
    for path in (capture / "images").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    assert call(command(capture, tmp_path / where, images=str(images))) == 2
    assert "into the folder of the photographs" in capsys.readouterr().err
    assert len(list(images.rglob("*"))) == SCENE.views


def test_a_folder_of_other_mattes_is_not_written_into(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "alpha").mkdir()
    (tmp_path / "alpha" / "view_00.png").write_bytes(b"somebody's own")
    assert call(command(capture, tmp_path)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "alpha" / "view_00.png").read_bytes() == b"somebody's own"


def test_a_view_of_several_photographs_is_told_so(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    images = tmp_path / "images"
    (images / "again").mkdir(parents=True)
    for path in (capture / "images").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    (images / "again" / "view_00.png").write_bytes((images / "view_00.png").read_bytes())
    assert call(command(capture, tmp_path / "out", images=str(images))) == 2
    assert "could be any of again/view_00.png, view_00.png" in capsys.readouterr().err


@pytest.mark.parametrize("memory", ["nan", "inf", "-1"])
def test_memory_is_a_number(capture: Path, tmp_path: Path, memory: str, capsys: pytest.CaptureFixture) -> None:
    assert call(command(capture, tmp_path / "out", memory=memory)) == 2
    assert "--memory" in capsys.readouterr().err


def test_photographs_that_lie_by_their_exif_are_taken_as_their_cameras_see_them(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """COLMAP and nerfstudio read what is stored; phones store it lying, with a note how it stands."""
    folder = tmp_path / "lying"
    folder.mkdir()
    for path in sorted((capture / "images").iterdir()):
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        PIL.Image.open(path).save(folder / path.name, exif=exif)
    assert call(command(capture, tmp_path / "out", "--passes", "1", images=str(folder))) == 0
    assert "is taken as it is stored" in capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["left out"] == {} and min(report["psnr_db"].values()) > 30


def test_names_of_another_system(capture: Path, tmp_path: Path) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    for frame in content["frames"]:
        frame["file_path"] = ".\\" + frame["file_path"].replace("/", "\\")
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    cameras = str(tmp_path / "transforms.json")
    assert call(command(capture, tmp_path / "out", "--passes", "1", cameras=cameras)) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["left out"] == {}


def results(folder: Path) -> dict[str, bytes]:
    """All files but the report, which tells seconds."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*") if p.name != "report.json"}


def test_a_second_object_reads_the_weights_that_the_first_one_computed(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(tmp_path / "cache")
    assert call(command(capture, tmp_path / "first", cache=cache)) == 0
    first = json.loads((tmp_path / "first" / "report.json").read_text())["cache"]
    assert (first["folder"], first["views read"], first["views written"]) == (cache, 0, SCENE.views)
    assert first["bytes written"] == pytest.approx(sum(p.stat().st_size for p in Path(cache).iterdir()), rel=0.05)

    def computed(*_: object) -> None:
        raise AssertionError("a view was computed again")

    monkeypatch.setattr("nerf_seg.field.gaussians.rendering.footprints", computed)
    assert call(command(capture, tmp_path / "second", cache=cache)) == 0
    second = json.loads((tmp_path / "second" / "report.json").read_text())["cache"]
    assert (second["views read"], second["views written"]) == (SCENE.views, 0)
    assert results(tmp_path / "second") == results(tmp_path / "first")
    monkeypatch.undo()
    assert call(command(capture, tmp_path / "without", "--no-cache")) == 0
    assert json.loads((tmp_path / "without" / "report.json").read_text())["cache"] is None
    assert results(tmp_path / "without") == results(tmp_path / "first")


def test_the_cache_lies_beside_the_scene_unless_told_otherwise(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "scene.ply").write_bytes((capture / "scene.ply").read_bytes())
    words = [str(tmp_path / "scene.ply"), *command(capture, tmp_path / "out", "--passes", "1")[1:]]
    assert call([*words, "--cache-gb", "0"]) == 0 and not (tmp_path / "zim_splat_views").exists()
    assert call([*words, "--overwrite"]) == 0
    assert len(list((tmp_path / "zim_splat_views").iterdir())) == SCENE.views


def test_a_cache_that_cannot_be_had_is_said_and_costs_nothing_else(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    under = str(tmp_path / "file" / "cache")
    assert call(command(capture, tmp_path / "out", "--passes", "1", cache=under)) == 0
    assert "are not kept in" in capsys.readouterr().err
    assert call(command(capture, tmp_path / "out2", cache=str(tmp_path / "file"))) == 2
    assert "is a file: name a folder" in capsys.readouterr().err
    assert call(command(capture, tmp_path / "out2", "--no-cache", cache=str(tmp_path / "c"))) == 2
    assert "contradict each other" in capsys.readouterr().err
    assert call(command(capture, tmp_path / "out2", **{"cache-gb": "nan"})) == 2


@pytest.mark.parametrize("prefix", ["../images/", "./images/../images/", "/", "/nowhere/images/"])
def test_names_that_go_through_other_folders_write_nothing_there(capture: Path, tmp_path: Path, prefix: str) -> None:
    """As of a transforms.json beside the folder of images; mattes would replace photographs of the same names."""
    prefix = f"{capture / 'images'}/" if prefix == "/" else prefix
    content = json.loads((capture / "transforms.json").read_text())
    for frame in content["frames"]:
        frame["file_path"] = prefix + Path(frame["file_path"]).name
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    before = {path: path.read_bytes() for path in capture.rglob("*.png")}
    words = command(capture, tmp_path / "out", "--passes", "1", cameras=str(tmp_path / "transforms.json"))
    assert call(words) == 0
    assert len(list((tmp_path / "out" / "alpha").glob("view_*.png"))) == SCENE.views
    assert before == {path: path.read_bytes() for path in capture.rglob("*.png")}
    assert not [path for path in tmp_path.rglob("*.png") if (tmp_path / "out") not in path.parents]


def test_names_with_spaces_and_signs(capture: Path, tmp_path: Path) -> None:
    images = tmp_path / "my images (1)"
    images.mkdir()
    content = json.loads((capture / "transforms.json").read_text())
    for i, frame in enumerate(content["frames"]):
        source, frame["file_path"] = frame["file_path"], f"photo #{i} 100% é.png"
        (images / frame["file_path"]).write_bytes((capture / source).read_bytes())
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    options = {"cameras": str(tmp_path / "transforms.json"), "images": str(images), "view": "photo #0 100% é.png"}
    mask = str(capture / "mattes" / "view_00.png")
    mattes = tmp_path / "mattes"
    mattes.mkdir()
    for i in range(SCENE.views):
        name = f"photo #{i} 100% é.png"
        (mattes / name).write_bytes((capture / "mattes" / f"view_{i:02d}.png").read_bytes())
    words = command(capture, tmp_path / "out", "--mask", mask, point="", model=f"oracle:{mattes}", **options)
    assert call(words) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["accepted"] >= SCENE.views - 1
    assert (tmp_path / "out" / "alpha" / "photo #0 100% é.png").is_file()


def test_faults_of_single_cameras_are_named(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, whole = tmp_path / "transforms.json", json.loads((capture / "transforms.json").read_text())
    path.write_text(json.dumps({**whole, "frames": [*whole["frames"], whole["frames"][3]]}))
    assert call(command(capture, tmp_path / "out", cameras=str(path))) == 1
    assert "lists images/view_03.png 2 times" in capsys.readouterr().err
    whole["frames"][2]["transform_matrix"][0][3] = float("nan")
    path.write_text(json.dumps(whole))
    assert call(command(capture, tmp_path / "out", cameras=str(path))) == 1
    assert "the matrix of images/view_02.png is not 4x4, or not finite" in capsys.readouterr().err
