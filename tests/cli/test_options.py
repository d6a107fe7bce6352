"""Command lines: what is refused, and what is expanded."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from tyro.conf import Positional, UseAppendAction, arg

from zim_plugins.cli.options import parse_arguments


@dataclass(frozen=True)
class Options:
    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE")]] = ()
    box: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="BOX")]] = ()
    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])] = Path("outputs")
    layout: Annotated[str, arg(name="as")] = "auto"
    splits: tuple[str, ...] = ()
    min_score: float | None = None
    json: bool = False


def parse(*words: str) -> Options:
    return parse_arguments(Options, words, prog="program")


@pytest.mark.parametrize(
    "words",
    [
        ["--out", "a", "--out", "b"],
        ["--out=a", "-o", "b"],
        ["-oa", "-ob"],
        ["--min-score", "1", "--min_score=1"],
        ["--as", "a", "--as", "b"],
        ["--splits", "a", "b", "--splits", "c"],
    ],
)
def test_an_option_of_one_value_is_given_once(words, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(*words)
    assert stop.value.code == 2
    assert "is given twice" in capsys.readouterr().err


def test_what_may_be_repeated():
    parsed = parse("a", "--box", "-1,2", "--box", "-1,2", "--json", "--json")
    assert (parsed.images, parsed.box, parsed.json) == (("a",), ("-1,2", "-1,2"), True)
    assert parse("--", "--out", "--out").images == ("--out", "--out")


@pytest.mark.parametrize("words", [["--out=~/x"], ["--out", "~/x"], ["-o", "~/x"]])
def test_tilde_is_the_home_folder(words, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert parse(*words).out == tmp_path / "x"


@pytest.mark.parametrize("program", ["zim", "zim matte", "zim-inpaint", "zim-medseg"])
def test_a_reader_of_the_help_may_go_away(program):
    module = {"zim": "zim_plugins.cli", "zim-inpaint": "inpaint.cli", "zim-medseg": "medical.cli"}[program.split()[0]]
    code = (
        f"import sys; sys.argv[1:] = {[*program.split()[1:], '--help']}; from {module} import entrypoint; entrypoint()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # before anything is written, the hardest case
        assert process.stderr.read() == b""
    assert process.returncode == 0
