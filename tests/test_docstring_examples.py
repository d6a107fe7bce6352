"""Examples in docstrings are run: what they show is what happens."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("zim_plugins",)
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_hold(module: str) -> None:
    failed, run = doctest.testmod(import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert run > 0
    assert failed == 0
