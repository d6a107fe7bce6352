"""zim_tiny beside OpenCV's GrabCut on photographs with captured mattes: same images, same boxes, one run.

    python benchmarks/quality/validate_tiny.py DATA [--model NAME_OR_FILE] [--out FILE.json] [--pictures DIR]

DATA holds `matting/validation/{image,alpha}`. The box is the tight box of alpha > 0.5; the click is the point of
alpha > 0.5 that lies deepest inside. IoU is of alpha > 0.5; MAE, MSE and Grad (3x3 Sobel, as the ZIM release has it)
are means over the whole image times 1000, averaged over the images. GrabCut runs at 640 px on the longest side,
five iterations, and answers with a hard mask.
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np

from zim_plugins.core import Prompt, load_predictor, read_alpha, read_image, write_image
from zim_plugins.core.checkpoints.records import CHECKPOINTS, find
from zim_plugins.evaluation.baselines import GrabCut
from zim_plugins.evaluation.metrics import iou, zim_errors
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.imaging.overlay import grey, joined
from zim_plugins.training.samples.prompts import deepest_point, tight_box

METRICS = ("iou", "mae_e3", "mse_e3", "grad_e3")


def score(alpha: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """IoU in [0, 1]; MAE, MSE and Grad times 1000."""
    errors = zim_errors(alpha, truth)
    overlap = iou(alpha > 0.5, truth > 0.5)
    return {"iou": overlap, "mae_e3": errors.mae, "mse_e3": errors.mse, "grad_e3": errors.grad}


def _weights(model: str) -> Path:
    found = find(model) if model in CHECKPOINTS else Path(model)
    if found is None:
        raise SystemExit(f"{model} is not on this machine")
    return found


def main() -> None:
    """Score, print a table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="zim_tiny")
    parser.add_argument("--no-zoom", action="store_true")
    parser.add_argument("--refine", default="auto", choices=("auto", "colour", "none"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    predictor = load_predictor(args.model, device="cpu", zoom=not args.no_zoom, refine=args.refine)
    floor = GrabCut()
    folder = args.data / "matting/validation"
    rows: dict[str, list[dict[str, float]]] = {}
    seconds: dict[str, list[float]] = {}
    for path in sorted((folder / "image").iterdir()):
        rgb = read_image(path).rgb
        truth = read_alpha(next((folder / "alpha").glob(f"{path.stem}.*")))
        box, click = tight_box(truth > 0.5), deepest_point(truth > 0.5)
        answers = {}
        for name, prompt in (("box", Prompt.from_box(*box)), ("click", Prompt.from_point(*click))):
            start = time.perf_counter()
            predictor.set_image(rgb)
            answers[f"{predictor.name}, {name}"] = predictor.predict(prompt).alpha
            seconds.setdefault(f"{predictor.name}, {name}", []).append(time.perf_counter() - start)
        start = time.perf_counter()
        floor.set_image(rgb)
        answers["GrabCut, box"] = floor.predict(Prompt.from_box(*box)).alpha
        seconds.setdefault("GrabCut, box", []).append(time.perf_counter() - start)
        for name, alpha in answers.items():
            rows.setdefault(name, []).append({"image": path.stem} | score(alpha, truth))
        if args.pictures:
            sheet = joined([rgb, *(grey(alpha) for alpha in (truth, *answers.values()))], gap_px=0)
            write_image(args.pictures / f"{path.stem}.png", sheet[::2, ::2].copy())
    means = {
        name: {key: float(np.mean([r[key] for r in values])) for key in METRICS}
        | {"median_seconds": float(np.median(seconds[name]))}
        for name, values in rows.items()
    }
    for name, values in means.items():
        print(f"{name:24}" + "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
    if args.out:
        record = {
            "what": "mattes of 13 photographs with captured alpha (alphamatting.com GT01..GT13)",
            "prompts": "tight box of alpha > 0.5; click at the deepest point of alpha > 0.5",
            "model": args.model,
            "sha256": hashlib.sha256(_weights(args.model).read_bytes()).hexdigest(),
            "zoom": not args.no_zoom,
            "refine": args.refine,
            **describe_process(),
            "means": means,
            "images": rows,
        }
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
