"""Units of a run: killed and taken up, refused by name, damaged one by one, and one run at a time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zim_plugins.evaluation.results import (
    Record,
    ResultsError,
    ResultStore,
    differences,
    files_digest,
    open_results,
    plain,
)

ROW = {"object": "o", "iou": 0.1 + 0.2, "failure": None}
FAILED = {"object": "o", "failure": {"kind": "model failed", "message": "no luck"}}
PROGRAM = """
import os, signal, sys
from pathlib import Path
from zim_plugins.evaluation.results import Record, ResultStore, open_results

store, die_at = ResultStore(Path(sys.argv[1]), "a"), int(sys.argv[2])
with open_results({store: {"seed": 0}}):
    for k in range(4):
        if k == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if store.find(f"set/{k}", "digest")[0] != "done":
            print(k)
            store.write(f"set/{k}", Record([{"iou": k / 3, "failure": None}], "digest", more={"notes": ["é"]}))
"""


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.json"))}


def work(out: Path, die_at: int = -1) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, str(out), str(die_at)], capture_output=True, text=True)


@pytest.mark.parametrize("die_at", [0, 1, 3])
def test_a_run_killed_between_units_is_taken_up_to_the_same_bytes(tmp_path: Path, die_at: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert work(whole).stdout.split() == list("0123")
    assert work(killed, die_at).returncode == -signal.SIGKILL
    assert len(files(killed)) == 1 + die_at
    again = work(killed)
    assert again.stdout.split() == list("0123")[die_at:], again.stderr
    assert files(killed) == files(whole)
    assert work(killed).stdout == ""


def begun(out: Path, signature: dict | None = None, series: str = "a", **more) -> ResultStore:
    store = ResultStore(out, series, **more)
    with open_results({store: {"seed": 0, "zoom": None} if signature is None else signature}):
        store.write("unit", Record.of([ROW], "digest"))
    return store


@pytest.mark.parametrize(
    ("now", "named"),
    [
        ({"seed": 1, "zoom": None}, "seed: 0 then, 1 now"),
        ({"seed": 0, "zoom": False}, "zoom: nothing then, False now"),
        ({"seed": 0, "zoom": None, "refine": "auto"}, "refine: nothing then, auto now"),
        ({"zoom": None}, "seed: 0 then, nothing now"),
        ({"seed": {"a": 1}, "zoom": None}, "seed: 0 then, {'a': 1} now"),
    ],
)
def test_whatever_differs_is_named_and_nothing_is_written(tmp_path: Path, now: dict, named: str) -> None:
    store = begun(tmp_path)
    before = files(tmp_path)
    with pytest.raises(ResultsError, match="give another --out") as refused, open_results({store: now}):
        pytest.fail("it was let in")
    assert named in str(refused.value) and "\n" not in str(refused.value)
    assert files(tmp_path) == before


def test_more_than_four_differences_are_counted(tmp_path: Path) -> None:
    store = begun(tmp_path, {name: 0 for name in "abcdef"})
    with (
        pytest.raises(ResultsError, match=r"d: 0 then, 1 now and 2 more\)"),
        open_results({store: dict.fromkeys("abcdef", 1)}),
    ):
        pass  # fmt: skip


def test_one_refused_series_leaves_all_as_they_were(tmp_path: Path) -> None:
    store, new = begun(tmp_path), ResultStore(tmp_path, "b")
    before = files(tmp_path)
    with pytest.raises(ResultsError), open_results({new: {}, store: {"seed": 5}}):
        pass
    assert files(tmp_path) == before
    with open_results({new: {"seed": 9}}):  # another model's rows lie beside the first one's
        new.write("unit", Record([ROW]))
    assert set(json.loads((tmp_path / "run.json").read_text())["series"]) == {"a", "b"}
    begun(tmp_path)


def test_options_may_change_while_nothing_is_done(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, "a")
    with open_results({store: {"seed": 0}}):
        pass
    with open_results({store: {"seed": 1}}):
        assert json.loads((tmp_path / "run.json").read_text())["series"] == {"a": {"seed": 1}}


@pytest.mark.parametrize("place", ["rows/a/unit.json", "rows/a/task/sa3d_0.json", "parts/run.json"])
def test_results_of_the_earlier_layout_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text('{"signature": "0", "rows": []}')
    before = files(tmp_path)
    with pytest.raises(ResultsError, match=r"earlier version.*give another --out"):
        begun(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": 1, "series": {}}', b'{"format": 2}'])
def test_a_damaged_run_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    begun(tmp_path)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ResultsError, match="give another --out") as refused:
        begun(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"rows": [', b"[]", b"null", b"\xff\xfe", b'{"rows": 5, "inputs": "", "failed": false}',
     b'{"rows": [1], "inputs": "", "failed": false}', b'{"inputs": "digest", "failed": false}',
     b'{"rows": [{"iou": 1}], "inputs": "digest", "failed": false}', b"[" * 100_000],
)  # fmt: skip
def test_a_damaged_unit_is_done_again_and_ends_no_other(tmp_path: Path, content: bytes, caplog) -> None:
    store = begun(tmp_path, columns=("object", "iou"))
    store.write("other", Record.of([ROW], "digest"))
    store.path("unit").write_bytes(content)
    assert store.find("unit", "digest") == ("damaged", None)
    (line,) = caplog.messages
    assert "\n" not in line and str(store.path("unit")) in line and "does this unit again" in line
    assert store.find("other", "digest")[0] == "done"
    with pytest.raises(ResultsError, match="is damaged"):
        store.read("unit")
    store.write("unit", Record.of([ROW], "digest"))
    assert store.find("unit", "digest")[1] == Record.of([ROW], "digest")


def test_failed_and_changed_units_are_tried_again(tmp_path: Path, caplog) -> None:
    store = begun(tmp_path)
    assert store.find("unit", "digest")[0] == "done" and store.find("new") == ("new", None)
    assert store.find("unit", "edited") == ("changed", None)
    assert caplog.messages == ["unit: an image or mask has changed since it was done: it is done again"]
    store.write("unit", Record.of([ROW, FAILED], "digest"))
    assert store.find("unit", "digest") == ("failed", None)
    assert store.read("unit").rows == [ROW, FAILED]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    more = {"notes": ["é", "\ud800"], "labels": {"b": 1, "a": 2}}
    store = ResultStore(tmp_path)
    store.write("set/unit", Record([ROW], "x", more=more))
    record = store.read("set/unit")
    assert record == Record([ROW], "x", more=more) and list(record.more["labels"]) == ["b", "a"]


def test_two_runs_at_once(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, "a")
    with open_results({store: {"seed": 0}}):
        other = work(tmp_path)
        assert other.returncode == 1 and other.stdout == ""
        assert "another run is writing to" in other.stderr and "give another --out" in other.stderr
    assert work(tmp_path).stdout.split() == list("0123")


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    assert work(tmp_path, 2).returncode == -signal.SIGKILL
    with open_results({ResultStore(tmp_path, "a"): {"seed": 0}}):
        pass


def test_a_file_in_place_of_the_folder_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match="out"), open_results({ResultStore(tmp_path / "out"): {}}):
        pass


def test_paths_and_tuples_are_compared_as_json_has_them() -> None:
    assert differences(plain({"a": (1, Path("x"))}), plain({"a": [1, "x"]})) == []
    assert os.sep not in "".join(differences({"a": "x" * 90}, {"a": 1}))


def test_an_edited_file_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    one.write_bytes(b"abc")
    other.write_bytes(b"abc")
    before = files_digest([one], "key")
    assert before == files_digest([other], "key") != files_digest([one], "other key")
    one.write_bytes(b"abd")
    os.utime(one, ns=(1, 1))
    assert files_digest([one], "key") != before
    one.write_bytes(b"abc")
    assert files_digest([one], "key") == before
    one.unlink()
    assert files_digest([one], "key") != before and files_digest([one, other]) != files_digest([other, one])
