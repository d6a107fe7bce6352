"""Results are known by more than their name: naming, records, what is kept and what is refused."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from zim_plugins.imaging.results import (
    RECORDS_FOLDER,
    Overwrites,
    Recipe,
    Source,
    check_inputs_are_spared,
    check_writable,
    note_results,
    noted,
    own_results,
    plan,
    read_record,
)
from zim_plugins.imaging.sources import find_inputs, output_names


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> list[str]:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    return list(names)


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["x.jpg"], ["x"]),
        (["deep/down/x.jpg"], ["x"]),
        (["a/x.jpg", "b/x.jpg"], ["a/x", "b/x"]),
        (["a/x.jpg", "a/b/x.jpg"], ["x", "b/x"]),
        (["x.jpg", "x.png", "y.png"], ["x_jpg", "x_png", "y"]),
        (["Cat.jpg", "cat.jpg"], ["Cat_jpg", "cat_jpg-2"]),
        (["\u00e9.png", "e\u0301.jpg"], ["\u00e9_png", "e\u0301_jpg"]),
        (["x.jpg", "x.png", "x_jpg.png"], ["x_jpg", "x_png", "x_jpg-2"]),
        (["sample:chelsea", "chelsea.png", "-"], ["chelsea_sample", "chelsea_png", "stdin"]),
        (["../x.jpg", "x.jpg"], ["x", "here/x"]),
        (["stack.tif[0]", "stack.tif[12]"], ["stack_0000", "stack_0012"]),
        (["v1.2.png", "v1.3.png"], ["v1.2", "v1.3"]),
        (["noext", "noext.png"], ["noext", "noext_png"]),
    ],
)
def test_names_tell_files_apart(sources, names, monkeypatch):
    Path("here").mkdir()
    monkeypatch.chdir("here")
    found = output_names(sources)
    assert found == names or (found == ["noext-2", "noext_png"])
    assert len({name.casefold() for name in found}) == len(sources)


def test_the_common_root_is_that_of_what_was_named():
    touch("in/sub/x.png")
    found = find_inputs(["in"])
    assert output_names(found.sources, found.roots) == ["sub/x"]  # also once in/y.png is there
    found = find_inputs(["in/**/*.png"])
    assert output_names(found.sources, found.roots) == ["sub/x"]


def made(place: str, source: str, kinds: str = "alpha rgba", **how: object) -> tuple[Path, dict[str, Path], Recipe]:
    files = {kind: Path(f"{place}_{kind}.png") for kind in kinds.split()}
    return Path(place), files, Recipe(Source.of(source), {"command": "matte", **how})


def write(place: Path, files: dict[str, Path], recipe: Recipe) -> None:
    for path in files.values():
        touch(str(path))
    note_results(place, list(files.values()), recipe)


def test_a_record_says_what_a_result_was_made_from():
    touch("a/x.jpg")
    place, files, recipe = made("out/x", "a/x.jpg", prompt={"box": [1, 2, 3, 4]}, model={"name": "m"}, options={"z": 1})
    assert plan(place, files, recipe, "keep") == {"alpha", "rgba"}
    write(place, files, recipe)
    row = read_record(place)["x_alpha.png"]
    assert row["source"]["path"] == os.path.abspath("a/x.jpg")
    assert (row["source"]["size_bytes"], len(row["source"]["sha256"])) == (7, 64)
    assert (row["prompt"], row["model"], row["options"]) == ({"box": [1, 2, 3, 4]}, {"name": "m"}, {"z": 1})
    assert [path.name for path in Path("out", RECORDS_FOLDER).iterdir()] == ["x.json"]
    assert own_results(Path("out")) == {Path(os.path.abspath(path)) for path in files.values()}


CHANGES = {
    "prompt": {"prompt": 2},
    "model": {"model": "other"},
    "options.zoom": {"options": {"zoom": False}},
    "command": {"command": "inpaint"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_recipe_is_no_reason_to_keep(what):
    touch("x.jpg")
    base = {"prompt": 1, "model": "m", "options": {"zoom": True}}
    write(*made("out/x", "x.jpg", **base))
    assert plan(*made("out/x", "x.jpg", **base), "keep") == set()
    assert plan(*made("out/x", "x.jpg", **base), "resume") == set()
    assert plan(*made("out/x", "x.jpg", **base), "remake") == {"alpha", "rgba"}
    place, files, recipe = made("out/x", "x.jpg", **(base | CHANGES[what]))
    with pytest.raises(Overwrites, match=f"another {what}: leave out --no-overwrite"):
        plan(place, files, recipe, "keep")
    for existing in ("remake", "resume", "replace"):
        assert plan(place, files, recipe, existing) == {"alpha", "rgba"}


def test_a_changed_image_is_made_again_and_not_kept():
    touch("x.jpg")
    write(*made("out/x", "x.jpg"))
    Path("x.jpg").write_text("edited")
    with pytest.raises(Overwrites, match="another image"):
        plan(*made("out/x", "x.jpg"), "keep")
    assert plan(*made("out/x", "x.jpg"), "resume") == {"alpha", "rgba"}


@pytest.mark.parametrize("existing", ["remake", "keep", "resume"])
def test_what_is_not_of_this_image_is_not_written_over(existing):
    touch("a/x.jpg", "b/x.jpg")
    write(*made("out/x", "a/x.jpg"))
    with pytest.raises(Overwrites, match=r"was made from .*a.x\.jpg"):
        plan(*made("out/x", "b/x.jpg"), existing)
    touch("out/y_alpha.png")
    with pytest.raises(Overwrites, match="no record says"):
        plan(*made("out/y", "b/x.jpg"), existing)
    assert plan(*made("out/y", "b/x.jpg"), "replace") == {"alpha", "rgba"}


def test_standard_input_is_another_source_each_time():
    place, files = Path("out/stdin"), {"alpha": Path("out/stdin_alpha.png")}
    write(place, files, Recipe(Source.of("-", b"one"), {}))
    assert plan(place, files, Recipe(Source.of("-", b"one"), {}), "remake") == {"alpha"}
    with pytest.raises(Overwrites, match="was made from -"):
        plan(place, files, Recipe(Source.of("-", b"two"), {}), "remake")


def test_a_retouched_result_is_kept_and_not_lost():
    touch("x.jpg")
    write(*made("out/x", "x.jpg"))
    Path("out/x_alpha.png").write_text("retouched")
    assert plan(*made("out/x", "x.jpg"), "keep") == set()
    Path("out/x_rgba.png").unlink()
    assert plan(*made("out/x", "x.jpg"), "keep") == {"rgba"}
    with pytest.raises(Overwrites, match="was changed since it was made"):
        plan(*made("out/x", "x.jpg"), "remake")


def test_two_commands_share_a_name():
    touch("x.jpg")
    write(*made("out/x", "x.jpg", "alpha rgba"))
    write(*made("out/x", "x.jpg", "alpha removed", task="remove"))
    rows = read_record(Path("out/x"))
    assert sorted(rows) == ["x_alpha.png", "x_removed.png", "x_rgba.png"]
    with pytest.raises(Overwrites, match=r"x_alpha\.png was made with another task"):
        plan(*made("out/x", "x.jpg", "alpha rgba", task=None), "keep")


def test_results_are_no_inputs():
    touch("in/x.jpg", "in/y.png", "in/notes.txt", "in/raw.cr2", "in/.z.png", "in/sub/w.JFIF")
    for place, source in (("in/x", "in/x.jpg"), ("in/out/y", "in/y.png")):
        write(*made(place, source))
    found = find_inputs(["in"], own_results=own_results)
    assert list(found.sources) == [os.path.join("in", n) for n in ("x.jpg", "y.png", os.path.join("sub", "w.JFIF"))]
    assert [len(files) for files in found.left_out.values()] == [1, 1, 1, 4]
    assert any("4 left out, results of earlier runs: in" in note for note in found.notes())
    assert any("1 left out, no images: in" in note for note in found.notes())
    # As a shell gives in/*: the results of an image beside it are left out, those named by themselves are not.
    every = sorted(str(path) for path in Path("in").glob("x*"))
    assert find_inputs(every, own_results=own_results).sources == (os.path.join("in", "x.jpg"),)
    assert find_inputs(["in/x_rgba.png"], own_results=own_results).sources == ("in/x_rgba.png",)
    with pytest.raises(ValueError, match="only results of earlier runs"):
        find_inputs(["in/out"], own_results=own_results)
    with pytest.raises(ValueError, match="but results of earlier runs"):
        find_inputs(["in/out/*.png"], own_results=own_results)


def test_folders_in_a_circle_are_searched_once():
    touch("in/sub/x.png")
    os.symlink("..", "in/sub/up")
    assert len(find_inputs(["in"]).sources) == 1
    with pytest.raises(ValueError, match="directly in it"):
        find_inputs(["in"], recursive=False)


def test_damaged_records_count_as_none():
    touch("x.jpg")
    place, files, recipe = made("out/x", "x.jpg")
    write(place, files, recipe)
    for content in ("", "{", "[]", '{"files": {"x_alpha.png": 3}}', '{"files": {"x_alpha.png": {"source": {}}}}'):
        Path("out", RECORDS_FOLDER, "x.json").write_text(content)
        with pytest.raises(Overwrites, match="no record"):
            plan(place, files, recipe, "resume")
        assert own_results(Path("out")) == frozenset()


def test_long_names_have_records_too():
    touch("x.jpg")
    place, files, recipe = made("out/" + "n" * 240, "x.jpg")
    write(place, files, recipe)
    assert plan(place, files, recipe, "keep") == set()
    assert json.loads(next(Path("out", RECORDS_FOLDER).iterdir()).read_text())["files"]


def test_inputs_are_spared():
    touch("x_alpha.png", "x.png")
    with pytest.raises(Overwrites, match=r"x_alpha\.png would be written over the input"):
        check_inputs_are_spared(["x.png", "./x_alpha.png"], [Path("x_alpha.png")])
    os.link("x.png", "hard.png")
    with pytest.raises(Overwrites, match="written over the input x"):
        check_inputs_are_spared(["x.png"], [Path("hard.png")])
    os.symlink("x.png", "link.png")
    check_inputs_are_spared(["x.png", "gone.png", "-"], [Path("link.png"), Path("new.png")])


def test_what_cannot_be_written_is_found_before_any_work(monkeypatch):
    touch("file")
    check_writable(Path("new/deep"))
    assert not Path("new").exists()
    for out in ("file", "file/deep"):
        with pytest.raises(ValueError, match="file"):
            check_writable(Path(out))
    assert os.listdir() == ["file"]

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match="Permission denied"):
        check_writable(Path("new"))


@pytest.mark.parametrize("existing", ["remake", "keep", "resume"])
def test_a_run_that_was_killed_is_taken_up(existing):
    touch("x.jpg", "out/x_rgba.png")
    place, files, recipe = made("out/x", "x.jpg")
    with pytest.raises(Overwrites, match="no record"):
        plan(place, files, recipe, existing)
    Path("out/x_rgba.png").unlink()
    begun = noted(place, list(files.values()), recipe)
    begun.__enter__()
    touch("out/x_alpha.png")  # and here the process ends
    assert plan(place, files, recipe, existing) == {"alpha", "rgba"}
    write(place, files, recipe)
    assert plan(place, files, recipe, "keep") == set()


def test_a_failure_brings_the_earlier_record_back():
    touch("x.jpg")
    place, files, recipe = made("out/x", "x.jpg", prompt=1)
    write(place, files, recipe)
    with pytest.raises(MemoryError), noted(place, list(files.values()), made("out/x", "x.jpg", prompt=2)[2]):
        raise MemoryError
    assert plan(place, files, recipe, "keep") == set()
