"""A pack of training data that is made here: disks on noise, and cut-outs of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from zim_plugins.training.packed.pack import write_pack


def write_tiny_pack(root: Path) -> Path:
    """Lay a small data folder out as the real one is, pack it, and return the pack."""
    rng = np.random.default_rng(0)
    objects = root / "segmentation/objects/voc2012"
    for folder in (objects / "images", objects / "masks", root / "matting/cutouts", root / "matting/rigid"):
        folder.mkdir(parents=True)
    (objects / "index.tsv").write_text("image\tindex\n")
    mval = root / "segmentation/objects/coco_mval"
    (mval / "images").mkdir(parents=True)
    (mval / "index.tsv").write_text("mask\timage\tcategory\twidth\theight\tarea\n")
    ys, xs = np.mgrid[:90, :120]
    for k in range(24):
        rgb = rng.integers(0, 255, (90, 120, 3)).astype(np.uint8)
        mask = np.zeros((90, 120), np.uint8)
        mask[np.hypot(ys - 45, xs - 40 - k) < 25] = 3
        mask[:5] = 255
        rgb[mask == 3] = (250, 20, 20)
        Image.fromarray(rgb).save(objects / "images" / f"p{k}.jpg")
        Image.fromarray(mask).save(objects / "masks" / f"p{k}.png")
        rgba = np.dstack([rgb[20:70, 20:70], (255 * (np.hypot(*np.mgrid[-25:25, -25:25]) < 20)).astype(np.uint8)])
        Image.fromarray(rgba).save(root / "matting" / ("rigid" if k % 2 else "cutouts") / f"c{k}.png")
    write_pack(root, root / "pack.zip")
    return root / "pack.zip"
