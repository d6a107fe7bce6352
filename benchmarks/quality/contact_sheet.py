"""The docs' contact sheet: photographs that scikit-image ships (public domain or CC0), prompted, matted, emptied.

    python benchmarks/quality/contact_sheet.py docs/images/contact_sheet.jpg [--model zim_tiny]

Columns: the image with its prompt and the matte tinted, the matte, the cut-out on grey, the image without it.
"""

import argparse
from pathlib import Path

import numpy as np

from inpaint import load_inpainter, remove
from zim_plugins.core import composite, estimate_foreground, load_predictor, parse_prompt, read_image, write_image
from zim_plugins.core.overlay import draw_overlay
from zim_plugins.imaging.overlay import grey, joined, resized

DOGS = (("sample:dogs", ("278,304",), None),)
ROWS = (
    ("sample:coins", ("337,124",), None),
    ("sample:rocket", (), "304,122,340,404"),
    ("sample:coffee", (), "72,12,522,392"),
    ("sample:astronaut", ("220,110",), None),
    ("sample:chelsea", ("210,150", "330,200", "120,60", "60,230"), None),
)
HEIGHT_PX = 150


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="zim_tiny")
    parser.add_argument("--dogs", action="store_true", help="the README's demonstration alone, larger")
    args = parser.parse_args()
    predictor, inpainter = load_predictor(args.model, device="cpu"), load_inpainter()
    rows = []
    height = 420 if args.dogs else HEIGHT_PX
    for source, points, box in DOGS if args.dogs else ROWS:
        image = read_image(source).rgb
        prompt = parse_prompt(points, box)
        predictor.set_image(image)
        alpha = predictor.predict(prompt).alpha
        colours = image.astype(np.float32) / 255
        cutout = composite(estimate_foreground(colours, alpha).foreground, alpha, np.full_like(colours, 0.6))
        tiles = [
            draw_overlay(image, alpha, prompt),
            grey(alpha),
            np.rint(cutout * 255).astype(np.uint8),
            remove(image, alpha, inpainter=inpainter).image,
        ]
        width = round(height * image.shape[1] / image.shape[0])
        rows.append(joined([resized(tile, (height, width)) for tile in tiles], gap_px=0))
    write_image(args.out, joined(rows, columns=1), quality=76)


if __name__ == "__main__":
    main()
