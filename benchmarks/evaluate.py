"""How much of an evaluation's time the model does not work: a stub of known latency, real reading and real scoring.

    python benchmarks/evaluate.py DATA [--encode-ms 100] [--decode-ms 15] [--pictures 24] [--scorers 2] [--out FILE]

DATA holds `matting/validation/{image,alpha}`, which are read in turn. The stub sleeps as a GPU works, leaving the cores
to the evaluator: 100 ms for an encoding and 15 ms for a decoding stand for ViT-B in fp32 on the GPU of the paper (V100;
its pixel decoder adds 10 ms to SAM's). The share outside is 1 - time in the model's calls / wall time.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from zim_plugins.core.prediction import Prediction
from zim_plugins.core.prompt import Prompt
from zim_plugins.evaluation.matting.datasets import EvaluationImage, load_evaluation_set
from zim_plugins.evaluation.matting.run import Job, evaluate_images
from zim_plugins.evaluation.prompting import PromptPlan
from zim_plugins.evaluation.provenance import describe_process


class Stub:
    """Takes as long as it is told to and answers with a soft ramp."""

    def __init__(self, encode_s: float, decode_s: float) -> None:
        self.encode_s, self.decode_s = encode_s, decode_s
        self.alpha = np.zeros((1, 1), dtype=np.float32)

    def set_image(self, image: np.ndarray) -> None:
        self.alpha = np.tile(np.linspace(0, 1, image.shape[1], dtype=np.float32), (image.shape[0], 1))
        time.sleep(self.encode_s)

    def predict(self, prompt: Prompt) -> Prediction:
        time.sleep(self.decode_s)
        return Prediction(self.alpha[None], np.ones(1, dtype=np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        return [self.predict(prompt) for prompt in prompts]


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--encode-ms", type=float, default=100)
    parser.add_argument("--decode-ms", type=float, default=15)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--scorers", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="draw each result, too")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = load_evaluation_set("alphamatting", args.data / "matting/validation").images
    images = [
        EvaluationImage(f"{k}-{one.key}", one.samples, one.object_keys)
        for k, one in zip(range(args.pictures), cycle(found), strict=False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        job = Job("stub", None, Path(folder), PromptPlan(), draw=args.draw, scorers=args.scorers)
        stub = Stub(args.encode_ms / 1000, args.decode_ms / 1000)
        start_cpu = time.process_time()
        clock = evaluate_images(stub, images, job)
        cpu_s = time.process_time() - start_cpu
    record = {
        "what": "share of an evaluation's wall time outside the model; point and box on alphamatting.com's images",
        "model": f"stub: {args.encode_ms:g} ms an encoding, {args.decode_ms:g} ms a decoding",
        **describe_process(),
        "scoring_threads": args.scorers,
        "pictures": clock.images,
        "rows": 2 * clock.images,
        "wall_seconds": clock.wall_s,
        "model_seconds": clock.model_s,
        "cpu_seconds": cpu_s,
        "share_outside": clock.share_outside,
        "load_before": os.getloadavg()[0],
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
