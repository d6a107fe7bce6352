"""Choose the parameters of the classical rivals on data sets that docs/medical.md does not score.

    python benchmarks/quality/medical_rivals.py DATA --dataset kvasir-seg:Kvasir-SEG,nuclei:nuclei [--out FILE.json]

Each data set counts once, with the mean of its objects (at most `--objects`, evenly picked). Boxes are tight;
clicks are the first one of RITM's clicker and the fifth. The best of a grid is printed and recorded, ties to the first.
"""

import argparse
import itertools
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np

# A script's own folder comes first on the path, where this file would hide the package of its name.
sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]

from medical.io.layouts import find_layout  # noqa: E402
from medical.io.pairing import find_cases  # noqa: E402
from medical.io.reading import read_scan  # noqa: E402
from medical.labelling import settle_labels  # noqa: E402
from medical.metrics.overlap import overlap  # noqa: E402
from medical.protocol.clickers import PixelClick, RitmClicker  # noqa: E402
from medical.protocol.evaluate_scan import THRESHOLD  # noqa: E402
from medical.protocol.models import PromptedModel  # noqa: E402
from medical.protocol.prompt_modes import PixelPrompt, point_at  # noqa: E402
from medical.protocol.rivals import FilledBox, GrabCut, InscribedEllipse, RandomWalker  # noqa: E402
from medical.run import parse_spec  # noqa: E402
from zim_plugins.core import Predictor  # noqa: E402

Objects = dict[str, list[tuple[np.ndarray, np.ndarray]]]
"""Frames and masks by data set."""
CORES, MARGINS, BETAS, RADII = (0.5, 0.7, 0.85), (0.5,), (130.0, 600.0), (0.02,)
CLICKS = 5


def main() -> None:
    """Search the grids, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--objects", type=int, default=12)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    objects = read_objects(args.data, args.dataset.split(","), args.objects)
    start_s = time.perf_counter()
    boxes = {"box": in_boxes(FilledBox(), objects), "ellipse": in_boxes(InscribedEllipse(), objects)}
    grabcut = {
        f"core {c:g}, margin {m:g}": in_boxes(GrabCut(c, m), objects) for c, m in itertools.product(CORES, MARGINS)
    }
    walker = {
        f"core {c:g}, margin {m:g}, beta {b:g}": in_boxes(RandomWalker(c, m, b), objects)
        for c, m, b in itertools.product(CORES, MARGINS, BETAS)
    }  # fmt: skip
    clicks = {
        f"beta {b:g}, radius {r:g}": by_clicks(RandomWalker(click_beta=b, click_radius=r), objects)
        for b, r in itertools.product(BETAS, RADII)
    }
    record = {
        "what": f"mean IoU over data sets; boxes tight; clicks: mean of those after 1 and {CLICKS} clicks",
        "data": {name: len(own) for name, own in objects.items()},
        "boxes": boxes,
        "grabcut": {"best": max(grabcut, key=lambda k: grabcut[k]), "grid": grabcut},
        "random-walker, boxes": {"best": max(walker, key=lambda k: walker[k]), "grid": walker},
        "random-walker, clicks": {"best": max(clicks, key=lambda k: clicks[k]), "grid": clicks},
        "seconds": round(time.perf_counter() - start_s, 1),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def read_objects(data: Path, specs: list[str], most: int) -> Objects:
    """Objects of each data set, evenly picked over its cases."""
    objects: Objects = {}
    for spec in map(parse_spec, specs):
        cases, _ = settle_labels(find_cases(data / spec.folder, find_layout(spec.layout))[0])
        own = []
        for case in cases:
            scan = read_scan(case)
            own += [(np.array(scan.frames[t.frame]), t.mask) for i in range(len(scan.frames)) for t in scan.targets(i)]
        if not own:
            raise SystemExit(f"{spec.title}: no object found below {data / spec.folder}")
        objects[spec.title] = own[:: max(1, -(-len(own) // most))]
    return objects


def in_boxes(rival: Predictor, objects: Objects) -> float:
    """Mean IoU from tight boxes."""
    model = PromptedModel(rival, name="rival")
    return mean_of({name: [iou(model, *one, point_at(one[1], "mode5", RitmClicker())) for one in own]
                    for name, own in objects.items()})  # fmt: skip


def by_clicks(rival: Predictor, objects: Objects) -> float:
    """Mean IoU after the first click and after `CLICKS`, averaged."""
    found: dict[str, list[float]] = {}
    model = PromptedModel(rival, name="rival")
    for name, own in objects.items():
        for frame, mask in own:
            model.show(frame)
            clicks: list[PixelClick] = []
            answer, scores = np.zeros_like(mask), []
            for _ in range(CLICKS):
                click = RitmClicker().next_click(mask, answer, clicks)
                if click is not None:
                    clicks.append(click)
                    answer = model.answer([PixelPrompt(clicks=tuple(clicks))])[0].alphas[0] > THRESHOLD
                scores.append(overlap(answer, mask).iou)
            found.setdefault(name, []).append((scores[0] + scores[-1]) / 2)
    return mean_of(found)


def iou(model: PromptedModel, frame: np.ndarray, mask: np.ndarray, given: PixelPrompt) -> float:
    """IoU of one answer."""
    model.show(frame)
    return overlap(model.answer([given])[0].alphas[0] > THRESHOLD, mask).iou


def mean_of(found: dict[str, list[float]]) -> float:
    """Mean over data sets of the mean of each."""
    return round(float(np.mean([np.mean(own) for own in found.values()])), 4)


if __name__ == "__main__":
    main()
