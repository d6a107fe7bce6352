"""What a user installs: the wheel's content, and the rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import zim_plugins

ROOT = Path(__file__).parents[1]
PACKAGES = {"zim_plugins", "nerf_seg", "inpaint", "medical"}
MAX_WEIGHTS_BYTES = 16 * 1024 * 1024
MAX_LINES = 400
MAX_MODULES = 16
PENS = {"zim_plugins/imaging/overlay.py", "zim_plugins/training/samples/procedural.py"}
"""Who draws: overlays, and the shapes of invented training samples."""
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Iterator[zipfile.ZipFile]:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (member,) = [n for n in wheel.namelist() if n.endswith(f".dist-info/{name}")]
    return wheel.read(member).decode()


def sources() -> list[Path]:
    folders = [*sorted(PACKAGES), "tests", "examples", "benchmarks"]
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_top_level_names_are_exactly_the_packages(wheel):
    names = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == PACKAGES
    assert len(names) == len(PACKAGES) + 1


def test_every_module_is_in_the_wheel(wheel):
    shipped = {name for name in wheel.namelist() if name.endswith(".py")}
    written = {str(path.relative_to(ROOT).as_posix()) for path in sources()}
    assert shipped == {name for name in written if name.split("/")[0] in PACKAGES}
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel.namelist())
    assert "zim_plugins/evaluation/report/template.html" in wheel.namelist()


def test_weights_are_in_the_wheel(wheel):
    weights = sorted((ROOT / "zim_plugins" / "core" / "weights").glob("*.safetensors"))
    for path in weights:
        assert wheel.getinfo(str(path.relative_to(ROOT).as_posix())).file_size == path.stat().st_size
        assert path.stat().st_size <= MAX_WEIGHTS_BYTES


def test_metadata(wheel):
    found = Parser().parsestr(metadata(wheel, "METADATA"))
    assert (found["Name"], found["Version"]) == ("zim-plugins", zim_plugins.__version__)
    assert found["License-Expression"] == "Apache-2.0"
    assert found.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert {"onnx", "nerf", "inpaint", "diffusion", "medical", "train", "all", "dev"} <= set(
        found.get_all("Provides-Extra") or ()
    )


def test_entry_points_lead_somewhere(wheel):
    targets = re.findall(r"= ([\w.]+):(\w+)", metadata(wheel, "entry_points.txt"))
    assert targets
    for module, name in targets:
        places = (module.replace(".", "/") + ending for ending in (".py", "/__init__.py"))
        text = wheel.read(next(place for place in places if place in wheel.namelist())).decode()
        assert re.search(rf"^(def {name}\b|{name}\b.*=)", text, flags=re.MULTILINE), f"{module}:{name}"


def broken_rules(path: Path, text: str) -> Iterator[str]:
    """Rules of the house that a file breaks."""
    lines = len(text.splitlines())
    if lines > MAX_LINES:
        yield f"{lines} lines, more than {MAX_LINES}"
    if path.stem in BANNED_NAMES:
        yield "a name that says nothing"
    if re.search(r"^from __future__ import annotations", text, flags=re.MULTILINE):
        yield "jaxtyping reads hints: no `from __future__ import annotations`"
    inside = path.relative_to(ROOT).parts[0] in PACKAGES
    if inside and re.search(r"\bImageDraw\b|\bputText\b", text) and path.relative_to(ROOT).as_posix() not in PENS:
        yield "a pen of its own: zim_plugins.imaging.overlay draws clicks, boxes, captions and sheets"
    # Only what somebody else's code raises may be anything, and the line says so.
    if inside and re.search(r"^\s*except( Exception)?\s*( as \w+)?:(?!  # whatever a stranger)", text, re.MULTILINE):
        yield "an except that catches everything"
    for first in _first_lines(text) if inside else ():
        if re.match(r"(Of|What|Whether|Who|How|Which|Where|When|Tell whether|To|In|By|For|From)\b", first):
            yield f"a docstring that is no statement by itself: {first!r}"


def _first_lines(text: str) -> Iterator[str]:
    """First lines of a module's docstrings."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield (ast.get_docstring(node) or "").partition("\n")[0]


def test_rules_of_the_house() -> None:
    files = sources()
    assert len(files) > 400
    broken = [f"{p.relative_to(ROOT)}: {r}" for p in files for r in broken_rules(p, p.read_text(encoding="utf-8"))]
    assert not broken, "\n".join(broken)


def test_no_folder_holds_more_modules_than_can_be_overlooked() -> None:
    folders = Counter(path.parent for path in sources() if path.name != "__init__.py" and "tests" not in path.parts)
    full = {str(folder.relative_to(ROOT)): count for folder, count in folders.items() if count > MAX_MODULES}
    assert not full


def test_rules_of_the_house_are_checked_at_their_edges() -> None:
    path = ROOT / "zim_plugins" / "x.py"
    assert not list(broken_rules(path, "x\n" * MAX_LINES))
    assert list(broken_rules(path, "x\n" * (MAX_LINES + 1)))
    assert list(broken_rules(path.with_name("utils.py"), ""))
    assert list(broken_rules(path, "from PIL import ImageDraw\n"))
    assert list(broken_rules(path, "try:\n    x\nexcept Exception as error:\n    y\n"))
    assert not list(
        broken_rules(path, "try:\n    x\nexcept Exception as error:  # whatever a stranger raises\n    y\n")
    )
    assert list(broken_rules(path, 'def f():\n    """Whether it is."""\n'))
    assert not list(broken_rules(path, 'def f():\n    """Return whether it is."""\n'))
    assert not list(broken_rules(ROOT / "tests" / "x.py", "try:\n    x\nexcept Exception:\n    y\n"))


def test_ci_runs_the_commands_of_the_readme_before_anything_else_is_installed() -> None:
    folder = Path(__file__).parents[1]
    script = folder / ".ci" / "run"
    if not script.exists():
        pytest.skip("the source distribution leaves .ci out")
    blocks = re.findall(r"^```bash\n(.*?)^```$", (folder / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert "zim matte" in blocks[0] and blocks[0].startswith("python3 -m venv")
    assert blocks[1].startswith("python3 -m venv") and blocks[1].rstrip().endswith("pytest")
    for number in (1, 2):
        printed = subprocess.run(
            [sys.executable, folder / ".ci" / "readme_block.py", str(number)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert printed.stdout == blocks[number - 1]
    lines = [line.strip() for line in script.read_text().splitlines()]
    installs = [i for i, line in enumerate(lines) if "pip install" in line]
    assert lines.index("readme 1") < lines.index("readme 2") < min(installs)
