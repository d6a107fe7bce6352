"""`zim-splat` killed in the middle leaves no half file, and the same command again gives the undisturbed files."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nerf_seg.splat.results import UNFINISHED
from tests.nerf_seg.splat.test_cli import call, command, write_capture
from tests.nerf_seg.splat_scene import SplatScene

KILLED = """
import os, signal, sys
from nerf_seg.segmentation.segmenter import Segmenter
from nerf_seg.splat.cli import entrypoint

stage, last, count = sys.argv.pop(1), int(sys.argv.pop(1)), 0
replace, visit = os.replace, Segmenter.visit

def die_when_it_is_time(path=None):
    global count
    count += 1
    if count == last:
        if path is not None:
            os.truncate(path, os.path.getsize(path) // 2)  # not all of it had been written
        os.kill(os.getpid(), signal.SIGKILL)

def counted_replace(source, target):
    die_when_it_is_time(source)
    return replace(source, target)

def counted_visit(self, view):
    die_when_it_is_time()
    return visit(self, view)

if stage == "file":
    os.replace = counted_replace
else:
    Segmenter.visit = counted_visit
entrypoint()
"""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("capture"), SplatScene(views=4, count=300))


@pytest.fixture(scope="module")
def undisturbed(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("out")
    assert call(command(capture, folder)) == 0
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """All files by name; of the report what does not hang on the time, the folder and the cache."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    if "report.json" in found:
        report = json.loads(found["report.json"])
        del report["seconds"], report["provenance"], report["cache"]
        for visit in report["visits"]:
            del visit["seconds"]
        found["report.json"] = json.dumps(report).encode()
    return found


# The mark, four mattes, the sheet; then object, rest, membership, its array, and the report.
@pytest.mark.parametrize(("stage", "last"), [("visit", 3), ("file", 3), ("file", 8), ("file", 11)])
def test_a_killed_run_leaves_no_half_file_and_is_repeated(
    capture: Path, undisturbed: dict[str, bytes], tmp_path: Path, stage: str, last: int
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    out = tmp_path / "out"
    words = command(capture, out)
    killed = subprocess.run([sys.executable, str(tmp_path / "killed.py"), stage, str(last), *words])
    assert killed.returncode == -signal.SIGKILL
    left = contents(out) if out.exists() else {}
    named = {name: content for name, content in left.items() if not Path(name).name.startswith(".")}
    assert len(named) == (max(last - 2, 0) if stage == "file" else 0)
    assert all(content == undisturbed[name] for name, content in named.items())
    assert (UNFINISHED in left) == (stage == "file")
    assert call(words) == 0
    assert contents(out) == undisturbed  # and nothing temporary
