"""Examples in docstrings are run: what they show is what happens."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("zim_plugins", "inpaint", "medical", "nerf_seg")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_hold(module: str) -> None:
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("zim_plugins", "inpaint", "medical", "nerf_seg"):
            raise
        pytest.skip(f"{module} needs {error.name}")
    failed, run = doctest.testmod(loaded, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert run > 0
    assert failed == 0


FACES = ("zim_plugins.core", "zim_plugins.imaging", "inpaint", "medical", "nerf_seg")
WITHOUT = {
    "load_inpainter": "what it finds depends on the packages and weights at hand",
    "load_text_detector": "needs a model of gigabytes",
    "SamStylePredictor": "deprecated",
    "TextDetector": "needs a model of gigabytes",
    "to_supervision": "needs the package supervision",
}
"""Public names whose docstring shows no example, and why; exceptions need none."""


@pytest.mark.parametrize("face", FACES)
def test_each_public_name_shows_an_example(face: str) -> None:
    module = import_module(face)
    names = vars(module).get("__all__") or [name for name in vars(module) if name[0] != "_"]
    missing = []
    for name in names:
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)) or name in WITHOUT:
            continue
        if not (inspect.isclass(value) and issubclass(value, Exception)) and ">>> " not in (value.__doc__ or ""):
            missing.append(name)
    assert not missing
