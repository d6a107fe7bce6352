"""Every number says where it came from, by one function."""

import subprocess
from pathlib import Path

import pytest

import zim_plugins
from zim_plugins.evaluation.provenance import describe_process, source_commit

ROOT = Path(__file__).parents[2]


def test_a_checkout_with_changes_is_not_its_commit(tmp_path, monkeypatch) -> None:
    package = tmp_path / "zim_plugins"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(zim_plugins, "__file__", str(package / "__init__.py"))
    assert source_commit() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert source_commit() == head
    (package / "__init__.py").write_text("changed = 1\n")
    assert source_commit() == head + "+"


def test_a_machine_without_git_has_no_commit(monkeypatch) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    monkeypatch.setenv("PATH", "")
    assert source_commit() is None


def test_versions_are_those_of_the_process() -> None:
    import torch

    record = describe_process(packages=("no-such-package",))
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert record["versions"]["no-such-package"] == "absent"
    assert f"{torch.get_num_threads()} threads, no GPU" in record["machine"]


def test_one_module_asks_for_the_commit() -> None:
    folders = ("zim_plugins", "inpaint", "medical", "nerf_seg", "benchmarks")
    found = [f for folder in folders for f in (ROOT / folder).rglob("*.py") if "rev-parse" in f.read_text()]
    assert [f.relative_to(ROOT).as_posix() for f in found] == ["zim_plugins/evaluation/provenance.py"]
