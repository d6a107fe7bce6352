"""Scores of `ns-train sa3d-zim` on the Lego scene of `nerf_lego.py`: held-out 3D mattes against exact alphas.

    python benchmarks/quality/nerf_lego_scores.py SCENE RUN... [--out FILE.json]

SCENE is what `nerf_lego.py` wrote, each RUN the folder of a finished run. Masks are alpha > 0.5.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np

from zim_plugins.core import read_alpha
from zim_plugins.evaluation.metrics import boundary_iou, iou, zim_errors
from zim_plugins.evaluation.provenance import describe_process

WEIGHTS = Path(__file__).parents[2] / "zim_plugins/core/weights/zim_tiny.safetensors"


def score_run(scene: Path, run: Path) -> dict[str, object]:
    """Means over the held-out views, the worst IoU, and what the run's own report says."""
    rows = []
    for path in sorted((run / "alpha").glob("test_*.png")):
        alpha, truth = read_alpha(path), read_alpha(scene / "alphas" / path.name)
        mask, target = alpha > 0.5, truth > 0.5
        rows.append((iou(mask, target), boundary_iou(mask, target), zim_errors(alpha, truth).mae))
    ious, boundaries, maes = np.array(rows).T
    report = json.loads((run / "report.json").read_text())
    options = report["options"] | {"matter": report["matter"].split(":")[0]} | {"grid": report["grid"]["resolution"]}
    return {
        "views": len(rows),
        "iou": round(float(ious.mean()), 4),
        "least_iou": round(float(ious.min()), 4),
        "boundary_iou": round(float(boundaries.mean()), 4),
        "mae_e3": round(float(maes.mean()), 2),
        "prompt": {"view": report["reference_view"], **report["visits"][0]["prompt"]},
        "accepted": report["accepted"],
        "seconds": {stage: round(spent, 2) for stage, spent in report["seconds"].items()},
        "options": options,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = {
        "what": "ns-train sa3d-zim on Blender's lego, 100x100; held-out 3D mattes",
        "model": {"zim_tiny": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()},
        **describe_process(packages=("nerfstudio",)),
        "runs": {run.name: score_run(args.scene, run) for run in args.runs},
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
