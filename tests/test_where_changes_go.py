"""The table of where changes go names places that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/where-changes-go.md"
PLACES = sorted(set(re.findall(r"`((?:zim_plugins|inpaint|medical|nerf_seg|tests)/[^`\s]*)`", PAGE.read_text())))


@pytest.mark.parametrize("place", PLACES)
def test_the_place_exists(place: str) -> None:
    file, _, name = place.partition("::")
    assert (ROOT / file).exists(), f"{file} is gone: correct {PAGE.name}"
    if name:
        assert name in _names(ROOT / file), f"{file} has no {name}: correct {PAGE.name}"


def test_the_ten_everyday_changes_are_there() -> None:
    text = PAGE.read_text()
    changes = (
        "a data set for `zim-medseg`|a filler|a metric|a checkpoint|a kind of prompt|an option of all commands|"
        "an export of the network|a column of a report|a backend|a loss"
    )
    for change in changes.split("|"):
        assert f"| {change}" in text, change


def _names(file: Path) -> set[str]:
    """Names that a module binds at its top."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found
