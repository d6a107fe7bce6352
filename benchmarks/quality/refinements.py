"""What --refine none, colour and converter do to mattes of several sources, on photographs with captured mattes.

    python benchmarks/quality/refinements.py DATA [--out FILE.json] [--pictures DIR]

DATA holds `matting/validation/{image,alpha}`. Sources: zim_tiny with a box and with a click (as it ships, but
for the refinement), GrabCut with the box (a hard mask), and the true matte cut at one half (what a perfect mask gives).
The box is the tight box of alpha > 0.5, the click the point of it that lies deepest inside. MAE, MSE and Grad (3x3
Sobel) are means over the whole image times 1000, averaged over the images.
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np

from zim_plugins.core import Prompt, load_predictor, read_alpha, read_image, write_image
from zim_plugins.core.checkpoints.records import require
from zim_plugins.core.refinement.base import load_refiner
from zim_plugins.evaluation.baselines import GrabCut
from zim_plugins.evaluation.metrics import iou, zim_errors
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.label_converter.checkpoint import CONVERTER_TINY
from zim_plugins.training.samples.prompts import deepest_point, tight_box

REFINEMENTS = ("none", "colour", "converter")


def score(alpha: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """IoU in [0, 1]; MAE, MSE and Grad times 1000."""
    errors = zim_errors(alpha, truth)
    overlap = iou(alpha > 0.5, truth > 0.5)
    return {"iou": overlap, "mae_e3": errors.mae, "mse_e3": errors.mse, "grad_e3": errors.grad}


def main() -> None:
    """Score, print a table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    predictor, floor = load_predictor("zim_tiny", device="cpu", refine="none"), GrabCut()
    refiners = {words: load_refiner(words) for words in REFINEMENTS}
    rows: dict[str, list[dict[str, float]]] = {}
    images = sorted((args.data / "matting/validation/image").iterdir())
    for path in images:
        image = read_image(path).rgb
        truth = read_alpha(next((args.data / "matting/validation/alpha").glob(f"{path.stem}.*")))
        box, click = Prompt(box=tight_box(truth > 0.5)), Prompt.from_point(*deepest_point(truth > 0.5))
        predictor.set_image(image)
        floor.set_image(image)
        sources = {
            "zim_tiny, box": (predictor.predict(box).alpha, box),
            "zim_tiny, click": (predictor.predict(click).alpha, click),
            "GrabCut, box": (floor.predict(box).alpha, box),
            "true mask": ((truth > 0.5).astype(np.float32), None),
        }
        for source, (alpha, prompt) in sources.items():
            for words, refiner in refiners.items():
                start_s = time.perf_counter()
                refined = alpha if refiner is None else refiner.refine(image, alpha, prompt)
                row = score(refined, truth) | {"seconds": time.perf_counter() - start_s}
                rows.setdefault(f"{source}, {words}", []).append(row)
                if args.pictures is not None:
                    name = f"{path.stem}_{source.replace(', ', '_').replace(' ', '_')}_{words}.png"
                    write_image(args.pictures / name, (refined * 255 + 0.5).astype(np.uint8))
    means = {
        name: {key: float(np.mean([row[key] for row in found])) for key in found[0]} for name, found in rows.items()
    }
    for name, row in means.items():
        print(f"{name:28}" + "".join(f" {key} {value:8.3f}" for key, value in row.items()))
    record = {
        "what": f"refinements on {len(images)} photographs with captured alpha (alphamatting.com GT01..GT13)",
        "model": {"zim_tiny": _digest(require("zim_tiny")), "converter_tiny": _digest(CONVERTER_TINY)},
        **describe_process(),
        "means": means,
        "images": rows,
    }
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
