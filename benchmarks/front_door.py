"""CPU time of what `zim matte` and `zim everything` do with an image once the model is loaded, beside references.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/front_door.py [--out benchmarks/results/front_door.json] [--rounds 3]

The photograph is `sample:dogs`, enlarged to 4000 x 3000 px with the grain of a camera and written as JPEG; the prompt
is a box that leaves out a hundredth of each side. Calls run in turns in one process, so that what else the machine does
falls on all alike; CPU seconds of all threads are compared. References: Pillow reading the same file and writing it as
PNG by its defaults; for everything (640 px, zim_tiny), the same call on SAM's grid of 32 x 32 clicks
(`--sam-grid`, once).
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.random import default_rng

from zim_plugins.bench.timing import alternate
from zim_plugins.cli.matting.rendering import KINDS, Answer, Output, write_results
from zim_plugins.core import EverythingConfig, Prompt, load_predictor, matte_everything, read_image
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.imaging import read_original

SIZE = (4000, 3000)
PILLOW, ALPHA, ALL = "Pillow: JPEG to PNG", "matte, alpha alone", "matte, alpha, rgba, overlay and trimap"
EVERYTHING, SAM_GRID = "everything at 640 px", "everything at 640 px, 32 x 32 clicks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "front_door.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sam-grid", action="store_true")
    args = parser.parse_args()
    predictor = load_predictor("zim_tiny", device="cpu")
    dogs = PIL.Image.fromarray(read_image("sample:dogs").rgb)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        large = np.asarray(dogs.resize(SIZE, PIL.Image.Resampling.BICUBIC), np.float32)
        grain = default_rng(0).normal(0, 3, (SIZE[1], SIZE[0], 1)).astype(np.float32)
        PIL.Image.fromarray((large + grain).clip(0, 255).astype(np.uint8)).save(place / "photo.jpg", quality=92)
        prompt = Prompt.from_box(SIZE[0] * 0.01, SIZE[1] * 0.01, SIZE[0] * 0.99, SIZE[1] * 0.99)

        def matte(*kinds: str) -> None:
            image = read_original(place / "photo.jpg")
            predictor.set_image(image.rgb)
            alpha = predictor.predict(prompt).alpha
            files = {kind: place / f"{kind}.png" for kind in kinds}
            write_results(files, image, Answer(alpha, {}, [prompt], [alpha]), Output(kinds))

        def pillow() -> None:
            with PIL.Image.open(place / "photo.jpg") as image:
                image.save(place / "pillow.png")

        pixels = [kind for kind in KINDS if kind != "labelme"]
        calls = {PILLOW: pillow, ALPHA: lambda: matte("alpha"), ALL: lambda: matte(*pixels)}
        timings = alternate(calls, "cpu", budget_s=0, least=args.rounds)
        small = dogs.copy()
        small.thumbnail((640, 640))
        rgb = np.asarray(small)
        calls = {EVERYTHING: lambda: matte_everything(predictor, rgb)}
        if args.sam_grid:
            calls[SAM_GRID] = lambda: matte_everything(predictor, rgb, EverythingConfig(points_per_side=32))
        timings |= alternate(calls, "cpu", budget_s=0, warm_up=False)
    cpu = {name: timing.to_json()["cpu_median_s"] for name, timing in timings.items()}
    ratios = {f"{ALPHA} to {PILLOW}": cpu[ALPHA] / cpu[PILLOW]}
    ratios[f"{ALL} to {PILLOW}"] = cpu[ALL] / cpu[PILLOW]
    if args.sam_grid:
        ratios[f"{EVERYTHING} to {SAM_GRID}"] = cpu[EVERYTHING] / cpu[SAM_GRID]
    record = {
        "what": "CPU seconds of zim matte at 12 megapixels and zim everything at 640 px, after the model is loaded",
        "model": "zim_tiny",
        "data": "sample:dogs, enlarged to 4000 x 3000 px with grain, JPEG of quality 92; a box of nearly the image",
        **describe_process("cpu", packages=("pillow", "scipy")),
        "cpu_seconds": cpu,
        "runs": {name: timing.to_json()["runs"] for name, timing in timings.items()},
        "ratios": ratios,
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["cpu_seconds"], indent=1), json.dumps(ratios, indent=1))


if __name__ == "__main__":
    main()
