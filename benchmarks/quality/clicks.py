"""Boxes and clicks on segmentation benchmarks: mean IoU beside OpenCV's GrabCut, and clicks to 85 and 90 % IoU.

    python benchmarks/quality/clicks.py DATA [--model NAME_OR_FILE] [--out FILE.json] [--every N] [--sets NAMES]

DATA holds `segmentation/interactive_eval/{grabcut,berkeley,davis}` and `segmentation/bsds500`. Of DAVIS the first 60
frames are taken, of BSDS500 the photographs kept apart from training: of each the three largest regions of its first
annotator that cover 1 to 50 % of it. IoU is of alpha > 0.5 at the image's own size; 128 in the GrabCut set's masks
is not scored. NoC@85 and NoC@90 are clicks of the standard simulated user (f-BRS, RITM), 20 at most.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from zim_plugins.core import Prompt, load_predictor, read_alpha, read_image
from zim_plugins.core.checkpoints.records import CHECKPOINTS, find
from zim_plugins.evaluation.baselines import GrabCut
from zim_plugins.evaluation.metrics import iou
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.evaluation.simulated_user import IGNORED, click_ious, number_of_clicks, split_click_mask
from zim_plugins.imaging.files import file_digest
from zim_plugins.training.samples.library import load_library
from zim_plugins.training.samples.prompts import deepest_point, tight_box

CLICK_SETS = ("grabcut", "berkeley", "davis")
FIRST_DAVIS_FRAMES = 60
BSDS_SHARES, BSDS_REGIONS = (0.01, 0.5), 3


@dataclass(frozen=True, eq=False)
class Target:
    """One object of one image."""

    name: str
    rgb: np.ndarray
    mask: np.ndarray
    valid: np.ndarray | None = None


def click_set(folder: Path, name: str, every: int) -> Iterator[Target]:
    """Objects of a click benchmark; index.tsv says which image a mask belongs to where names differ."""
    index = folder / "index.tsv"
    image_of = {}
    if index.is_file():
        image_of = dict(line.split("\t")[:2] for line in index.read_text().splitlines()[1:])
    masks = sorted((folder / "masks").glob("*.png"))
    for path in masks[: FIRST_DAVIS_FRAMES if name == "davis" else None][::every]:
        image = next((folder / "images").glob(f"{image_of.get(path.stem, path.stem)}.*"))
        grey = np.rint(read_alpha(path) * 255).astype(np.uint8)
        mask, valid = split_click_mask(grey, ignored=IGNORED if name == "grabcut" else None)
        yield Target(path.stem, read_image(image).rgb, mask, valid)


def bsds_regions(data: Path, every: int) -> Iterator[Target]:
    """Large regions of the BSDS500 photographs that no training run sees."""
    for photo in [p for p in load_library(data, "held_out").photos if p.segments][::every]:
        labels = photo.segments[0]
        numbers, areas = np.unique(labels, return_counts=True)
        fit = [(a, n) for n, a in zip(numbers, areas, strict=True) if BSDS_SHARES[0] < a / labels.size < BSDS_SHARES[1]]
        for _, number in sorted(fit, reverse=True)[:BSDS_REGIONS]:
            yield Target(f"{photo.name}_{number}", photo.rgb, labels == number)


def main() -> None:
    """Score, print a table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="zim_tiny")
    parser.add_argument("--every", type=int, default=1, help="take every Nth object only")
    parser.add_argument("--sets", nargs="+", default=[*CLICK_SETS, "bsds500"])
    parser.add_argument("--feed-back", action="store_true", help="hand the earlier answer on with the next clicks")
    parser.add_argument("--no-clicks", action="store_true", help="leave NoC out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    predictor, floor = load_predictor(args.model, device="cpu"), GrabCut()
    results, rows = {}, {}
    for name in args.sets:
        folder = args.data / "segmentation/interactive_eval" / name
        targets = click_set(folder, name, args.every) if name in CLICK_SETS else bsds_regions(args.data, args.every)
        rows[name] = []
        for target in tqdm(targets, desc=name, disable=None):
            box, click = Prompt.from_box(*tight_box(target.mask)), Prompt.from_point(*deepest_point(target.mask))
            predictor.set_image(target.rgb)
            floor.set_image(target.rgb)
            answers = {"box_iou": predictor.predict(box), "click_iou": predictor.predict(click)}
            answers["grabcut_box_iou"] = floor.predict(box)
            row: dict[str, object] = {"object": target.name}
            row |= {key: iou(answer.mask(), target.mask, target.valid) for key, answer in answers.items()}
            if not args.no_clicks:
                ious = click_ious(predictor, target.mask, valid=target.valid, enough=0.9, feed_back=args.feed_back)
                row |= {"noc85": number_of_clicks(ious, 0.85), "noc90": number_of_clicks(ious, 0.9)}
                row |= {"click_ious": [round(v, 4) for v in ious]}
            rows[name].append(row)
        results[name] = {"objects": len(rows[name])}
        for key in ("box_iou", "grabcut_box_iou", "click_iou", "noc85", "noc90"):
            if key in rows[name][0]:
                results[name][key] = float(np.mean([row[key] for row in rows[name]]))
        print(f"{name:10}" + "  ".join(f"{k} {v:.4g}" for k, v in results[name].items()))
    if args.out:
        weights = find(args.model) if args.model in CHECKPOINTS else Path(args.model)
        record = {
            "what": "boxes and clicks on click benchmarks, and on BSDS500 regions kept apart from training",
            "prompts": "tight box; deepest point; the simulated user of f-BRS and RITM, 20 clicks at most",
            "model": args.model,
            "sha256": file_digest(weights) if weights is not None and weights.is_file() else None,
            "every": args.every,
            "feed_back": args.feed_back,
            **describe_process(),
            "results": results,
            "objects": rows,
        }
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
