"""Behaviour that all commands share: logs to stderr, faults as one line, exit codes."""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from zim_plugins.errors import MissingPackage, ZimError

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""
EXPECTED_FAULTS = (ZimError, OSError, ValueError, RuntimeError, MemoryError)
"""What bad files, bad arguments, full disks and full devices raise: told in one line. Anything else is a bug."""

logger = logging.getLogger(__name__)


class Misuse(ZimError):
    """The command was called in a way that cannot work; nothing was done."""


@dataclass(frozen=True, kw_only=True)
class CommandArgs:
    """Options of every command."""

    debug: bool = False
    """Show the traceback of a fault."""
    waits_asleep: ClassVar[bool] = False
    """Whether threads that wait for others sleep (OMP_WAIT_POLICY): on a busy machine waiting awake costs several times
    the work itself, as each of the many small steps of a command on images waits for the slowest thread."""


Args = TypeVar("Args", bound=CommandArgs)


def run(main: Callable[[Args], int], args: Args, *, package: str = "zim_plugins") -> int:
    """Call a command's `main`, turn its faults into one line on stderr, and answer with the exit code.

    Args:
        package: whose messages are shown besides the core's.
    """
    start_logging(package, debug=args.debug)
    prepare_stdout()
    if args.waits_asleep:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded, which is later
    try:
        code = main(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        logger.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        leave_stdout_alone()
        return DONE
    except EXPECTED_FAULTS as error:
        if args.debug:
            raise
        logger.error("%s", one_line(error))
        return MISUSED if is_misuse(error) else FAILED


def is_misuse(error: BaseException) -> bool:
    """Return whether a fault is the call's, and not a file's or the work's: what is installed cannot do it, too.

    >>> is_misuse(Misuse("--point is empty")), is_misuse(ValueError("the image is damaged"))
    (True, False)
    """
    return isinstance(error, Misuse | MissingPackage)


def start_logging(package: str = "zim_plugins", *, debug: bool = False) -> None:
    """Send this project's messages, and others' warnings, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("zim_plugins", package):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:  # of a damaged file we say one line ourselves
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=r"PIL\.")


def prepare_stdout() -> None:
    """Let names that standard output's encoding lacks be printed with escapes, as standard error does."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def leave_stdout_alone() -> None:
    """Send what is still printed nowhere: the reader went away, as `head` does, and Python would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks; its type where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
