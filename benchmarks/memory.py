"""What zim_tiny needs: memory for an image of 24 megapixels and over many images, time for a click at 1024 px.

    OMP_NUM_THREADS=2 python benchmarks/memory.py DATA [--out benchmarks/results/memory.json]

DATA holds `inpaint/photos`. Three measurements, each in a process of its own, on the CPU:

- `zim matte` of a photograph enlarged to 6000x4000 px: its largest resident set;
- small images, one after the other, through one predictor: matte, cut-out and overlay, encoded and discarded. The
  resident set after each hundred; growth is the median of its last quarter less that of its second quarter;
- a click on the photograph reduced to 1024 px: image in, alpha out, warm, as the machine's load lets it.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PHOTO = "remove-anything_person.jpg"
SIZE, CLICK = (6000, 4000), (2360, 3570)
PICTURES, SIDE_PX = 2000, 96
RUNS = 10


def resident_mb() -> float:
    """Resident set of this process now [MB]; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def many_pictures(pictures: int, every: int) -> list[float]:
    """Resident set [MB] after each `every` of the images, each of them matted, cut out and drawn."""
    from zim_plugins.core import Prompt, load_predictor
    from zim_plugins.core.overlay import draw_overlay
    from zim_plugins.imaging.foreground import foreground_colours
    from zim_plugins.imaging.image import encode_png

    predictor = load_predictor("zim_tiny", device="cpu")
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:SIDE_PX, :SIDE_PX]
    resident = []
    for index in range(pictures):
        x, y = rng.uniform(0.3, 0.7, 2) * SIDE_PX
        disk = np.hypot(ys - y, xs - x) < SIDE_PX / 4
        image = np.where(disk[..., None], rng.integers(128, 256, 3), rng.integers(0, 128, 3)).astype(np.uint8)
        prompt = Prompt.from_point(float(x), float(y))
        predictor.set_image(image)
        alpha = predictor.predict(prompt).alpha
        opacity = (alpha * np.float32(255)).astype(np.uint8)
        encode_png(np.dstack([foreground_colours(image, alpha), opacity]))
        encode_png(draw_overlay(image, alpha, prompt))
        if (index + 1) % every == 0:
            resident.append(round(resident_mb(), 1))
    return resident


def one_click(photo: Path) -> dict[str, Any]:
    """Medians of a warm click at 1024 px, in wall-clock and CPU seconds of all threads."""
    import torch

    from zim_plugins.core import Prompt, load_predictor

    image = np.asarray(Image.open(photo).convert("RGB").resize((1024, 683)))
    prompt = Prompt.from_point(CLICK[0] * 1024 / SIZE[0], CLICK[1] * 683 / SIZE[1])
    predictor = load_predictor("zim_tiny", device="cpu")
    wall, cpu = [], []
    for _ in range(RUNS + 2):
        start, start_cpu = time.perf_counter(), time.process_time()
        predictor.set_image(image)
        predictor.predict(prompt)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return {
        "wall_median_s": round(statistics.median(wall[2:]), 3),
        "wall_least_s": round(min(wall[2:]), 3),
        "cpu_median_s": round(statistics.median(cpu[2:]), 3),
        "runs": RUNS,
        "threads": torch.get_num_threads(),
    }


def large_picture(photo: Path, folder: Path) -> dict[str, float]:
    """Run `zim matte`; its largest resident set [GB] and its time [s]."""
    picture = folder / "photo.jpg"
    Image.open(photo).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(picture, quality=92)
    command = [sys.executable, "-c", "from zim_plugins.cli import entrypoint; entrypoint()", "matte", str(picture)]
    command += ["--point", ",".join(map(str, CLICK)), "--model", "zim_tiny", "--device", "cpu", "--out", str(folder)]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"zim matte failed with status {status}")
    return {
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
    }


def in_a_child(*arguments: str) -> Any:
    """This program's own answer for one part, from a fresh process."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--part", choices=("many", "click"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    photo = args.data / "inpaint" / "photos" / PHOTO
    if args.part:
        print(json.dumps(many_pictures(args.pictures, 100) if args.part == "many" else one_click(photo)))
        return
    from zim_plugins.core.checkpoints.records import find
    from zim_plugins.evaluation.provenance import describe_process

    weights = find("zim_tiny")
    if weights is None:
        raise SystemExit("zim_tiny is not on this machine: see `zim models`")
    with tempfile.TemporaryDirectory() as folder:
        large = large_picture(photo, Path(folder))
    resident = in_a_child(str(args.data), "--part", "many", "--pictures", str(args.pictures))
    quarter = max(1, len(resident) // 4)
    record = {
        "what": "zim matte at 24 megapixels; many small images through one predictor; a warm click at 1024 px",
        "model": "zim_tiny",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        **describe_process("cpu"),
        "photo": PHOTO,
        "matte_6000x4000": large,
        "many_pictures": {
            "pictures": args.pictures,
            "side_px": SIDE_PX,
            "resident_mb_after_each_hundred": resident,
            "growth_mb": round(
                statistics.median(resident[-quarter:]) - statistics.median(resident[quarter:][:quarter]), 1
            ),
        },
        "click_1024px": in_a_child(str(args.data), "--part", "click"),
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
