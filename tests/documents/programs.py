"""This project's commands as the documents call them: parsed by their own parsers, or run in this process."""

import contextlib
import importlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any
from unittest import mock

from .pages import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS: dict[str, str] = PROJECT["scripts"]
RUNNERS = {
    "zim": "zim_plugins.cli.subcommands",
    "zim-inpaint": "inpaint.cli",
    "zim-inpaint-eval": "inpaint.evaluation.cli",
    "zim-medseg": "medical.cli",
    "zim-nvos": "nerf_seg.nvos.cli",
    "zim-splat": "nerf_seg.splat.cli",
}
"""Module of each script whose `run` is called once the command line is read."""
WORDS = {
    "zim": ("matte", "everything", "serve", "evaluate", "ablate", "export", "train", "data check", "data index",
            "convert", "models", "bench", "doctor"),
    "zim-inpaint": ("", "remove", "fill", "replace", "cutout"),
    "zim-inpaint-eval": ("composites", "folders", "coco"),
    "zim-medseg": ("", "check", "segment"),
    "zim-nvos": ("",),
    "zim-splat": ("",),
}  # fmt: skip
"""What may follow each script's name and has a help of its own."""


def call(words: Sequence[str]) -> tuple[int, str, str]:
    """Call a script in this process; answers with exit code, standard output and standard error."""
    module, _, function = SCRIPTS[words[0]].partition(":")
    entrypoint = getattr(importlib.import_module(module), function)
    out, err = io.StringIO(), io.StringIO()
    out.reconfigure = lambda **_: None  # type: ignore[attr-defined]
    with mock.patch.object(sys, "argv", list(words)), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = entrypoint()
        except SystemExit as stop:
            code = stop.code
    return int(code or 0), out.getvalue(), err.getvalue()


@contextlib.contextmanager
def nothing_runs(script: str) -> Iterator[None]:
    """Let a script end once its command line is read."""
    with mock.patch.object(importlib.import_module(RUNNERS[script]), "run", return_value=0):
        yield


def parse(words: Sequence[str]) -> str:
    """Read a command line by the script's own parser; answers with its complaint, "" where it has none."""
    with nothing_runs(words[0]):
        code, _, err = call(words)
    return "" if code == 0 else err.strip() or f"exit code {code}"


@cache
def options_of(script: str, word: str) -> frozenset[str]:
    """Long options that the help of a script names."""
    code, out, err = call([script, *word.split(), "--help"])
    assert code == 0, err
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", out)) | {"--help", "--version"}


@cache
def all_options() -> frozenset[str]:
    """Long options of all scripts."""
    return frozenset().union(*(options_of(script, word) for script, words in WORDS.items() for word in words))


def word_after(words: Sequence[str]) -> str:
    """The words of `WORDS` with which a command line goes on."""
    line = " ".join(words[1:])
    fits = [one for one in WORDS[words[0]] if one and (line == one or line.startswith(f"{one} "))]
    return max(fits, key=len, default="")
