"""Recall of regions of BSDS500 photographs kept apart from training by `matte_everything`, by grid and severity.

    python benchmarks/quality/everything_recall.py DATA [--images 10] [--sides 6 10 16] [--out FILE.json]

Each click is decoded once: the severities of one grid choose among the same answers. Counted are the regions of the
first annotator that cover 1 to 60 % of the image: the share whose best object has an IoU of 0.5 and of 0.7, and the
mean best IoU; beside it the objects found, since what keeps every candidate would find everything. Photographs on which
the defaults were chosen are left out.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from zim_plugins.core import EverythingConfig, load_predictor, matte_everything
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.evaluation.metrics import iou
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.training.samples.library import load_library

CHOSEN_ON = ("101085", "108082", "14037", "159008", "175043", "21077", "24077")
SHARES = (0.01, 0.6)
SEVERITIES = {"0.4 and 0.8": (0.4, 0.8), "0.5 and 0.9": (0.5, 0.9), "0 and 0": (0.0, 0.0)}
"""Least score and least stability; the last is the null choice, which keeps all."""


class Remembering(ImagePredictor):
    """Answers each click of an image once."""

    def begin(self, image: np.ndarray) -> None:
        super().set_image(image)
        self.known: dict[tuple[float, ...], tuple[np.ndarray, np.ndarray]] = {}

    def set_image(self, image: np.ndarray) -> None:
        """Keep the image and what is known of it."""

    def predict_logits(self, prompts, *, multimask=False, encoded=None):
        keys = [tuple(p.points[0]) for p in prompts]
        new = [p for p, key in zip(prompts, keys, strict=True) if key not in self.known]
        if new:
            for prompt, *answer in zip(new, *super().predict_logits(new, multimask=multimask), strict=True):
                self.known[tuple(prompt.points[0])] = (answer[0].astype(np.float16), answer[1])
        answers = [self.known[key] for key in keys]
        return np.stack([a[0].astype(np.float32) for a in answers]), np.stack([a[1] for a in answers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--sides", type=int, nargs="+", default=[6, 10, 16])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    predictor = Remembering(load_predictor("zim_tiny", device="cpu", zoom=False, refine="none").backend)
    photos = [p for p in load_library(args.data, "held_out").photos if p.segments and p.name not in CHOSEN_ON]
    best: dict[str, list[float]] = {}
    found: dict[str, int] = {}
    cpu = dict.fromkeys(args.sides, 0.0)
    photos = photos[:: max(1, len(photos) // args.images)][: args.images]
    for photo in photos:
        labels = photo.segments[0]
        regions = [r for r in (labels == value for value in np.unique(labels)) if SHARES[0] < r.mean() < SHARES[1]]
        for side in args.sides:
            started = time.process_time()
            predictor.begin(photo.rgb)
            for number, (name, (score, stable)) in enumerate(SEVERITIES.items()):
                config = EverythingConfig(points_per_side=side, min_score=score, min_stability=stable)
                masks = [o.full() > 0.5 for o in matte_everything(predictor, photo.rgb, config)]
                if number == 0:
                    cpu[side] += time.process_time() - started
                key = f"{side} x {side}, {name}"
                found[key] = found.get(key, 0) + len(masks)
                best.setdefault(key, []).extend(max((iou(m, r) for m in masks), default=0.0) for r in regions)
        print(photo.name, {key: round(float(np.mean(values)), 3) for key, values in best.items()}, flush=True)
    rows = {
        key: {
            "objects_an_image": found[key] / len(photos),
            "recall_50": float(np.mean(np.array(values) >= 0.5)),
            "recall_70": float(np.mean(np.array(values) >= 0.7)),
            "mean_best_iou": float(np.mean(values)),
        }
        for key, values in best.items()
    }
    record = {
        "what": "regions of BSDS500 photographs kept apart, found by matte_everything without zoom and refinement",
        "model": "zim_tiny",
        "photographs": [photo.name for photo in photos],
        "regions": len(next(iter(best.values()))),
        **describe_process("cpu"),
        "cpu_seconds_an_image": {f"{side} x {side}": seconds / len(photos) for side, seconds in cpu.items()},
        "grid, least score and stability": rows,
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
