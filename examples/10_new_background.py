"""Replacement from Python: a matte that exists already, its object on another photograph. No model needed.

python examples/10_new_background.py
"""

from pathlib import Path

import numpy as np

from inpaint import cutout, replace
from zim_plugins.core import read_image, write_image


def main() -> None:
    image, background = read_image("sample:coffee").rgb, read_image("sample:rocket").rgb
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    saucer = np.clip((1 - np.hypot((xs - 288) / 196, (ys - 207) / 170)) * 60, 0, 1).astype(np.float32)
    folder = Path("outputs/examples")
    path = write_image(folder / "coffee_in_the_sky.png", replace(image, saucer, background).image)
    cut = cutout(image, saucer)
    write_image(folder / "coffee_cutout.png", cut.rgba)
    print(f"{path}: {(cut.alpha == 1).sum()} pixels are the photograph's own, {(cut.alpha == 0).sum()} the new one's")


if __name__ == "__main__":
    main()
