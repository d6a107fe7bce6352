"""The committed record as a table in Markdown."""

from collections.abc import Mapping
from typing import Any

from zim_plugins.bench.row import OURS


def markdown(record: Mapping[str, Any]) -> str:
    """One line per row of every case: seconds, how many times as fast as each peer, share of the floor, memory."""
    lines = [
        "| what | seconds (least to most) | CPU s | times as fast as | share of the floor | adds MiB |",
        "|---|---|---|---|---|---|",
    ]
    for case in record["cases"].values():
        for row in case["rows"]:
            ours = row["timings"][OURS]
            by_cpu = row["times_as_fast_as_by_cpu"]
            ratios = [f"{ratio:.2f} {peer} ({by_cpu[peer]:.2f})" for peer, ratio in row["times_as_fast_as"].items()]
            ratios += [f"not run: {peer} ({why})" for peer, why in row["skipped"].items()]
            share = f"{100 * row['floor']['share_reached']:.0f} %" if "floor" in row else ""
            spread = f"{ours['median_s']:.3g} ({ours['least_s']:.3g} to {ours['most_s']:.3g})"
            cells = [row["name"], spread, f"{ours['cpu_median_s']:.3g}", "; ".join(ratios), share]
            lines.append("| " + " | ".join([*cells, f"{ours['added_memory_mb']:.0f}"]) + " |")
    return "\n".join(lines) + "\n"
