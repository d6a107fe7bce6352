"""Files appear whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zim_plugins.errors import ImageError
from zim_plugins.imaging import atomic_path, atomic_write, write_text
from zim_plugins.imaging.files import leftovers, temporary_name

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_appears_when_it_is_complete(tmp_path, durable) -> None:
    path = tmp_path / "new/deep/a.bin"
    with atomic_write(path, durable=durable) as stream:
        stream.write(b"whole")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_fault_leaves_what_was_there_and_nothing_else(tmp_path, fault) -> None:
    path = write_text(tmp_path / "a.txt", "before")
    for writer in (atomic_write, atomic_path):
        with pytest.raises(fault):
            _write_half(writer, path, fault)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def _write_half(writer, path, fault) -> None:
    with writer(path) as out:
        (out.write_bytes if isinstance(out, Path) else out.write)(b"half")
        raise fault


def test_temporary_names_keep_the_suffixes_that_libraries_look_at(tmp_path) -> None:
    with atomic_path(tmp_path / "scan.v1.nii.gz") as temporary:
        assert temporary.name.startswith(".") and temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
    assert [file.name for file in tmp_path.iterdir()] == ["scan.v1.nii.gz"]


def test_a_library_that_writes_nothing_is_a_fault(tmp_path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.ply"):
        pass


def test_an_unfinished_file_may_lie_elsewhere(tmp_path) -> None:
    with atomic_path(tmp_path / "in/a.ckpt", folder=tmp_path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")
        assert list((tmp_path / "in").iterdir()) == []
    assert (tmp_path / "in/a.ckpt").read_bytes() == b"x"


def test_two_writers_of_one_name_do_not_meet(tmp_path) -> None:
    path = tmp_path / "a"
    with atomic_write(path) as one, atomic_write(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"  # the one that closed last


@pytest.mark.parametrize("bytes_long", [200, 201, 255])
def test_names_as_long_as_a_file_system_allows(tmp_path, bytes_long) -> None:
    path = tmp_path / "ä".ljust(bytes_long - 1, "x")
    temporary_name(path).write_bytes(b"half")
    with atomic_write(path) as stream:
        stream.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert len(leftovers(path)) == 1


@pytest.mark.parametrize("name", ["sa_[1].tar", "*.tar", "a.tar"])
def test_leftovers_are_those_of_one_name(tmp_path, name) -> None:
    temporary_name(tmp_path / name).write_bytes(b"half")
    temporary_name(tmp_path / "a.tar.gz").write_bytes(b"half")
    temporary_name(tmp_path / "sa_1.tar").write_bytes(b"half")
    assert len(leftovers(tmp_path / name)) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_permissions_are_the_umask_s_unless_told(tmp_path) -> None:
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "a", "")
        with atomic_write(tmp_path / "b", mode=0o600):
            pass
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o644, 0o600]


def test_nothing_but_one_module_renames_files() -> None:
    """A second writer would not clean up as this one does: each other place is named with its reason."""
    reasons = {
        "zim_plugins/imaging/files.py": "the one writer",
        "zim_plugins/core/checkpoints/cache.py": "a download that is continued keeps its part",
        "medical/segment/outputs.py": "files of one scan, moved together when all are written",
        "zim_plugins/core/export.py": "two files that name each other, written in one folder",
    }
    packages = ("zim_plugins", "inpaint", "medical", "nerf_seg")
    found = {
        file.relative_to(ROOT).as_posix()
        for package in packages
        for file in (ROOT / package).rglob("*.py")
        if "os.replace(" in (text := file.read_text()) or "os.rename(" in text or ".rename(" in text
    }
    assert found == set(reasons)


def test_a_killed_process_leaves_the_old_file(tmp_path) -> None:
    path = write_text(tmp_path / "a.txt", "before")
    code = (
        "import os, pathlib, sys\nfrom zim_plugins.imaging.files import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as out:\n    out.write(b'half'); out.flush(); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert path.read_text() == "before"
    assert len(leftovers(path)) == 1


@pytest.mark.parametrize("elsewhere", [False, True])
def test_faults_name_the_file_and_not_its_hidden_name(elsewhere, tmp_path):
    wanted, folder = tmp_path / "new" / "cut.png", tmp_path if elsewhere else None

    def write(make) -> None:
        with atomic_path(wanted, folder=folder) as temporary:
            temporary.write_bytes(b"half")
            raise make(temporary)

    def fault(make) -> Exception:
        with pytest.raises((ImageError, OSError)) as caught:
            write(make)
        return caught.value

    assert str(fault(lambda at: ImageError(f"cannot write {at}: disk full"))) == f"cannot write {wanted}: disk full"
    assert str(fault(lambda at: ImageError(f"cannot write {at.name}: odd"))) == "cannot write cut.png: odd"
    full = fault(lambda at: OSError(28, "No space left on device", str(at)))
    assert (full.errno, full.filename) == (28, str(wanted))
    assert sorted(tmp_path.rglob("*.png")) == []
