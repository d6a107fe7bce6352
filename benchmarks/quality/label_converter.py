"""The label converter beside the mask it was given, that mask blurred, and closed-form matting: one run, one table.

    python benchmarks/quality/label_converter.py DATA --converter NAME=FILE [NAME=FILE ...] [--out F] [--pictures DIR]

DATA holds `matting/validation` (photographs with captured mattes) and the folders that `zim train` reads. Nothing that
is scored here was trained on. MSE and Grad (3x3 Sobel, as the ZIM release has it) are means over the image times
1000, averaged over the samples.

- captured: the 13 photographs at 640 px; masks are spoilt like training labels (two draws each, seeded).
- composites: soft cut-outs kept apart from training, over backgrounds and photographs kept apart from training.
- rigid: emoji kept apart from training over such backgrounds, and photographed objects of COCO classes with plain
  edges; the mask is given as it is. "changed" is the mean of |answer - mask| times 1000 over the image's pixels.
- cut off: captured photographs whose mask ends at a straight cut through the object. "spilt" is the share of the
  removed part's opacity that comes back, more than 16 px away from the cut.

The blurred mask and closed-form matting (Levin et al. 2008, pymatting) have one parameter each, sigma and half the
width of the trimap's unknown band; each is scored at several values of it.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from zim_plugins.core import read_alpha, read_image, write_image
from zim_plugins.evaluation.metrics import sobel_grad
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.imaging.overlay import grey, joined
from zim_plugins.label_converter.converter import MatteConverter
from zim_plugins.label_converter.samples.degrade import Degradation, coarse_label
from zim_plugins.label_converter.samples.selective import without_soft_classes
from zim_plugins.training.samples.compositing import SceneMix, make_scene
from zim_plugins.training.samples.library import Library, load_library

SIDE_PX = 640
SIGMAS_PX = (1.0, 2.0, 4.0, 8.0)
BANDS_PX = (4, 8, 16)
SOFT = SceneMix(objects=0, segments=0, zoomed=1, pasted_object=0, procedural=0, rigid=0)
RIGID = replace(SOFT, rigid=1)
OBJECTS = SceneMix(objects=1, segments=0, zoomed=1)


@dataclass(frozen=True, eq=False)
class Sample:
    """An image, the mask that is given, and the matte that is wanted."""

    name: str
    rgb: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    away: np.ndarray | None = None
    """Cut-off masks only: the removed part, away from the cut."""


def captured(data: Path, seeds: int) -> Iterator[Sample]:
    """The photographs with captured mattes."""
    folder = data / "matting/validation"
    for number, path in enumerate(sorted((folder / "image").iterdir())):
        rgb, truth = read_image(path).rgb, read_alpha(next((folder / "alpha").glob(f"{path.stem}.*")))
        scale = SIDE_PX / max(truth.shape)
        size = (round(truth.shape[1] * scale), round(truth.shape[0] * scale))
        rgb = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
        truth = np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.BOX))
        for seed in range(seeds):
            label = coarse_label(truth, Degradation(), np.random.default_rng((7, number, seed)))
            yield Sample(f"{path.stem}_{seed}", rgb, label, truth)


def scenes(name: str, library: Library, mix: SceneMix, count: int, spoilt: bool) -> Iterator[Sample]:
    """Composites or photographs from the part of the library that is kept apart."""
    for number in range(count):
        rng = np.random.default_rng((8, number))
        scene = make_scene(library, 384, mix, rng)
        truth = scene.alphas[0]
        if spoilt:
            yield Sample(f"{name}_{number}", scene.rgb, coarse_label(truth, Degradation(), rng), truth)
        else:
            mask = truth > 0.5
            yield Sample(f"{name}_{number}", scene.rgb, mask, mask.astype(np.float32))


def cut_off(samples: list[Sample]) -> Iterator[Sample]:
    """Masks that end at a straight line through the object's middle, in a random direction."""
    for number, sample in enumerate(samples):
        rng = np.random.default_rng((9, number))
        angle = rng.uniform(0, 2 * np.pi)
        whole = sample.truth > 0.5
        ys, xs = np.nonzero(whole)
        grid_y, grid_x = np.mgrid[: whole.shape[0], : whole.shape[1]]
        distance = (grid_x - xs.mean()) * np.cos(angle) + (grid_y - ys.mean()) * np.sin(angle)
        kept = (distance < 0).astype(np.float32)
        away = sample.truth * (distance > 16)
        yield Sample(sample.name, sample.rgb, whole & (distance < 0), sample.truth * kept, away)


def closed_form(sample: Sample, band_px: int) -> np.ndarray:
    """Closed-form matting from the trimap of the mask: unknown within `band_px` of its edge."""
    import pymatting

    disk = np.hypot(*np.mgrid[-band_px : band_px + 1, -band_px : band_px + 1]) <= band_px
    trimap = np.full(sample.mask.shape, 0.5)
    trimap[ndimage.binary_erosion(sample.mask, disk, border_value=1)] = 1
    trimap[~ndimage.binary_dilation(sample.mask, disk)] = 0
    if (trimap == 1).any() and (trimap == 0).any():
        return pymatting.estimate_alpha_cf(sample.rgb / 255.0, trimap).astype(np.float32)
    return sample.mask.astype(np.float32)


def errors(alpha: np.ndarray, sample: Sample) -> dict[str, float]:
    """MSE and Grad, times 1000."""
    mse = float(np.square(alpha - sample.truth).mean(dtype=np.float64)) * 1e3
    row = {"mse_e3": mse, "grad_e3": sobel_grad(alpha, sample.truth) * 1e3}
    row["changed_e3"] = float(np.abs(alpha - sample.mask).mean(dtype=np.float64)) * 1e3
    if sample.away is not None:
        row["spilt"] = float((alpha * sample.away).sum() / max(1.0, float(sample.away.sum())))
    return row


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each column."""
    return {key: float(np.mean([r[key] for r in rows])) for key in rows[0]}


def table(samples: list[Sample], converters: dict[str, MatteConverter], baselines: bool, pictures: Path | None) -> dict:
    """Mean errors by method."""
    rows: dict[str, list[dict[str, float]]] = {}
    for sample in samples:
        mask = sample.mask.astype(np.float32)
        answers = {"given mask": mask}
        for name, converter in converters.items():
            answers[name] = converter.convert(sample.rgb, [sample.mask])[0].full(*mask.shape)
        for name, alpha in answers.items():
            rows.setdefault(name, []).append(errors(alpha, sample))
        if baselines:
            for sigma in SIGMAS_PX:
                alpha = ndimage.gaussian_filter(mask, sigma)
                rows.setdefault(f"mask blurred, sigma {sigma:g} px", []).append(errors(alpha, sample))
            for band in BANDS_PX:
                answers[f"closed-form, band {band} px"] = alpha = closed_form(sample, band)
                rows.setdefault(f"closed-form, band {band} px", []).append(errors(alpha, sample))
        if pictures:
            sheet = joined([sample.rgb, *(grey(alpha) for alpha in (sample.truth, *answers.values()))], gap_px=0)
            write_image(pictures / f"{sample.name}.png", sheet)
    return {name: means(values) for name, values in rows.items()}


def main() -> None:
    """Score, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--converter", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--sets", nargs="+", default=["captured", "composites", "rigid", "objects", "cut off"])
    parser.add_argument("--count", type=int, default=26, help="samples of each set that is drawn")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    files = dict(entry.split("=", 1) for entry in args.converter)
    converters = {name: MatteConverter.load(Path(file)) for name, file in files.items()}
    apart = load_library(args.data, "held_out")
    plain = without_soft_classes(apart, args.data / "segmentation/objects/coco_mval/masks")
    found: dict[str, list[Sample]] = {
        "captured": list(captured(args.data, 2)),
        "composites": list(scenes("composite", apart, SOFT, args.count, spoilt=True)),
        "rigid": list(scenes("rigid", apart, RIGID, args.count, spoilt=False)),
        "objects": list(scenes("object", plain, OBJECTS, args.count, spoilt=False)),
        "cut off": list(cut_off(list(captured(args.data, 1)))),
    }
    results = {}
    for name in args.sets:
        pictures = args.pictures / name.replace(" ", "_") if args.pictures else None
        results[name] = {"samples": len(found[name])} | table(
            found[name], converters, name in ("captured", "composites"), pictures
        )
        print(name)
        for method, values in results[name].items():
            if method != "samples":
                print(f"  {method:32}" + "  ".join(f"{k} {v:.3f}" for k, v in values.items()))
    if args.out:
        digests = {name: hashlib.sha256(Path(file).read_bytes()).hexdigest() for name, file in files.items()}
        record = {
            "what": "label converter beside the given mask, blur and closed-form matting; sets: see the script",
            "model": digests,
            **describe_process(),
            "sets": results,
        }
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
