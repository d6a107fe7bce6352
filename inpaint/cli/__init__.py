"""`zim-inpaint`: images and a prompt in; the object removed, replaced, or cut out."""

import sys

from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.runtime import run

from .arguments import CutoutArgs, FillArgs, RemoveArgs, ReplaceArgs, TaskArgs
from .command import main

TASKS: dict[str, type[TaskArgs]] = {
    "remove": RemoveArgs,
    "fill": FillArgs,
    "replace": ReplaceArgs,
    "cutout": CutoutArgs,
}
"""The first word after `zim-inpaint` names the task; without one it is `remove`."""


def parse(arguments: list[str]) -> TaskArgs:
    """Read the command line, without the command's own name."""
    named = bool(arguments) and arguments[0] in TASKS
    task, rest = (arguments[0], arguments[1:]) if named else ("remove", arguments)
    prog = f"zim-inpaint {task}" if named else "zim-inpaint"
    return parse_arguments(TASKS[task], rest, prog=prog)


def entrypoint() -> None:
    """Run `zim-inpaint`."""
    raise SystemExit(run(main, parse(sys.argv[1:]), package="inpaint"))
