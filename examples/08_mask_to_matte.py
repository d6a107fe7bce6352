"""Masks drawn by hand, roughly, to mattes by the label converter: python examples/08_mask_to_matte.py [FOLDER]."""

import sys
from pathlib import Path

import numpy as np
from skimage.draw import polygon2mask

from zim_plugins.core import read_image, write_image
from zim_plugins.label_converter.checkpoint import CONVERTER_TINY
from zim_plugins.label_converter.converter import MatteConverter

PERSON = """0,512 5,420 30,330 75,265 100,235 98,190 120,150 135,140 118,95 130,40 150,12 200,2 250,12 282,60 285,110
    268,150 300,180 310,240 345,290 352,345 300,350 280,400 275,460 275,512"""
CUP = """150,60 190,22 260,10 330,20 380,55 420,60 425,95 455,160 480,230 460,320 400,370 300,395 180,370 100,300 80,220
    95,160 160,110"""
COIN = "337,97 357,104 364,124 357,146 337,152 316,145 309,124 316,104"
OUTLINES = {"astronaut": PERSON, "coffee": CUP, "coins": COIN}
"""Corners, x,y [px]."""


def main(out: Path) -> None:
    """Write an image for each sample: photograph, mask, matte."""
    converter = MatteConverter.load(CONVERTER_TINY)
    for name, corners in OUTLINES.items():
        rgb = read_image(f"sample:{name}").rgb
        xy = np.array([corner.split(",") for corner in corners.split()], dtype=float)
        mask = polygon2mask(rgb.shape[:2], xy[:, ::-1])
        matte = converter.convert(rgb, [mask])[0].full(*mask.shape)
        grey = [np.repeat((255 * a).astype(np.uint8)[..., None], 3, axis=2) for a in (mask, matte)]
        write_image(out / f"{name}_matte.png", np.concatenate([rgb, *grey], axis=1))
        print(out / f"{name}_matte.png")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs")
    folder.mkdir(parents=True, exist_ok=True)
    main(folder)
