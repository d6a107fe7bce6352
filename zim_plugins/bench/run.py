"""One case in a process of its own, as JSON on standard output: `python -m zim_plugins.bench.run CASE`."""

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)


def run_case(name: str, *, device: str, threads: int, compiled: bool) -> dict[str, Any]:
    """Start a process for a case and answer with its record: provenance, and `rows`.

    Raises:
        RuntimeError: the process failed, and said why on standard error.
    """
    command = [sys.executable, "-m", "zim_plugins.bench.run", name, "--device", device, "--threads", str(threads)]
    if compiled:
        command.append("--compiled")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the case {name} failed (exit code {done.returncode}): its messages stand above")
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one case."""
    import torch

    from zim_plugins.bench.cases import CASES, BenchSettings
    from zim_plugins.bench.machine import PEERS
    from zim_plugins.evaluation.provenance import describe_process

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compiled", action="store_true")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(args.threads)
    record = {"case": args.case} | describe_process(args.device, packages=PEERS)
    rows = []
    for row in CASES[args.case](BenchSettings(args.device, args.compiled)):
        rows.append(row.measure(args.device))
        logger.info("%s: %s", row.name, rows[-1]["times_as_fast_as"] or "no peer")
    print(json.dumps(record | {"rows": rows}))


if __name__ == "__main__":
    main()
