"""Object removal where the truth is known: cut-outs over photographs that zim_tiny's training never saw.

    python benchmarks/inpaint_composites.py DATA --work DIR [--part cutouts|captured|own|choose] [--out FILE]

Parts, each a run of `zim-inpaint-eval composites` that resumes in DIR:

- cutouts: `matting/cutouts` of the half kept for reporting, two backgrounds each, one fill for all methods.
- own: the same, one background each, every method fills its own hole.
- captured: the 13 photographs of alphamatting.com, never trained on, as cut-outs: captured alpha, colours by
  pymatting's closed form (an estimator that the methods compared here do not use).
- choose: the half that the constants of `inpaint/unmix.py` were chosen on, one background each.

Backgrounds, none of which any training saw: the BSDS500 photographs of the click benchmarks (research only, so they are
in no picture here), scikit-image's, and `inpaint/photos`. Of the cut-outs zim_tiny was trained on 35 of 38; those of
`captured` it never saw.
"""

import argparse
import json
import logging
import os
import platform
import time
from pathlib import Path

import numpy as np
from PIL import Image

from inpaint.evaluation.cli import CompositesArgs
from inpaint.evaluation.cli import main as evaluate
from zim_plugins.core import read_alpha, read_image
from zim_plugins.training.library import CLICK_BENCHMARK_IDS

SAMPLES = ("astronaut", "chelsea", "coffee", "coins", "rocket")
BASELINES = ("alpha", "hard", "hard15")
CAPTURED_PX = 640


def main() -> None:
    """Run the parts and write one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=("cutouts", "captured", "own", "choose"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    record = {
        "what": "object removal on composites: methods on the same matte; fills as each part says",
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "parts": {},
    }
    for part in args.part or ("cutouts", "captured", "own", "choose"):
        evaluate(settings(part, args.data, args.work))
        record["parts"][part] = summary(args.work / part / "report.json", args.work / part / "rows.csv")
        print(json.dumps(record["parts"][part]["margins"], indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def settings(part: str, data: Path, work: Path) -> CompositesArgs:
    photographs = sorted((data / "segmentation/bsds500").rglob("images/*.jpg"))
    backgrounds = [str(p) for p in photographs if p.stem in CLICK_BENCHMARK_IDS]
    backgrounds += [str(p) for p in sorted((data / "inpaint/photos").glob("*.jp*g"))]
    backgrounds += [f"sample:{name}" for name in SAMPLES]
    cutouts = captured(data, work) if part == "captured" else data / "matting/cutouts"
    return CompositesArgs(
        out=work / part,
        cutouts=(str(cutouts),),
        backgrounds=tuple(backgrounds),
        per_cutout=2 if part in ("cutouts", "captured") else 1,
        half={"captured": "both", "choose": "choose"}.get(part, "report"),
        mattes="truth,zim_tiny,grabcut" if part == "cutouts" else "truth,zim_tiny",
        fills="own" if part == "own" else "shared",
        methods="ours,support,alpha,hard,hard15",
    )


def captured(data: Path, work: Path) -> Path:
    """The validation photographs as RGBA cut-outs, at most `CAPTURED_PX` large."""
    from pymatting import estimate_foreground_cf

    folder = work / "captured_cutouts"
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((data / "matting/validation/image").glob("*.png")):
        target = folder / f"{path.stem}.png"
        if target.exists():
            continue
        scale_to = (CAPTURED_PX, CAPTURED_PX)
        image = Image.fromarray(read_image(path).rgb)
        alpha = Image.fromarray(np.rint(read_alpha(data / "matting/validation/alpha" / path.name) * 255).astype("u1"))
        image.thumbnail(scale_to, Image.Resampling.BOX)
        alpha.thumbnail(scale_to, Image.Resampling.BOX)
        opacity = np.asarray(alpha) / 255.0
        colours = estimate_foreground_cf(np.asarray(image) / 255.0, opacity)
        rgba = np.dstack([np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8), np.asarray(alpha)])
        box = Image.fromarray((opacity > 0.02).astype(np.uint8)).getbbox()
        Image.fromarray(rgba).crop(box).save(target)
    return folder


def summary(report_file: Path, rows_file: Path) -> dict:
    """Means, and by how much ours is ahead of each baseline: on average, at least, and where it loses."""
    import csv

    report = json.loads(report_file.read_text())
    rows = list(csv.DictReader(rows_file.open()))
    margins = []
    for matte in dict.fromkeys(row["matte"] for row in rows):
        found = {(r["method"], r["case"]): r for r in rows if r["matte"] == matte and not r["kind"]}
        cases = [case for method, case in found if method == "ours"]
        for score in ("hole_psnr", "ring_psnr", "given_ring_psnr"):
            for baseline in (*BASELINES, "best of the three"):
                differences = []
                for case in cases:
                    names = BASELINES if baseline not in BASELINES else (baseline,)
                    theirs = [found[name, case][score] for name in names]
                    if found["ours", case][score] and all(theirs):
                        differences.append(float(found["ours", case][score]) - max(map(float, theirs)))
                margins.append(
                    {
                        "matte": matte,
                        "score": score,
                        "against": baseline,
                        "n": len(differences),
                        "mean_db": round(float(np.mean(differences)), 3),
                        "least_db": round(float(np.min(differences)), 3),
                        "worse_by_more_than_0.2_db": int(np.sum(np.array(differences) < -0.2)),
                    }
                )
    keep = ("provenance", "counts", "failures", "means", "paired")
    return {"margins": margins} | {name: report[name] for name in keep}


if __name__ == "__main__":
    main()
