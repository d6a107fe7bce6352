"""The contact sheet of removal: photographs with one box each, before, matte and hole, after; by the public command.

    python benchmarks/quality/inpaint_sheet.py DATA SHEET.jpg --work DIR [--all]

Photographs of DATA/photos_cc (authors and licences in its index.tsv), with --all also those of DATA/inpaint/photos.
`zim-inpaint --list` removes with zim_tiny's mattes and PatchMatch into --work, which a second call reads.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

from zim_plugins.core import read_alpha, read_image, write_image
from zim_plugins.imaging.overlay import draw_marks, grey, joined, resized

OURS = {
    "Dragonfly_by_Bolly.jpg": (53, 30, 80, 100),
    "Kleiber_by_Lukas_Baubkus.jpg": (40, 34, 54, 67),
    "Picture_0B_by_freespace.jpg": (42, 35, 71, 77),
    "Picture_1A_by_freespace.jpg": (20, 16, 43, 100),
    "Wine_by_Jakkub_Mede.jpg": (45, 10, 54, 34),
    "aitzgorri_by_Aitzol_Berasategi.jpg": (69, 40, 80, 71),
    "free_by_Peter_Nerlich.jpg": (24, 57, 66, 91),
    "friends_by_Aitzol_Berasategi.jpg": (46, 44, 70, 69),
    "greentock_by_Peter_Nerlich.jpg": (47, 60, 61, 84),
    "seeding_by_Clements_Engelhardt.jpg": (12, 4, 47, 57),
}
"""Boxes of `photos_cc`, in hundredths of the image's sides."""
MORE = {
    "fill-anything_sample3.jpeg": (0, 3, 56, 67),
    "remove-anything_boat.jpg": (42, 84, 86, 94),
    "remove-anything_cat.jpg": (44, 49, 67, 86),
    "remove-anything_dog.jpg": (4, 40, 54, 100),
    "remove-anything_person.jpg": (35, 60, 45, 95),
}
"""The same of `inpaint/photos`."""
HEIGHT_PX = 140


def main() -> None:
    """Remove what is not removed yet, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    boxes = {args.data / "photos_cc" / name: box for name, box in OURS.items()}
    if args.all:
        boxes |= {args.data / "inpaint/photos" / name: box for name, box in MORE.items()}
    remove_all(boxes, args.work)
    strips = sorted((strip(path, box, args.work) for path, box in boxes.items()), key=lambda one: -one.shape[1])
    half = -(-len(strips) // 2)
    columns = [joined(part, columns=1, gap_px=3) for part in (strips[:half], strips[half:]) if part]
    write_image(args.sheet, joined(columns, gap_px=12), quality=65)


def remove_all(boxes: dict[Path, tuple[int, int, int, int]], work: Path) -> None:
    """Run the command on a list; results that are there stay."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "list.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "box"])
        rows.writerows([path.resolve(), ",".join(f"{side}%" for side in box)] for path, box in boxes.items())
    options = ["--out", work, "--model", "zim_tiny", "--backend", "patchmatch", "--no-overwrite"]
    command = [sys.executable, "-c", "from inpaint.cli import entrypoint; entrypoint()", "--list", work / "list.csv"]
    subprocess.run([str(word) for word in [*command, *options]], check=True)


def strip(path: Path, box: tuple[int, int, int, int], work: Path) -> np.ndarray:
    """Before with its box, the matte over the hole, after."""
    found = {kind: next(work.rglob(f"{path.stem}_{kind}.png")) for kind in ("alpha", "hole", "removed")}
    before = read_image(path).rgb
    size = HEIGHT_PX, round(HEIGHT_PX * before.shape[1] / before.shape[0])
    marked = draw_marks(resized(before, size), boxes=[box], scale=(size[1] / 100, size[0] / 100))
    matte, hole = (resized(read_alpha(found[kind]), size) for kind in ("alpha", "hole"))
    shown = np.maximum(grey(matte), (hole[..., None] > 0) * np.uint8([60, 0, 80]))
    return joined([marked, shown, resized(read_image(found["removed"]).rgb, size)], gap_px=3)


if __name__ == "__main__":
    main()
