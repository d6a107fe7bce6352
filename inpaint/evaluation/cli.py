"""`zim-inpaint-eval`: removals scored on composites with known truth, and on objects of COCO."""

from dataclasses import dataclass

import tyro

from zim_plugins.commands.session import FAILED, CommandArgs, run


@dataclass(frozen=True, kw_only=True)
class Args(CommandArgs):
    """Score object removal."""


def main(args: Args) -> int:
    """Score removals."""
    return FAILED


def entrypoint() -> None:
    """Run `zim-inpaint-eval`."""
    args = tyro.cli(Args, prog="zim-inpaint-eval", config=(tyro.conf.FlagCreatePairsOff,))
    raise SystemExit(run(main, args, package="inpaint"))
