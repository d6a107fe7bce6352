"""`zim`: the one door to the core's commands."""

from collections.abc import Sequence
from importlib import import_module

from zim_plugins.cli.commands.ablate import AblateArgs
from zim_plugins.cli.commands.bench import BenchArgs
from zim_plugins.cli.commands.convert import ConvertArgs
from zim_plugins.cli.commands.data import DataArgs
from zim_plugins.cli.commands.doctor import DoctorArgs
from zim_plugins.cli.commands.evaluate import EvaluateArgs
from zim_plugins.cli.commands.everything import EverythingArgs
from zim_plugins.cli.commands.export import ExportArgs
from zim_plugins.cli.commands.matte import MatteArgs
from zim_plugins.cli.commands.models import ModelsArgs
from zim_plugins.cli.commands.serve import ServeArgs
from zim_plugins.cli.commands.train import TrainArgs
from zim_plugins.cli.options import parse_command
from zim_plugins.cli.runtime import CommandArgs, run

COMMANDS: dict[str, type[CommandArgs]] = {
    "matte": MatteArgs,
    "everything": EverythingArgs,
    "serve": ServeArgs,
    "evaluate": EvaluateArgs,
    "ablate": AblateArgs,
    "export": ExportArgs,
    "train": TrainArgs,
    "data": DataArgs,
    "convert": ConvertArgs,
    "models": ModelsArgs,
    "bench": BenchArgs,
    "doctor": DoctorArgs,
}
"""Each command's options; its `main` stands in the same module."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command, and return the exit code."""
    description = "Promptable image matting: clicks and boxes in, soft alpha mattes out."
    args = parse_command(COMMANDS, argv, prog="zim", description=description)
    return run(import_module(type(args).__module__).main, args)
