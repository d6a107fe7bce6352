"""Importing is light, warns of nothing, and the public names stay."""

import json
import re
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PUBLIC_API = json.loads((ROOT / "tests" / "public_api.json").read_text())
PACKAGES = ("zim_plugins", "nerf_seg", "inpaint", "medical")


def scripts() -> dict[str, str]:
    """Console scripts and their `module:function`, as pyproject.toml declares them."""
    section = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[1].split("\n[")[0]
    return dict(re.findall(r'^([\w-]+) = "([\w.:]+)"', section, flags=re.MULTILINE))


def run_python(code: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run code in a fresh interpreter; answers with its CPU time [s], which other processes do not lengthen much."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_import_is_light():
    code = (
        "import sys, time; start_s = time.perf_counter(); import zim_plugins; "
        "print(time.perf_counter() - start_s, *sorted({m.split('.')[0] for m in sys.modules}))"
    )
    seconds = []
    for _ in range(3):
        done, _ = run_python(code)
        assert (done.returncode, done.stderr) == (0, "")
        spent, *modules = done.stdout.split()
        assert not {"torch", "numpy", "PIL", "skimage", "onnxruntime"} & set(modules)
        seconds.append(float(spent))
    assert min(seconds) < 0.2


def test_the_face_of_the_core_loads_no_torch():
    done, _ = run_python("import sys, zim_plugins.core; print('torch' in sys.modules, 'skimage' in sys.modules)")
    assert (done.stdout.split(), done.stderr) == (["False", "False"], "")


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_without_their_extras(package):
    done, _ = run_python(f"import sys, {package}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))")
    heavy = {"torch", "numpy", "PIL", "scipy", "skimage", "nibabel", "pydicom", "nerfstudio", "diffusers", "tyro"}
    assert (done.returncode, done.stderr) == (0, "")
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("script", scripts())
def test_help_answers_at_once(script):
    module, function = scripts()[script].split(":")
    code = (
        f"import sys; sys.argv = [{script!r}, '--help']\nfrom {module} import {function}\n"
        f"try:\n    {function}()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print('torch loaded:', 'torch' in sys.modules)"
    )
    runs = [run_python(code) for _ in range(2)]
    done = runs[0][0]
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage" in done.stdout
    assert "torch loaded: False" in done.stdout
    assert min(seconds for _, seconds in runs) < 1.0


@pytest.mark.parametrize("module", [name for name in PUBLIC_API if name != "zim serve"])  # tests/server keeps that one
def test_public_names_stay(module):
    """A name that goes missing breaks users; a new one is added to tests/public_api.json on purpose."""
    face = import_module(module)
    declared = vars(face).get("__all__") or [
        name for name, value in vars(face).items() if name[0] != "_" and not isinstance(value, ModuleType)
    ]
    assert sorted(declared) == PUBLIC_API[module]
    for name in declared:
        getattr(face, name)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_a_folders(package: str) -> None:
    """A room of the same name would take the function's place as soon as anything in it is imported."""
    face = import_module(package)
    rooms = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not rooms & set(getattr(face, "__all__", ()))


def test_unknown_public_name():
    for package in PACKAGES:
        with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
            import_module(package).nonsense  # noqa: B018
