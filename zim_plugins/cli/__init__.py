"""The commands of `zim`: for each its arguments and its `main`, which imports what is heavy."""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line of `zim`, run the command, and return the exit code."""
    from zim_plugins.cli.subcommands import main as run_subcommand

    return run_subcommand(argv)


def entrypoint() -> None:
    """Run `zim`."""
    sys.exit(main())
