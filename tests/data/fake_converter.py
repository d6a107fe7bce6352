"""A label converter without weights, importable by the processes that tests start; run as a script it converts."""

import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np


class BlurredMatte(NamedTuple):
    alpha: np.ndarray
    x: int
    y: int


class BlurConverter:
    """Softens masks of odd area by a 3x3 mean; answers masks of even area as they are."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s

    def __call__(self, image, masks):
        time.sleep(self.delay_s)
        mattes = []
        for mask in masks:
            ys, xs = np.nonzero(mask)
            y, x = max(0, ys.min() - 3), max(0, xs.min() - 3)
            crop = mask[y : ys.max() + 4, x : xs.max() + 4].astype(np.float32)
            padded = np.pad(crop, 1, mode="edge")
            mean = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean((2, 3), dtype=np.float32)
            mattes.append(BlurredMatte(mean if mask.sum() % 2 else crop, int(x), int(y)))
        return mattes


class BlurMaker:
    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s

    def __call__(self, worker: int) -> BlurConverter:
        return BlurConverter(self.delay_s)


def no_converter(worker: int) -> BlurConverter:
    raise OSError("the checkpoint is not there")


def main() -> None:
    from zim_plugins.data.conversion.engine import convert_dataset
    from zim_plugins.data.conversion.matte_folder import convert_folder

    source, out, workers, delay_s = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    print("ready", flush=True)
    if sys.argv[5:]:
        summary, _ = convert_folder(sys.argv[5], source, out, BlurMaker(delay_s), workers=workers, progress=False)
    else:
        summary = convert_dataset(source, out, BlurMaker(delay_s), workers=workers, progress=False)
    print(json.dumps(dict(summary.shards)), flush=True)


if __name__ == "__main__":
    main()
