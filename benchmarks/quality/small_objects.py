"""Boxes and clicks by the size of the object, with and without what the predictor does otherwise for small objects.

    python benchmarks/quality/small_objects.py DATA [--which coco|others] [--out FILE.json]

Objects are of photographs kept apart from training. `coco`: those of COCO_MVal below 3 % of the image; larger ones
are answered as before, bit for bit. `others`: those of the other object sets below 1 %, two of an image at most, by
which the rule was chosen. Prompts are the tight box and the
deepest point; `ways` name what is asked: the shipped predictor, the one before it, and the shipped one without
refinement. IoU is of alpha > 0.5 at the image's own size; pixels marked 255 are not scored.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from zim_plugins.core import ImagePredictor, Prompt, load_predictor
from zim_plugins.core.checkpoints.records import require
from zim_plugins.core.refinement.colour import ColourRefinement
from zim_plugins.evaluation.metrics import iou
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.imaging.files import file_digest
from zim_plugins.training.samples.library import held_out, load_library
from zim_plugins.training.samples.prompts import deepest_point, tight_box

KEPT_APART = 8
PER_IMAGE = 2
SHARES = (0.0, 0.005, 0.01, 0.03)
"""Edges of the size classes, as shares of the image."""
OTHERS = (0.001, 0.01)
"""Shares of the image between which objects of other sets are taken."""


@dataclass(frozen=True, eq=False)
class Target:
    """One object of one image."""

    image: str
    rgb: np.ndarray
    mask: np.ndarray
    valid: np.ndarray | None = None


def coco(data: Path) -> Iterator[Target]:
    """Small objects of the COCO_MVal photographs that no training run sees."""
    for photo in load_library(data, "held_out").photos:
        for mask in [m for m in photo.masks if (m > 127).mean() < SHARES[-1]]:
            yield Target(photo.name, photo.rgb, mask > 127)


def others(data: Path) -> Iterator[Target]:
    """Small objects of the other sets' photographs kept apart."""
    for folder in sorted((data / "segmentation/objects").iterdir()):
        if folder.name == "coco_mval" or not (folder / "index.tsv").is_file():
            continue
        for path in sorted((folder / "images").iterdir()):
            if not held_out(path.stem, KEPT_APART):
                continue
            labels = np.asarray(Image.open(folder / "masks" / f"{path.stem}.png"))
            numbers, areas = np.unique(labels, return_counts=True)
            fit = [n for n, a in zip(numbers, areas / labels.size, strict=True) if OTHERS[0] <= a < OTHERS[1]]
            for number in [n for n in fit if n not in (0, 255)][:PER_IMAGE]:
                rgb = np.asarray(Image.open(path).convert("RGB"))
                yield Target(path.stem, rgb, labels == number, labels != 255)


def ways() -> dict[str, ImagePredictor]:
    """The predictors that are compared; they share the network."""
    shipped = load_predictor("zim_tiny", device="cpu")
    assert shipped.zoom is not None
    once = replace(shipped.zoom, small_px=None)
    return {
        "shipped": shipped,
        "shipped, unrefined": ImagePredictor(shipped.backend, zoom=shipped.zoom),
        "one look": ImagePredictor(shipped.backend, zoom=once),
        "one look, refined at any size (before)": ImagePredictor(
            shipped.backend, zoom=once, refinement=ColourRefinement(least_px=0)
        ),
    }


def main() -> None:
    """Score, print a table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--which", default="coco", choices=("coco", "others"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    predictors, rows, shown, encoded = ways(), [], "", None
    for target in tqdm(coco(args.data) if args.which == "coco" else others(args.data), mininterval=10):
        if target.image != shown or encoded is None:
            shown, encoded = target.image, predictors["shipped"].encode(target.rgb)
        box = tight_box(target.mask)
        row: dict[str, object] = {
            "image": target.image,
            "share": float(target.mask.mean()),
            "side_px": float((box[2:] - box[:2]).max()),
        }
        for kind, prompt in (("box", Prompt.from_box(*box)), ("click", Prompt.from_point(*deepest_point(target.mask)))):
            for name, predictor in predictors.items():
                found = predictor.predict(prompt, encoded=encoded).mask()
                row[f"{kind}, {name}"] = iou(found, target.mask, target.valid)
        rows.append(row)
    means = summary(rows)
    for size, values in means.items():
        print(size, json.dumps(values, indent=1))
    if args.out:
        record = {
            "what": f"mean IoU by the object's share of the image, {args.which}, photographs kept apart from training",
            "prompts": "tight box; deepest point",
            "model": "zim_tiny",
            "sha256": file_digest(require("zim_tiny")),
            **describe_process(),
            "means": means,
            "objects": rows,
        }
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def summary(rows: list[dict[str, object]]) -> dict[str, dict[str, float]]:
    """Means by size class, and over all."""
    names = [name for name in rows[0] if ", " in name]
    found = {}
    for low, high in [(0.0, SHARES[-1]), *pairwise(SHARES)]:
        some = [row for row in rows if low <= float(str(row["share"])) < high]
        if some:
            means = {name: float(np.mean([float(str(row[name])) for row in some])) for name in names}
            found[f"{low:g} to {high:g} of the image"] = {"objects": float(len(some))} | means
    return found


if __name__ == "__main__":
    main()
