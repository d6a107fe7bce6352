"""Removal from Python: a matte that exists already, no model needed.

python examples/04_remove_an_object.py
"""

from pathlib import Path

import numpy as np

from inpaint import load_inpainter, remove
from zim_plugins.core import read_image, write_image


def main() -> None:
    image = read_image("sample:coffee").rgb
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    spoon = np.clip(np.minimum(45 - np.abs(ys - 80), 70 - np.abs(xs - 500)) / 4, 0, 1).astype(np.float32)
    removal = remove(image, spoon, inpainter=load_inpainter("auto"))
    path = write_image(Path("outputs/examples") / "coffee_removed.png", removal.image)
    changed = (removal.image != image).any(2)
    print(f"{path}: {changed.sum()} pixels repainted, all of them in the hole: {not (changed & ~removal.hole).any()}")


if __name__ == "__main__":
    main()
