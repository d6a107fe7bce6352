"""How long a first click takes: inside a warm process, and as a whole process from start to written files.

    python benchmarks/first_click.py [--model zim_tiny] [--out FILE.json]

The image is scikit-image's astronaut resized to 640x480. Medians of seven runs after a warm-up; the machine should be
idle, and torch takes two threads.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zim_plugins.core import Prompt, load_predictor, read_image, write_image
from zim_plugins.evaluation.provenance import describe_process

RUNS = 7


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="zim_tiny")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(2)
    rgb = np.asarray(Image.fromarray(read_image("sample:astronaut").rgb).resize((640, 480)))
    predictor = load_predictor(args.model, device="cpu")
    prompt = Prompt.from_point(270, 250)
    warm = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        predictor.set_image(rgb)
        predictor.predict(prompt)
        warm.append(time.perf_counter() - start)
    whole = []
    with tempfile.TemporaryDirectory() as folder:
        picture = write_image(Path(folder) / "astronaut.png", rgb)
        command = [str(Path(sys.executable).with_name("zim")), "matte", str(picture), "--point", "270,250"]
        for _ in range(RUNS + 1):
            start = time.perf_counter()
            subprocess.run([*command, "--model", args.model, "--out", folder], check=True, capture_output=True)
            whole.append(time.perf_counter() - start)
    record = {
        "what": "zim matte of a 640x480 image, one click, zoom on",
        "model": args.model,
        **describe_process(),
        "warm_seconds": {"median": statistics.median(warm[1:]), "min": min(warm[1:]), "max": max(warm[1:])},
        "process_seconds": {"median": statistics.median(whole[1:]), "min": min(whole[1:]), "max": max(whole[1:])},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
