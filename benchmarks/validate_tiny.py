"""zim_tiny beside OpenCV's GrabCut on photographs with captured mattes: same pictures, same boxes, one run.

    python benchmarks/validate_tiny.py DATA [--model NAME_OR_FILE] [--out FILE.json] [--pictures DIR]

DATA holds `matting/validation/{image,alpha}`. The box is the tight box of alpha > 0.5; the click is the point of
alpha > 0.5 that lies deepest inside. IoU is of alpha > 0.5, MAE and MSE are means over the whole picture times 1000,
averaged over the pictures. GrabCut runs at 640 px on the longest side, five iterations, and answers with a hard mask.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from zim_plugins.core import Prompt, load_predictor, read_alpha, read_image, write_image
from zim_plugins.core.checkpoints import CHECKPOINTS, find
from zim_plugins.training.prompting import deepest_point, tight_box

GRABCUT_PX, GRABCUT_ITERATIONS = 640, 5


def grabcut(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    """OpenCV's GrabCut started from a box; float32 (h, w) of 0 and 1."""
    height, width = rgb.shape[:2]
    scale = min(1.0, GRABCUT_PX / max(height, width))
    small = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = (box * scale).round().astype(int)
    state = np.zeros(small.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    rectangle = (int(x1), int(y1), max(1, int(x2 - x1)), max(1, int(y2 - y1)))
    cv2.grabCut(small[..., ::-1].copy(), state, rectangle, *models, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_RECT)
    found = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    return cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.float32)


def score(alpha: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """IoU in [0, 1]; MAE and MSE times 1000."""
    found, wanted = alpha > 0.5, truth > 0.5
    error = np.abs(alpha - truth)
    return {
        "iou": float((found & wanted).sum() / max(1, (found | wanted).sum())),
        "mae_e3": float(error.mean() * 1e3),
        "mse_e3": float((error**2).mean() * 1e3),
    }


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
        answers["GrabCut, box"] = grabcut(rgb, box)
        seconds.setdefault("GrabCut, box", []).append(time.perf_counter() - start)
        for name, alpha in answers.items():
            rows.setdefault(name, []).append({"image": path.stem} | score(alpha, truth))
        if args.pictures:
            tiles = [rgb, *(np.repeat((a * 255).astype(np.uint8)[..., None], 3, 2) for a in (truth, *answers.values()))]
            write_image(args.pictures / f"{path.stem}.png", np.concatenate(tiles, axis=1)[::2, ::2].copy())
    means = {
        name: {key: float(np.mean([r[key] for r in values])) for key in ("iou", "mae_e3", "mse_e3")}
        | {"median_seconds": float(np.median(seconds[name]))}
        for name, values in rows.items()
    }
    for name, values in means.items():
        print(f"{name:24}" + "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
    if args.out:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        record = {
            "what": "mattes of 13 photographs with captured alpha (alphamatting.com GT01..GT13)",
            "prompts": "tight box of alpha > 0.5; click at the deepest point of alpha > 0.5",
            "model": args.model,
            "sha256": hashlib.sha256(_weights(args.model).read_bytes()).hexdigest(),
            "zoom": not args.no_zoom,
            "refine": args.refine,
            "commit": commit,
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, no GPU",
            "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "opencv": cv2.__version__},
            "means": means,
            "images": rows,
        }
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
