"""Command lines to arguments, the same way for every command: nothing given is dropped unsaid."""

import dataclasses
import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import Positional, UseAppendAction

from zim_plugins.cli.runtime import DONE, MISUSED, leave_stdout_alone, prepare_stdout

Args = TypeVar("Args")


class Former:
    """Former spellings of an option, in its `Annotated`: they work for one version and say so.

    Args:
        spellings: such as `--models`.
    """

    def __init__(self, *spellings: str) -> None:
        self.spellings = spellings


_APPENDED, _POSITIONAL = get_args(UseAppendAction[str])[1], get_args(Positional[str])[1]


def parse_arguments(kind: type[Args], argv: Sequence[str] | None = None, *, prog: str) -> Args:
    """Read the command line of one command.

    An option that takes one value and is given twice is refused, `--version` is answered, a leading `~` in a value is
    the home folder as after a space, and a reader of `--help` that goes away, as `head` does, is no fault.

    Args:
        kind: dataclass of the options.
        argv: without the command's own name; by default this process's.
        prog: what the help calls the command.

    Raises:
        SystemExit: 2 for arguments that cannot be read, 0 after `--help` and `--version`.
    """
    words = [_at_home(word) for word in (sys.argv[1:] if argv is None else argv)]
    _answer_version(words)
    words = _as_now_spelled(kind, words)
    _refuse_repeats(kind, words, prog)
    return _call_tyro(kind, words, prog)


def parse_command(
    commands: Mapping[str, type[Any]], argv: Sequence[str] | None = None, *, prog: str, description: str
) -> Any:
    """Read the command line of a program whose first word names one of several commands.

    Args:
        commands: dataclass of the options, by the command's word.
        argv: as for `parse_arguments`.
        prog: what the help calls the program.

    Raises:
        SystemExit: as `parse_arguments`; 2 for a word that is no command, with the nearest ones.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in commands:
        return parse_arguments(commands[words[0]], words[1:], prog=f"{prog} {words[0]}")
    _answer_version(words)
    if words and not words[0].startswith("-"):
        near = difflib.get_close_matches(words[0], commands, n=1, cutoff=0.6)
        meant = f"did you mean {near[0]}? " if near else ""
        _refuse(prog, f"{words[0]!r} is no command: {meant}Commands are {', '.join(commands)}")
    choices: list[Any] = [Annotated[kind, tyro.conf.subcommand(word)] for word, kind in commands.items()]
    union = choices[0]
    for choice in choices[1:]:
        union = union | choice
    return _call_tyro(union, words, prog, description)


def _call_tyro(kind: Any, words: Sequence[str], prog: str, description: str | None = None) -> Any:
    prepare_stdout()
    try:
        try:
            return tyro.cli(
                kind, prog=prog, description=description, args=words, config=(tyro.conf.FlagCreatePairsOff,)
            )
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        leave_stdout_alone()
        raise SystemExit(DONE) from None


def _at_home(word: str) -> str:
    """Expand ~ at the start of a value after "=", which shells leave as it is, and of a word."""
    name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return name + equals + (os.path.expanduser(value) if value.startswith("~") else value)


def _as_now_spelled(kind: type[Any], words: Sequence[str]) -> list[str]:
    """Replace former spellings of options by those of now, and say so."""
    spelled = {}
    for field, hint in get_type_hints(kind, include_extras=True).items():
        for former in (one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Former)):
            spelled |= dict.fromkeys(former.spellings, _long_name(field, hint.__metadata__))
    found = []
    for word in _before_separator(words):
        name, equals, value = word.partition("=")
        if now := spelled.get(name.replace("_", "-")):
            print(f"{name} is called {now} now; the former name goes with the next version", file=sys.stderr)
        found.append((now or name) + equals + value)
    return [*found, *words[len(found) :]]


def _long_name(field: str, extras: Sequence[Any]) -> str:
    name = next((own for extra in extras if (own := getattr(extra, "name", None))), field)
    return f"--{name.replace('_', '-')}"


def _answer_version(words: Sequence[str]) -> None:
    if "--version" in _before_separator(words):
        from zim_plugins import __version__

        print(f"zim-plugins {__version__}")
        raise SystemExit(DONE)


def _before_separator(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("--")] if "--" in words else words


def _refuse_repeats(kind: type[Any], words: Sequence[str], prog: str) -> None:
    """Exit where an option that keeps one value is given twice, of which the parser would keep the last."""
    single = _single_valued(kind)
    seen: set[str] = set()
    for word in _before_separator(words):
        name = single.get(word.partition("=")[0].replace("_", "-"))
        if name is None and not word.startswith("--"):
            name = single.get(word[:2])
        if name is None:
            continue
        if name in seen:
            _refuse(prog, f"{name} is given twice, and only the last would count: give it once")
        seen.add(name)


def _single_valued(kind: type[Any]) -> dict[str, str]:
    """Spellings of the options that keep one value, flags left out, with the name that messages use."""
    spellings: dict[str, str] = {}
    for field, hint in get_type_hints(kind, include_extras=True).items():
        annotated = get_origin(hint) is Annotated
        plain, extras = (get_args(hint)[0], get_args(hint)[1:]) if annotated else (hint, ())
        nested = [get_args(one)[0] if get_origin(one) is Annotated else one for one in get_args(plain)]
        for one in nested:
            if isinstance(one, type) and dataclasses.is_dataclass(one):  # a command below the command
                spellings |= _single_valued(one)
        if any(nested) and all(map(dataclasses.is_dataclass, nested)):
            continue
        if plain is bool or _APPENDED in extras or _POSITIONAL in extras:
            continue
        aliases = [alias for extra in extras for alias in getattr(extra, "aliases", None) or ()]
        long = _long_name(field, extras)
        spellings |= dict.fromkeys([long, *aliases], long)
    return spellings


def _refuse(prog: str, message: str) -> NoReturn:
    print(f"{message} ({prog} --help)", file=sys.stderr)
    raise SystemExit(MISUSED)
