"""Object removal where the truth is known: cut-outs over photographs that zim_tiny's training never saw.

    python benchmarks/quality/inpaint_composites.py DATA --work DIR [--part cutouts|captured|own|choose|coco] [--out F]

Parts, each a run of `zim-inpaint-eval` that resumes in DIR:

- cutouts: `matting/cutouts` of the half kept for reporting, two backgrounds each, one fill for all methods.
- own: half as many, one background each, every method fills its own hole.
- captured: the 13 photographs of alphamatting.com, never trained on, as cut-outs: captured alpha, colours by
  pymatting's closed form (an estimator that the methods compared here do not use).
- coco: the paper's experiment on COCO_MVal, every 32nd image; no clean images, no CLIP weights.
- choose: the half that the constants of `inpaint/pixels/unmix.py` were chosen on, one background each.

Backgrounds, none of which any training saw: the BSDS500 photographs of the click benchmarks (research only, so they are
in no image here), scikit-image's, and `inpaint/photos`. Of the cut-outs zim_tiny was trained on 35 of 38; those of
`captured` it never saw.
"""

import argparse
import csv
import itertools
import json
import logging
import os
import platform
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from inpaint import load_inpainter
from inpaint.evaluation.cli import CocoArgs, CompositesArgs
from inpaint.evaluation.cli import main as evaluate
from inpaint.evaluation.composites import Recipe, make_composite
from inpaint.evaluation.methods import run_methods
from inpaint.evaluation.metrics import regions_of
from zim_plugins.core import Prompt, load_predictor, read_alpha, read_image, write_image
from zim_plugins.training.samples.library import CLICK_BENCHMARK_IDS
from zim_plugins.training.samples.prompts import tight_box

SAMPLES = ("astronaut", "chelsea", "coffee", "coins", "rocket")
PARTS = ("cutouts", "captured", "own", "choose", "coco")
SCORES = ("hole_psnr", "ring_psnr", "given_ring_psnr")
BASELINES = ("alpha", "hard", "hard15")
CAPTURED_PX = 640
SHOWN = (
    ("am2k_04.webp", "remove-anything_boat.jpg"),
    ("p3m_22fc0130.webp", "remove-anything_dog.jpg"),
    ("layerdiffuse_curls.webp", "fill-anything_sample3.jpeg"),
)
DETAIL_PX, TILE_PX = 130, 124


def main() -> None:
    """Run the parts and write one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--per-cutout", type=int, default=2, help="backgrounds for each cut-out, cutouts and captured")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path, help="draw the docs' table of images instead, of free content only")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.picture:
        draw(args.data, args.picture)
        return
    record = {
        "what": "object removal on composites: methods on the same matte; fills as each part says",
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "parts": {},
    }
    for part in args.part or PARTS:
        evaluate(
            coco(args.data, args.work) if part == "coco" else settings(part, args.data, args.work, args.per_cutout)
        )
        report = json.loads((args.work / part / "report.json").read_text())
        found = {name: report[name] for name in ("provenance", "counts", "failures", "means")}
        found["paired"] = [t for t in report["paired"] if part == "coco" or t["first"] == "ours"]
        if part != "coco":
            found["margins"] = margins(args.work / part / "rows.csv")
        record["parts"][part] = found
        print(part, json.dumps(found.get("margins", {}), indent=1))
    if args.out:
        args.out.write_text(json.dumps(described(record)).replace(str(Path.home()), "~") + "\n")


def described(record: dict) -> dict:
    """The record with what all its parts share at the top, as every result has it."""
    provenance = next(iter(record["parts"].values()))["provenance"]
    model = {entry["model"]: entry["sha256"] for entry in provenance["models"]}
    return record | {"commit": provenance["commit"], "model": model, "versions": provenance["versions"]}


def settings(part: str, data: Path, work: Path, per_cutout: int) -> CompositesArgs:
    photographs = sorted((data / "segmentation/bsds500").rglob("images/*.jpg"))
    backgrounds = [str(p) for p in photographs if p.stem in CLICK_BENCHMARK_IDS]
    backgrounds += [str(p) for p in sorted((data / "inpaint/photos").glob("*.jp*g"))]
    backgrounds += [f"sample:{name}" for name in SAMPLES]
    cutouts = captured(data, work) if part == "captured" else data / "matting/cutouts"
    return CompositesArgs(
        out=work / part,
        cutouts=(str(cutouts),),
        backgrounds=tuple(backgrounds),
        per_cutout=per_cutout if part in ("cutouts", "captured") else 1,
        half={"captured": "both", "choose": "choose"}.get(part, "report"),
        every=2 if part == "own" else 1,
        models="truth,zim_tiny",
        fills="own" if part == "own" else "shared",
        methods="ours,support,alpha,hard,hard15",
    )


def coco(data: Path, work: Path) -> CocoArgs:
    return CocoArgs(
        out=work / "coco",
        data=data / "segmentation/objects/coco_mval",
        every=32,
        methods="ia,ours",
        models="truth,zim_tiny,grabcut",
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


def draw(data: Path, target: Path) -> None:
    """Details: image, matte, the baselines, ours, truth; of each composite with the true matte, then zim_tiny's."""
    inpainter, predictor = load_inpainter("patchmatch"), load_predictor("zim_tiny", device="cpu")

    rows = []
    for cutout, background in SHOWN:
        background = background if background.startswith("sample:") else str(data / "inpaint/photos" / background)
        recipe = Recipe(
            f"{cutout}--{Path(background).stem}", str(data / "matting/cutouts" / cutout), background, "report"
        )
        case = make_composite(recipe)
        predictor.set_image(case.image)
        found = predictor.predict(Prompt(box=tight_box(case.alpha > 0.5))).alpha
        ys, xs = busiest_window(regions_of(case.alpha).ring)
        for alpha in (case.alpha, found):
            results = run_methods(case.image, alpha, ("alpha", "hard", "hard15", "ours"), inpainter, "shared")
            matte = np.repeat(np.rint(alpha * 255).astype(np.uint8)[..., None], 3, axis=2)
            tiles = [case.image, matte, *(made.result for made in results.values()), case.clean]
            small = [Image.fromarray(t[ys, xs]).resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC) for t in tiles]
            padded = [np.pad(np.asarray(t), ((0, 3), (0, 3), (0, 0)), constant_values=255) for t in small]
            rows.append(np.concatenate(padded, axis=1))
    write_image(target, np.concatenate(rows), quality=40)


def busiest_window(ring: np.ndarray) -> tuple[slice, slice]:
    """The square of `DETAIL_PX` that holds most of the ring."""
    share = uniform_filter(ring.astype(np.float32), DETAIL_PX, mode="constant")
    half = DETAIL_PX // 2
    y, x = np.unravel_index(int(share[half:-half, half:-half].argmax()), tuple(s - 2 * half for s in share.shape))
    return slice(y, y + DETAIL_PX), slice(x, x + DETAIL_PX)


def margins(rows_file: Path) -> dict[str, dict]:
    """By how much ours is ahead, by "MATTE, SCORE, BASELINE": on average, at least, and on how many it loses."""
    rows = list(csv.DictReader(rows_file.open()))
    found = {}
    for matte, score in itertools.product(dict.fromkeys(row["matte"] for row in rows), SCORES):
        values = {(r["method"], r["case"]): float(r[score]) for r in rows if r["matte"] == matte and r[score]}
        cases = [case for method, case in values if method == "ours"]
        for against in (*BASELINES, "best of the three"):
            names = (against,) if against in BASELINES else BASELINES
            ahead = np.array([values["ours", c] - max(values[n, c] for n in names) for c in cases])
            if len(ahead):
                found[f"{matte}, {score}, {against}"] = {
                    "n": len(ahead),
                    "mean_db": round(float(ahead.mean()), 3),
                    "least_db": round(float(ahead.min()), 3),
                    "worse_by_more_than_0.2_db": int((ahead < -0.2).sum()),
                }
    return found


if __name__ == "__main__":
    main()
