"""`zim data`: look at folders of data before a run does."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from zim_plugins.cli.runtime import DONE, FAILED, CommandArgs, Misuse

logger = logging.getLogger(__name__)
SHOWN_FAULTS = 50
"""Faults listed in full for people; --json lists up to 1000."""


@dataclass(frozen=True)
class CheckArgs:
    """Read all of a data set and tell what is wrong with it; exit 1 where anything is."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the data set, or the one above it."""
    dataset: Annotated[str, arg(metavar="NAME")] = "plain"
    """Layout: am2k, p3m10k, ade20k, coco, sa1b...; an unknown name lists all. plain: images/ with alphas/ or masks/."""
    split: Annotated[tuple[str, ...], arg(metavar="SPLIT")] = ()
    """Splits to check; all that are there if none is named."""
    allow: Annotated[tuple[str, ...], arg(metavar="KIND")] = ()
    """Kinds of fault to let pass, for example "binary matte"."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class IndexArgs:
    """Write a data set's samples as an index, one JSON object a line."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder of the data set, or the one above it."""
    dataset: Annotated[str, arg(metavar="NAME")]
    """Layout, as for `check`."""
    split: Annotated[str, arg(metavar="SPLIT")]
    """Split to read."""
    out: Annotated[Path, arg(metavar="FILE", aliases=["-o"])]
    """Index to write, .jsonl; paths in it are relative to its folder."""


@dataclass(frozen=True)
class DataArgs(CommandArgs):
    """Check a folder of data, or write its index."""

    action: OmitSubcommandPrefixes[
        Annotated[CheckArgs, subcommand("check")] | Annotated[IndexArgs, subcommand("index")]
    ]


def main(args: DataArgs) -> int:
    """Check or index."""
    from zim_plugins.data.faults import DataError
    from zim_plugins.data.readers.registry import require_dataset

    action = args.action
    splits = action.split if isinstance(action, CheckArgs) else (action.split,)
    try:
        require_dataset(action.dataset)
        for split in splits:
            require_dataset(action.dataset, split)
    except DataError as error:
        raise Misuse(str(error)) from error
    if not action.folder.exists():
        raise Misuse(f"{action.folder} does not exist: name the folder that the data set is in")
    return _check(action) if isinstance(action, CheckArgs) else _index(action)


def _index(args: IndexArgs) -> int:
    from zim_plugins.data.readers.registry import read_dataset
    from zim_plugins.data.sample import write_index

    samples = write_index(args.out, read_dataset(args.dataset, args.folder, args.split))
    logger.info("%d samples", samples)
    print(args.out)
    return DONE


def _check(args: CheckArgs) -> int:
    from tqdm import tqdm

    from zim_plugins.data.check import check_dataset

    with tqdm(unit=" samples", desc="checking", disable=None) as bar:
        findings = check_dataset(
            args.dataset, args.folder, args.split, allow=args.allow, seen=lambda sample: (bar.update(), None)[1]
        )
    if args.json:
        print(json.dumps(findings.to_json(), indent=1))
    else:
        for split, counts in findings.counts.items():
            print(f"{args.dataset} {split}: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
        for split in findings.absent:
            print(f"{args.dataset} {split}: not there")
        for fault in findings.faults.faults[:SHOWN_FAULTS]:
            print(fault)
        total = findings.faults.counts.total()
        if total > SHOWN_FAULTS:
            print(f"... and {total - SHOWN_FAULTS} more")
        print("; ".join(f"{n} x {kind}" for kind, n in findings.faults.counts.most_common()) or "nothing wrong")
    return FAILED if findings.faults.counts else DONE
