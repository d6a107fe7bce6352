"""Refinement by colour with and without what shape and certainty say: the shipped one beside it without each of them.

    python benchmarks/quality/shape_priors.py DATA [--boxes tight loose] [--out FILE.json]

Objects: COCO_MVal, the other object sets (two of an image, 1 to 90 % of it) and the 13 photographs with captured
mattes; all of photographs kept apart from training. Boxes are tight, or loose: each side moved outwards by up to 0.3
of the object's extent, with a fixed seed. Every matte is found once (`load_predictor("zim_tiny", refine="none")`) and
refined in each way. IoU is of alpha > 0.5 at the image's own size; MAE and MSE are means over the image times 1000;
pixels marked 255 are not scored.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from zim_plugins.core import Prompt, load_predictor, read_alpha, read_image
from zim_plugins.core.checkpoints.records import require
from zim_plugins.core.refinement.colour import ColourRefinement
from zim_plugins.evaluation.metrics import iou
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.imaging.files import file_digest
from zim_plugins.training.samples.library import held_out, load_library
from zim_plugins.training.samples.prompts import tight_box

KEPT_APART, PER_IMAGE, SHARES = 8, 2, (0.01, 0.9)
LEFT_OUT = ("coco_mval", "coco_minis")
"""Folders that are not among the other sets: the one is a set of its own, the other's outlines are coarse."""
LOOSENESS = 0.3
WAYS = {
    "shipped": ColourRefinement(),
    "surroundings learnt from all pixels": ColourRefinement(certainty=3.0),
    "box need not be reached": ColourRefinement(reach=0.0),
    "enclosed parts as they are": ColourRefinement(enclosed=0.0),
    "none of the three (before)": ColourRefinement(certainty=3.0, reach=0.0, enclosed=0.0),
}


@dataclass(frozen=True, eq=False)
class Target:
    """One object of one image."""

    group: str
    rgb: np.ndarray
    alpha: np.ndarray
    valid: np.ndarray


def targets(data: Path) -> Iterator[Target]:
    """All objects, set by set."""
    for photo in load_library(data, "held_out").photos:
        for mask in photo.masks:
            yield Target("COCO_MVal", photo.rgb, (mask > 127).astype(np.float32), np.ones(mask.shape, bool))
    for folder in sorted((data / "segmentation/objects").iterdir()):
        if folder.name in LEFT_OUT or not (folder / "index.tsv").is_file():
            continue
        for path in sorted(p for p in (folder / "images").iterdir() if held_out(p.stem, KEPT_APART)):
            labels = np.asarray(Image.open(folder / "masks" / f"{path.stem}.png"))
            numbers, areas = np.unique(labels, return_counts=True)
            shares = dict(zip(numbers.tolist(), (areas / labels.size).tolist(), strict=True))
            fit = [n for n, share in shares.items() if SHARES[0] <= share < SHARES[1] and n not in (0, 255)]
            for number in fit[:PER_IMAGE]:
                rgb = np.asarray(Image.open(path).convert("RGB"))
                yield Target(folder.name, rgb, (labels == number).astype(np.float32), labels != 255)
    folder = data / "matting/validation"
    for path in sorted((folder / "image").iterdir()):
        alpha = read_alpha(next((folder / "alpha").glob(f"{path.stem}.*")))
        yield Target("13 photographs", read_image(path).rgb, alpha, np.ones(alpha.shape, bool))


def score(found: np.ndarray, target: Target) -> tuple[float, float, float]:
    """IoU in [0, 1]; MAE and MSE times 1000."""
    off = np.abs(found - target.alpha)[target.valid]
    overlap = iou((found > 0.5)[target.valid], (target.alpha > 0.5)[target.valid])
    return overlap, 1e3 * float(off.mean()), 1e3 * float((off**2).mean())


def main() -> None:
    """Score, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--boxes", nargs="+", default=["tight", "loose"], choices=["tight", "loose"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    predictor = load_predictor("zim_tiny", device="cpu", refine="none")
    rng = np.random.default_rng(0)
    scores: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for target in tqdm(targets(args.data)):
        tight = tight_box(target.alpha > 0.5)
        if tight is None:
            continue
        x1, y1, x2, y2 = tight
        room = rng.uniform(0, LOOSENESS, 4) * [x2 - x1, y2 - y1, x2 - x1, y2 - y1]
        height, width = target.alpha.shape
        loose = np.clip(np.array(tight) + room * [-1, -1, 1, 1], 0, [width, height, width, height])
        encoded = predictor.encode(target.rgb)
        for kind, box in (("tight", tight), ("loose", loose)):
            if kind not in args.boxes:
                continue
            prompt = Prompt.from_box(*box)
            alpha = predictor.predict(prompt, encoded=encoded).alpha
            group = scores.setdefault(f"{target.group}, {kind} box", {})
            group.setdefault("unrefined", []).append(score(alpha, target))
            for way, refinement in WAYS.items():
                group.setdefault(way, []).append(score(refinement.refine(target.rgb, alpha, prompt), target))
    means = {
        group: {"n": len(ways["unrefined"])}
        | {way: [round(float(v), 4) for v in np.mean(rows, axis=0)] for way, rows in ways.items()}
        for group, ways in scores.items()
    }
    print(json.dumps(means, indent=1))
    if args.out:
        record = {
            "what": "mattes of boxes refined by colour in several ways: mean [IoU, MAE x1000, MSE x1000]",
            "model": "zim_tiny",
            "sha256": file_digest(require("zim_tiny")),
            **describe_process(),
            "means": means,
        }
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
