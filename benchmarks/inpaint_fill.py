"""What fills holes best: 40 holes of known truth, cut by the shapes of unrelated objects, with and without each step.

    python benchmarks/inpaint_fill.py DATA [--holes 40] [--out FILE.json] [--sheet FILE.png]

Photographs: DATA/photos_cc and DATA/inpaint/photos at their own size, and every seventh of
DATA/matting/backgrounds_more.
Shapes: masks of DATA/segmentation/interactive_eval/davis, scaled so that the hole covers 2 to 8 % of the photograph.
Ways: `plain` is the filler's paint, enlarged where it worked smaller (what shipped before); `rim` shifts its colours to
meet the rim; `sharp` gives what was painted small the detail of the known image; `both` is what ships. One fill serves
all ways. Scores, in the hole: PSNR [dB]; texture: root mean square of log2 ratios of the energy in three octaves, fill
to truth (0 is equal); seam: step across the rim relative to 8 px outside, minus the truth's own, absolute.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from inpaint.evaluation.metrics import psnr, seam
from inpaint.inpainters.registry import load_inpainter
from inpaint.pixels.crops import hole_boxes, shrink
from inpaint.pixels.detail import continue_scene, sharpen_fill
from inpaint.pixels.rim import meet_rim
from inpaint.tasks.removal import repaint
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.imaging import window_of

WAYS = ("plain", "rim", "sharp", "both")


def cases(data: Path, count: int):
    """Photographs with holes, by a fixed seed."""
    photographs = sorted((data / "photos_cc").glob("*.jpg")) + sorted((data / "inpaint/photos").glob("*.jp*g"))
    photographs += sorted((data / "matting/backgrounds_more").rglob("*.jpg"))[::7]
    shapes = sorted((data / "segmentation/interactive_eval/davis").rglob("*.png"))
    rng = np.random.default_rng(7)
    made = 0
    while made < count:
        path, shape = photographs[made % len(photographs)], shapes[int(rng.integers(len(shapes)))]
        image = np.asarray(Image.open(path).convert("RGB"))
        mask = np.asarray(Image.open(shape).convert("L")) > 127
        if not mask.any():
            continue
        cut = mask[window_of(mask)]
        scale = (float(rng.uniform(0.02, 0.08)) * image.shape[0] * image.shape[1] / cut.sum()) ** 0.5
        size = max(8, round(cut.shape[1] * scale)), max(8, round(cut.shape[0] * scale))
        if size[0] >= image.shape[1] - 8 or size[1] >= image.shape[0] - 8:
            continue
        cut = np.asarray(Image.fromarray(cut).resize(size)) > 0
        y = int(rng.integers(2, image.shape[0] - size[1] - 2))
        x = int(rng.integers(2, image.shape[1] - size[0] - 2))
        hole = np.zeros(image.shape[:2], bool)
        hole[y : y + size[1], x : x + size[0]] = cut
        made += 1
        yield path, image, hole


def fills(image: np.ndarray, hole: np.ndarray, inpainter) -> dict[str, np.ndarray]:
    """The image filled in every way, over one paint."""
    results = {way: image.copy() for way in WAYS}
    for x1, y1, x2, y2 in hole_boxes(hole):
        at = slice(y1, y2), slice(x1, x2)
        crop, part = image[at], hole[at]
        small, small_hole = shrink(crop, part, inpainter.work_side_px or max(hole.shape))
        painted = inpainter.fill(small, small_hole)
        enlarged = np.asarray(Image.fromarray(painted).resize((x2 - x1, y2 - y1), Image.Resampling.BICUBIC))
        sharp = sharpen_fill(crop, part, painted)
        made = {"plain": enlarged, "sharp": sharp, "rim": meet_rim(crop, part, enlarged)}
        window, both = continue_scene(crop, part, lambda *_: painted, max_side_px=max(small_hole.shape))  # noqa: B023
        made["both"] = crop.copy()
        made["both"][window] = both
        for way, fill in made.items():
            results[way][at][part] = fill[part]
    return results


def texture(result: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> float:
    """Root mean square of log2 ratios of the energy in three octaves."""
    from scipy.ndimage import gaussian_filter

    ratios = []
    lights = [image.astype(np.float32).mean(axis=2) for image in (result, truth)]
    for low, high in ((0, 1), (1, 2), (2, 4)):
        bands = [(gaussian_filter(v, low) if low else v) - gaussian_filter(v, high) for v in lights]
        energies = [float((band[hole] ** 2).mean()) + 0.25 for band in bands]
        ratios.append(np.log2(energies[0] / energies[1]) / 2)
    return float(np.sqrt(np.mean(np.square(ratios))))


def main() -> None:
    """Measure, print a table, write a record and a contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--holes", type=int, default=40)
    parser.add_argument("--work-side", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    inpainter = load_inpainter("patchmatch")
    inpainter.work_side_px = args.work_side or inpainter.work_side_px
    rows, tiles = [], []
    summary: dict[str, dict] = {}
    for path, image, hole in cases(args.data, args.holes):
        made = fills(image, hole, inpainter)
        if not rows:
            shipped = repaint(image, hole, inpainter.fill, work_side_px=inpainter.work_side_px, finish=True)
            assert np.array_equal(shipped, made["both"]), "what is measured is not what ships"
        own = seam(image, hole) or 1.0
        for way, result in made.items():
            step = abs((seam(result, hole) or 1.0) - own)
            row = {"image": path.name, "way": way, "psnr": psnr(result, image, hole), "seam": step}
            rows.append(row | {"texture": texture(result, image, hole)})
        tiles.append([np.where(hole[..., None], np.uint8(255), image), made["plain"], made["both"], image])
        summary = summarised(rows)
        if args.out:  # after every hole: a run that is stopped keeps what it has
            record = {
                "what": "holes of known truth, cut by object shapes: scores of each way to finish one paint",
                "model": "none: PatchMatch and holes cut by masks",
                **describe_process(),
                "filler": f"patchmatch, at most {inpainter.work_side_px} px a side",
                "holes": len(tiles),
                **summary,
                "each": [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
            }
            args.out.write_text(json.dumps(record, indent=1) + "\n")
    for name, scores in summary.items():
        print(name, json.dumps(scores, indent=1))
    if args.sheet:
        save_sheet(tiles, args.sheet)


def summarised(rows: list[dict[str, object]]) -> dict[str, dict]:
    """Means of every way, and on how many holes what ships is better and worse than the plain paint."""
    means = {
        way: {
            score: round(float(np.mean([row[score] for row in rows if row["way"] == way])), 3)
            for score in ("psnr", "texture", "seam")
        }
        for way in WAYS
    }
    better = {"psnr": 1, "texture": -1, "seam": -1}
    pairs = list(zip(*([row for row in rows if row["way"] == way] for way in ("plain", "both")), strict=True))
    wins = {s: sum(better[s] * (b[s] - a[s]) > 0 for a, b in pairs) for s in better}
    losses = {s: sum(better[s] * (b[s] - a[s]) < 0 for a, b in pairs) for s in better}
    return {"means": means, "both_better_than_plain": wins, "both_worse_than_plain": losses}


def save_sheet(tiles: list[list[np.ndarray]], path: Path, side: int = 260) -> None:
    """Draw rows of hole, plain fill, shipped fill, truth, two cases beside each other."""
    drawn = []
    for row in tiles:
        small = [Image.fromarray(tile).resize((side, round(side * tile.shape[0] / tile.shape[1]))) for tile in row]
        canvas = Image.new("RGB", (side * len(row), max(tile.height for tile in small)))
        for index, tile in enumerate(small):
            canvas.paste(tile, (index * side, 0))
        drawn.append(canvas)
    sheet = Image.new("RGB", (drawn[0].width, sum(row.height for row in drawn)))
    y = 0
    for row in drawn:
        sheet.paste(row, (0, y))
        y += row.height
    sheet.save(path)


if __name__ == "__main__":
    main()
