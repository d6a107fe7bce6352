"""Recall of BSDS500's validation regions by `matte_everything`, similarity limits compared on the same answers.

python benchmarks/quality/everything_recall.py DATA [--side 32] [--images 10]

Every click is decoded once; what a limit leaves out is left out of the same answers. One line of JSON for each image,
sums up to it: for each limit the clicks asked, the objects found, the share of regions (of the first annotator, 1 to
60 % of the image) whose best object has an IoU of 0.5 and of 0.7, and the mean best IoU.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import PIL.Image

from zim_plugins.core import EverythingConfig, load_predictor, matte_everything, read_image
from zim_plugins.core.predictor import ImagePredictor

LIMITS = (1.0, 0.8, 0.7, 0.6, 0.5)


class Remembering(ImagePredictor):
    """Answers each click of an image once."""

    def begin(self, image: np.ndarray) -> None:
        super().set_image(image)
        self.known: dict[tuple[float, ...], tuple[np.ndarray, np.ndarray]] = {}

    def set_image(self, image: np.ndarray) -> None:
        self.asked: set[tuple[float, ...]] = set()

    def predict_logits(self, prompts, *, multimask=False, encoded=None):
        keys = [tuple(p.points[0]) for p in prompts]
        self.asked.update(keys)
        new = [p for p, key in zip(prompts, keys, strict=True) if key not in self.known]
        if new:
            for prompt, *answer in zip(new, *super().predict_logits(new, multimask=multimask), strict=True):
                self.known[tuple(prompt.points[0])] = (answer[0].astype(np.float16), answer[1])
        answers = [self.known[key] for key in keys]
        return np.stack([a[0].astype(np.float32) for a in answers]), np.stack([a[1] for a in answers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--images", type=int, default=10)
    args = parser.parse_args()
    root = args.data / "segmentation" / "bsds500" / "val"
    predictor = Remembering(load_predictor("zim_tiny", device="cpu", zoom=False, refine="none").backend)
    overlaps: dict[float, list[float]] = {limit: [] for limit in LIMITS}
    asked, found = dict.fromkeys(LIMITS, 0), dict.fromkeys(LIMITS, 0)
    paths = sorted((root / "images").glob("*.jpg"))
    for path in paths[:: max(1, len(paths) // args.images)][: args.images]:
        image = read_image(path).rgb
        labels = np.asarray(PIL.Image.open(sorted((root / "segments").glob(f"{path.stem}_*.png"))[0]))
        regions = [labels == value for value in np.unique(labels) if 0.01 < (labels == value).mean() < 0.6]
        predictor.begin(image)
        for limit in LIMITS:
            config = EverythingConfig(points_per_side=args.side, max_similarity=limit)
            masks = [o.full() > 0.5 for o in matte_everything(predictor, image, config)]
            asked[limit] += len(predictor.asked)
            found[limit] += len(masks)
            overlaps[limit] += [max([(m & r).sum() / (m | r).sum() for m in masks], default=0.0) for r in regions]
        sums = {
            limit: {
                "asked": asked[limit],
                "found": found[limit],
                "recall_50": round(float(np.mean(np.array(overlaps[limit]) >= 0.5)), 3),
                "recall_70": round(float(np.mean(np.array(overlaps[limit]) >= 0.7)), 3),
                "mean_best_iou": round(float(np.mean(overlaps[limit])), 3),
            }
            for limit in LIMITS
        }
        print(json.dumps({"image": path.stem, "regions": len(overlaps[1.0]), "limits": sums}), flush=True)


if __name__ == "__main__":
    main()
