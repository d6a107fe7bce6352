"""`zim`: the one door to the core's commands."""

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import tyro

from zim_plugins.cli.ablate import AblateArgs
from zim_plugins.cli.bench import BenchArgs
from zim_plugins.cli.convert import ConvertArgs
from zim_plugins.cli.data import DataArgs
from zim_plugins.cli.doctor import DoctorArgs
from zim_plugins.cli.evaluate import EvaluateArgs
from zim_plugins.cli.everything import EverythingArgs
from zim_plugins.cli.export import ExportArgs
from zim_plugins.cli.matte import MatteArgs
from zim_plugins.cli.models import ModelsArgs
from zim_plugins.cli.runtime import run
from zim_plugins.cli.train import TrainArgs

Command = (
    Annotated[MatteArgs, tyro.conf.subcommand("matte")]
    | Annotated[EverythingArgs, tyro.conf.subcommand("everything")]
    | Annotated[EvaluateArgs, tyro.conf.subcommand("evaluate")]
    | Annotated[AblateArgs, tyro.conf.subcommand("ablate")]
    | Annotated[ExportArgs, tyro.conf.subcommand("export")]
    | Annotated[TrainArgs, tyro.conf.subcommand("train")]
    | Annotated[DataArgs, tyro.conf.subcommand("data")]
    | Annotated[ConvertArgs, tyro.conf.subcommand("convert")]
    | Annotated[ModelsArgs, tyro.conf.subcommand("models")]
    | Annotated[BenchArgs, tyro.conf.subcommand("bench")]
    | Annotated[DoctorArgs, tyro.conf.subcommand("doctor")]
)
"""Each command's arguments; its `main` stands beside them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command, and answer with the exit code."""
    description = "Promptable image matting: clicks and boxes in, soft alpha mattes out."
    args = tyro.cli(Command, prog="zim", description=description, args=argv, config=(tyro.conf.FlagCreatePairsOff,))
    return run(import_module(type(args).__module__).main, args)
