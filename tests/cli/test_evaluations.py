"""The evaluations' shared options: one spelling, former ones that say so, and contradictions."""

import logging
from typing import Any

import pytest

from inpaint.evaluation.cli import COMMANDS
from medical.cli import Args as MedicalArgs
from nerf_seg.nvos.cli import Args as NvosArgs
from zim_plugins.cli.commands.evaluate import EvaluateArgs
from zim_plugins.cli.evaluations import EvaluationArgs, tell_failures
from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.runtime import Misuse

KINDS = {"zim evaluate": EvaluateArgs, "zim-nvos": NvosArgs, "zim-medseg": MedicalArgs, **COMMANDS}
NEEDED = {"zim-nvos": ["--root", "."], "composites": []}


def parse(name: str, *words: str) -> Any:
    return parse_arguments(KINDS[name], [*NEEDED.get(name, ["--data", "."]), *words], prog=name)


@pytest.mark.parametrize("name", KINDS)
def test_all_spell_the_shared_options_alike(name, capsys) -> None:
    args = parse(name, "--model", "a,b", "--out", "x", "--zoom", "--refine", "none", "--device", "cpu")
    assert isinstance(args, EvaluationArgs)
    assert (args.models, str(args.out), args.zoom_choice, args.refine, args.device) == ("a,b", "x", True, "none", "cpu")
    assert parse(name, "-o", "y", "--no-zoom").zoom_choice is False and parse(name).zoom_choice is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("words", [["--models", "a"], ["--models=a"], ["--mattes", "a"], ["--mattes=a"]])
def test_former_spellings_work_and_say_so(name, words, capsys) -> None:
    former = words[0].partition("=")[0]
    if former == "--mattes" and name not in COMMANDS:
        with pytest.raises(SystemExit):
            parse(name, *words)
        return
    assert parse(name, *words).models == "a"
    said = capsys.readouterr().err
    assert said == f"{former} is called --model now; the former name goes with the next version\n"


def test_two_spellings_of_one_option_are_twice_one_option(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("zim evaluate", "--models", "a", "--model", "b")
    assert stop.value.code == 2 and "--model is given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--zoom", "--no-zoom"], "exclude each other"),
        (["--refine", "sharper"], "--refine: "),
        (["--model", "a,a"], "names each model once"),
        (["--model", ","], "names each model once"),
    ],
)
def test_what_cannot_work_is_misuse(words, said) -> None:
    with pytest.raises(Misuse, match=said):
        parse("zim evaluate", *words).checked_models()


def test_failures_are_a_line_each_and_an_exit_code(caplog) -> None:
    caplog.set_level(logging.INFO)
    assert tell_failures([]) == 0 and caplog.messages == []
    failure = {"kind": "empty matte", "picture": "x.png", "object": "", "message": "it is 0 throughout"}
    assert tell_failures([failure, {"task": "fern", "seed": 0, "message": "no NeRF"}]) == 1
    assert caplog.messages == [
        "empty matte: x.png: it is 0 throughout", "fern 0: no NeRF", "2 failures; the report lists them"
    ]  # fmt: skip
