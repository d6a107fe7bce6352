"""`zim models`: which checkpoints there are, which are on this machine, and the command that brings the others."""

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from zim_plugins.cli.runtime import DONE, CommandArgs, Misuse

if TYPE_CHECKING:
    from zim_plugins.core.checkpoints.records import Checkpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelsArgs(CommandArgs):
    """List the checkpoints with their licences, or fetch one."""

    download: Annotated[str | None, arg(metavar="NAME")] = None
    """Fetch this checkpoint into ZIM_PLUGINS_HOME or the platform's cache, hf:ORG/NAME into the hub's; an interrupted
    transfer is continued."""
    verify: bool = False
    """Compare the sha256 of every checkpoint that is here."""
    json: bool = False
    """Print one JSON record per checkpoint."""
    families: bool = False
    """List instead what --model hf:NAME_OR_FOLDER takes, and what each may be given, as its class says."""


def main(args: ModelsArgs) -> int:
    """List or fetch."""
    from zim_plugins.core.checkpoints import records as checkpoints
    from zim_plugins.core.checkpoints.hub import hub_folder, is_hub_name

    if args.families:
        if args.download is not None or args.verify:
            raise Misuse("--families only lists: leave out --download and --verify")
        return list_families(as_json=args.json)
    if args.download is not None and is_hub_name(args.download):
        print(hub_folder(args.download))
        return DONE
    if args.download is not None:
        if args.download not in checkpoints.CHECKPOINTS:
            known = ", ".join(name for name, record in checkpoints.CHECKPOINTS.items() if not record.is_shipped)
            raise Misuse(f"there is no checkpoint {args.download!r} to fetch; known are {known}")
        path = checkpoints.fetch(args.download)
        print(path)
        return DONE
    records = [describe_checkpoint(record) for record in checkpoints.CHECKPOINTS.values()]
    if args.verify:
        for record in records:
            if record["path"] is not None:
                checkpoints.verify(str(record["name"]))
                logger.info("%s: verified", record["name"])
    if args.json:
        for record in records:
            print(json.dumps(record, ensure_ascii=False))
    else:
        _print_table(records)
        print("\nModels of transformers, --model hf:NAME_OR_FOLDER: see `zim models --families`")
    return DONE


def list_families(*, as_json: bool) -> int:
    """Print the architectures of transformers that are served, with what may be given to each."""
    from zim_plugins.core.backends.transformers.families import FAMILIES
    from zim_plugins.errors import MissingExtra

    for family in FAMILIES:
        try:
            prompts, needs = family.prompts(), None
        except MissingExtra as error:
            prompts, needs = {}, str(error)
        taken = [word for word, there in prompts.items() if there]
        if as_json:
            row = {"family": family.title, "class": family.model_class, "prompts": taken or None, "needs": needs}
            print(json.dumps(row | {"frame_px": family.preprocessing.frame_px, "example": f"hf:{family.example}"}))
        else:
            frame = f"{family.preprocessing.frame_px} px {'stretched' if family.preprocessing.stretched else 'padded'}"
            print(f"{family.title:15} {frame:18} {', '.join(taken) or needs}; such as --model hf:{family.example}")
    return DONE


def describe_checkpoint(record: "Checkpoint") -> dict[str, object]:
    """A checkpoint as JSON; `path` is None and `command` is set where it is not on this machine."""
    from zim_plugins.core.checkpoints.records import find

    path = find(record.name)
    missing = record.command if not record.is_shipped else "install zim-plugins anew from its wheel"
    return {
        "name": record.name,
        "kind": record.kind,
        "encoder": record.architecture,
        "megabytes": round(record.size_bytes / 1e6),
        "licence": record.licence,
        "source": record.source,
        "path": None if path is None else str(path),
        "command": None if path is not None else missing,
    }


def _print_table(records: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "MB", "on this machine, or the command that fetches it", "licence"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("name", "kind", "MB"))
    for record in records:
        size = str(record["megabytes"] or "in the wheel")
        table.add_row(
            str(record["name"]), str(record["kind"]), size, str(record["path"] or record["command"]),
            str(record["licence"]),
        )  # fmt: skip
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    console.print(table)
