"""`zim bench`: how fast this machine is with this project, beside its public peers and the machine's own limits."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from zim_plugins.cli.runtime import DONE, FAILED, CommandArgs, Misuse, one_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchArgs(CommandArgs):
    """Measure speed and memory beside public peers, and how near that is to what the machine can do."""

    cases: Positional[Annotated[tuple[str, ...], arg(metavar="CASE...")]] = ()
    """vit_b_fp32, vit_b_bf16, vit_l, tiny, everything, work, training_vit_b; by default those of the suite."""
    suite: Literal["auto", "cpu", "gpu"] = "auto"
    """Which cases: auto takes those for a GPU where there is one."""
    out: Annotated[Path, arg(metavar="FILE", aliases=["-o"])] = Path("outputs/speed.json")
    """Where the record goes; cases that it already holds are left out, so that a run can be continued."""
    again: bool = False
    """Measure cases anew that the record holds."""
    threads: int = 2
    """Of torch."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""
    compile: bool = False
    """Run this project's networks through torch.compile."""


def main(args: BenchArgs) -> int:
    """Measure case after case, each in a process of its own; the record is written after each."""
    from zim_plugins.bench.cases import CASES, SUITES
    from zim_plugins.bench.machine import PEERS
    from zim_plugins.bench.run import run_case
    from zim_plugins.bench.table import markdown
    from zim_plugins.core.load import resolve_device
    from zim_plugins.evaluation.provenance import describe_process
    from zim_plugins.imaging import write_text

    unknown = [name for name in args.cases if name not in CASES]
    if unknown:
        raise Misuse(f"there is no case {unknown[0]!r}; there are {', '.join(CASES)}")
    if args.threads < 1:
        raise Misuse(f"--threads is at least 1, got {args.threads}")
    device = resolve_device({"cpu": "cpu", "gpu": "cuda"}.get(args.suite, args.device))
    record = _read(args.out)
    record |= {"what": "speed beside public peers and the machine's limits", "model": "random weights; zim_tiny"}
    record |= describe_process(device, packages=PEERS)
    faults = 0
    for name in args.cases or SUITES["gpu" if device.startswith("cuda") else "cpu"]:
        if name in record["cases"] and not args.again:
            logger.info("%s: left out, the record holds it", name)
            continue
        logger.info("%s ...", name)
        try:
            record["cases"][name] = run_case(name, device=device, threads=args.threads, compiled=args.compile)
        except RuntimeError as error:
            logger.error("%s", one_line(error))
            faults += 1
            continue
        write_text(args.out, json.dumps(record, indent=1) + "\n")
    print(markdown(record), end="")
    return FAILED if faults else DONE


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"cases": {}}
    try:
        record = json.loads(path.read_text())
        return {"cases": dict(record["cases"])}
    except (ValueError, KeyError, TypeError) as error:
        raise Misuse(f"{path} is no record of `zim bench` ({error!r}): name another file with --out") from error
