"""What removal leaves of an object, and what un-mixing gains, side by side: one run through the public `remove`.

    python benchmarks/quality/inpaint_leftovers.py DATA [--model zim_tiny] [--half report|choose] [--cases N] [--out F]

Composites are those of `inpaint_composites.py` (part `cutouts`; `choose` is the half that constants may be chosen on).
Each is emptied twice, with the object's colours exchanged the second time, over one fill of the hole: see
`inpaint.evaluation.metrics.leftover`. The baselines are given true mattes. Half a CPU minute a composite; --out is
written after each, and a run of the same commit goes on from there.
"""

import argparse
import json
import sys
import time
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from inpaint_composites import SAMPLES

import zim_plugins.label_converter
from inpaint import load_inpainter, remove
from inpaint.evaluation.cases import Case
from inpaint.evaluation.composites import make_composite, plan_composites
from inpaint.evaluation.methods import run_methods
from inpaint.evaluation.metrics import exchanged, leftover, psnr, regions_of
from inpaint.evaluation.scoring import twin_of
from inpaint.pixels.fit import fit_of
from inpaint.pixels.hole import GROW_PX
from inpaint.tasks.matte import hole_of
from inpaint.tasks.removal import FILLED_GROW_PX, deserved
from zim_plugins.core import Prompt, load_predictor
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.label_converter.converter import MatteConverter
from zim_plugins.training.samples.library import CLICK_BENCHMARK_IDS
from zim_plugins.training.samples.prompts import tight_box

WAYS = {
    "un-mixed": {"unmix": True, "grow_px": 2},
    "filled": {"unmix": False, "grow_px": 2},
    "filled, grow 7": {"unmix": False, "grow_px": 7},
}
"""Arguments of `remove`, besides its defaults for given and for predicted mattes."""
BASELINES = ("alpha", "hard", "hard15")
GROWTHS = (0.0, 0.08, 0.12, 0.15, 0.2)
CONVERTER = Path(zim_plugins.label_converter.__file__).parent / "weights/converter_tiny.safetensors"


Scores = dict[str, list[float | None]]
"""Of each case, by matte, way and score."""


class Remembered:
    """A filler that paints each hole of an image once: several ways repaint the same."""

    def __init__(self, inpainter) -> None:
        self.inpainter, self.name, self.work_side_px = inpainter, inpainter.name, inpainter.work_side_px
        self.paints: dict[bytes, np.ndarray] = {}

    def fill(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """Paint the hole, or give what it was painted with before."""
        key = sha256(repr(image.shape).encode() + image.tobytes() + hole.tobytes()).digest()
        if key not in self.paints:
            self.paints[key] = self.inpainter.fill(image, hole)
        return self.paints[key]


class Replay:
    """Paints of one removal, given again for another: what differs then is what the removal itself lets through."""

    def __init__(self, inpainter) -> None:
        self.inpainter, self.name, self.work_side_px = inpainter, inpainter.name, inpainter.work_side_px
        self.paints: list[np.ndarray] = []
        self.is_recording = True

    def fill(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """Paint the hole, or give the paint of the same call before."""
        if self.is_recording:
            self.paints.append(self.inpainter.fill(image, hole))
            return self.paints[-1]
        return np.where(hole[..., None], self.paints.pop(0), image)


def main() -> None:
    """Measure, print a table and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="zim_tiny")
    parser.add_argument("--half", choices=("report", "choose"), default="report")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--holes", action="store_true", help="no fills: what lies outside the holes, by how they grow")
    args = parser.parse_args()
    if args.holes:
        measure_holes(args)
        return
    predictor, patchmatch = load_predictor(args.model, device="cpu"), load_inpainter("patchmatch")
    start_s = time.perf_counter()
    scores, done = earlier(args)
    means = means_of(scores)
    for number, case in enumerate(cases(args.data, args.half, args.cases), 1):
        if number <= done:
            continue
        inpainter = Remembered(patchmatch)
        predictor.set_image(case.image)
        found = predictor.predict(Prompt(box=tight_box(case.alpha > 0.5))).alpha
        mattes = {"truth": case.alpha, args.model: found, "converter_tiny, of the true mask": converted(case)}
        for matte, alpha in mattes.items():
            for name, value in score(case, alpha, inpainter, predicted=matte == args.model).items():
                scores.setdefault(f"{matte}, {name}", []).append(None if value is None else round(value, 3))
        print(f"case {number}: {time.perf_counter() - start_s:.0f} s", file=sys.stderr, flush=True)
        means = means_of(scores)
        if args.out:
            args.out.write_text(json.dumps(described(args, number, means, scores), indent=1) + "\n")
    print("\n".join(f"{name:45} {value:8.3f}" for name, value in means.items()))


def means_of(scores: Scores) -> dict[str, float]:
    """Means over the cases that have a value."""
    return {name: round(float(np.mean([v for v in vs if v is not None])), 3) for name, vs in scores.items()}


def earlier(args: argparse.Namespace) -> tuple[Scores, int]:
    """The scores of a run that was stopped, and of how many cases; none of another commit or of a complete run."""
    if args.out and args.out.exists():
        record = json.loads(args.out.read_text())
        same = {"commit": describe_process()["commit"], "model": args.model, "half": args.half}
        if record["cases"] < args.cases and all(record[key] == value for key, value in same.items()):
            return record["each"], record["cases"]
    return {}, 0


def measure_holes(args: argparse.Namespace) -> None:
    """What a fill leaves at least: the contrast outside the hole of the model's matte, for several growths."""
    predictor = load_predictor(args.model, device="cpu")
    found: dict[str, list[float | None]] = {f"{share:g}": [] for share in GROWTHS}
    for case in cases(args.data, args.half, args.cases):
        twin = twin_of(case)
        predictor.set_image(case.image)
        alpha = predictor.predict(Prompt(box=tight_box(case.alpha > 0.5))).alpha
        side_px = float(np.count_nonzero(alpha >= 0.5)) ** 0.5
        for share in GROWTHS:
            hole = hole_of(alpha, grow_px=max(FILLED_GROW_PX, round(share * side_px)))[..., None]
            emptied = [np.where(hole, case.clean, image) for image in (case.image, twin)]
            other = exchanged(case.foreground, case.alpha)
            found[f"{share:g}"].append(leftover(*emptied, case.alpha, case.foreground, other))
    means = {share: round(float(np.mean([v for v in values if v is not None])), 3) for share, values in found.items()}
    print(args.half, json.dumps(means))
    if args.out:
        record = {"what": "leftover outside the hole, by its growth in sides of the object", **describe_process()}
        each = {share: [None if v is None else round(v, 3) for v in values] for share, values in found.items()}
        record |= {"model": args.model, "half": args.half, "cases": args.cases, "means": means, "each": each}
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def described(args: argparse.Namespace, count: int, means: dict[str, float], scores: Scores) -> dict[str, object]:
    """The record of so many cases."""
    return {
        "what": "leftover in the ring (0 nothing, 1 all) and ring PSNR [dB] of removals, means over composites",
        **describe_process(),
        "model": args.model,
        "half": args.half,
        "cases": count,
        "defaults": "given mattes un-mixed, grown 2 px, where they fit; else, and the model's, filled, grown by 15 %",
        "means": means,
        "each": scores,
    }


def cases(data: Path, half: str, limit: int) -> list[Case]:
    """The first composites of a half."""
    photographs = sorted((data / "segmentation/bsds500").rglob("images/*.jpg"))
    backgrounds = [str(p) for p in photographs if p.stem in CLICK_BENCHMARK_IDS]
    backgrounds += [str(p) for p in sorted((data / "inpaint/photos").glob("*.jp*g"))]
    backgrounds += [f"sample:{name}" for name in SAMPLES]
    cutouts = [str(p) for p in sorted((data / "matting/cutouts").iterdir()) if p.suffix in (".png", ".webp")]
    recipes = plan_composites(cutouts, backgrounds, per_cutout=1, halves=(half,))
    step = max(1, len(recipes) // limit)
    return [make_composite(recipe) for recipe in recipes[::step][:limit]]


def converted(case: Case) -> np.ndarray:
    """The label converter's matte of the true matte's hard mask."""
    matte = MatteConverter.load(CONVERTER).convert(case.image, [case.alpha > 0.5])[0]
    return matte.full(*case.alpha.shape)


def score(case: Case, alpha: np.ndarray, inpainter, *, predicted: bool) -> dict[str, float | None]:
    """Leftover and ring PSNR of every way with one matte."""
    twin, ring = twin_of(case), regions_of(case.alpha).ring
    other = exchanged(case.foreground, case.alpha)
    left = partial(leftover, alpha=case.alpha, first_colours=case.foreground, second_colours=other)
    scores: dict[str, float | None] = {}
    unmix, grow_px = deserved(alpha, predicted=predicted, unmix=None, grow_px=None)
    if not predicted:
        removal = remove(case.image, alpha, inpainter=inpainter)
        unmix, grow_px = removal.unmixed, removal.grow_px
        filled = remove(case.image, alpha, inpainter=inpainter, unmix=False, grow_px=GROW_PX).image
        fit = fit_of(case.image, alpha, filled)
        scores |= {"fit, unlike": fit and fit.unlike, "fit, blurred": fit and fit.blurred}
    by_default = {"unmix": unmix, "grow_px": grow_px}
    scores["default: un-mixed"] = float(unmix)
    for name, ways in ({"default": by_default} | WAYS).items():
        grow = ways["grow_px"]
        fill = remove(case.image, alpha, inpainter=inpainter, unmix=False, grow_px=grow).image
        first, second = (remove(image, alpha, filled=fill, **ways).image for image in (case.image, twin))
        scores[f"{name}: leftover"] = left(first, second)
        scores[f"{name}: ring PSNR"] = psnr(first, case.clean, ring)
    replay = Replay(inpainter)
    first = remove(case.image, alpha, inpainter=replay, **by_default).image
    replay.is_recording = False
    scores["default, rim met apart: leftover"] = left(first, remove(twin, alpha, inpainter=replay, **by_default).image)
    if alpha is not case.alpha:
        return scores
    for name, made in run_methods(case.image, alpha, BASELINES, inpainter, "own", twin=twin).items():
        scores[f"{name}: leftover"] = left(made.result, made.twin)
        scores[f"{name}: ring PSNR"] = psnr(made.result, case.clean, ring)
    return scores


if __name__ == "__main__":
    main()
