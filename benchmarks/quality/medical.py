"""What one encoding for all prompts saves: images and prompts a second, against encoding anew for each prompt.

    python benchmarks/quality/medical.py [--model zim_tiny] [--side 256] [--pictures 8] [--out FILE.json]
    python benchmarks/quality/medical.py --model vit_b --pictures 1     # a ViT-B of random weights: any has its speed
    python benchmarks/quality/medical.py --run DIR [--out FILE.json]    # a finished zim-medseg run as a record

Per image: Mazurowski's five modes and nine clicks on one object, through `zim-medseg`'s own trial (surfaces not
measured; equal prompts answered once), and each of the prompts with `set_image` before it. The machine should be idle;
torch takes two threads.
"""

import argparse
import csv
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

# A script's own folder comes first on the path, where this file would hide the package of its name.
sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]

from medical.io.scan import Layer, Scan  # noqa: E402
from medical.protocol.clickers import RitmClicker  # noqa: E402
from medical.protocol.evaluate_scan import Place, Trial, TrialConfig  # noqa: E402
from medical.protocol.models import PromptedModel  # noqa: E402
from medical.protocol.prompt_modes import MODES, PixelPrompt, point_at  # noqa: E402
from medical.protocol.records import Measure  # noqa: E402
from zim_plugins.core import ImagePredictor, load_predictor  # noqa: E402
from zim_plugins.core.backends.zim_torch import ZimTorchBackend  # noqa: E402
from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim  # noqa: E402
from zim_plugins.evaluation.provenance import describe_process  # noqa: E402

CONFIG = TrialConfig(prompts=(*MODES, "clicks"), max_clicks=9, measure=Measure(surfaces=False))


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="zim_tiny")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = record_of_run(args.run) if args.run else measure(args)
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def measure(args: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(2)
    if args.model in ZIM_CONFIGS:
        predictor = ImagePredictor(ZimTorchBackend(Zim(ZIM_CONFIGS[args.model]), name=f"{args.model}, random weights"))
    else:
        predictor = load_predictor(args.model, device="cpu", zoom=False, refine="none")
    scans = [invented_scan(args.side, seed) for seed in range(args.pictures + 1)]
    model = PromptedModel(predictor, name=predictor.name)
    once, anew, prompts = [], [], 0
    for i, scan in enumerate(scans):
        start = time.perf_counter()
        Trial(scan, model, Place("invented", f"patient_{i}", f"case_{i}"), CONFIG).run()
        once.append(time.perf_counter() - start)
        start = time.perf_counter()
        prompts = encode_for_each(predictor, scan)
        anew.append(time.perf_counter() - start)
    once_s, anew_s = statistics.median(once[1:]), statistics.median(anew[1:])  # the first warms up
    return {
        "what": f"five modes and nine clicks on one object of a {args.side}x{args.side} image; medians",
        "model": predictor.name,
        **describe_process(),
        "pictures": args.pictures,
        "prompts_per_picture": prompts,
        "encodings_per_picture": model.effort.encodings / len(scans),
        "one_encoding": {"seconds": once_s, "pictures_per_s": 1 / once_s, "prompts_per_s": prompts / once_s},
        "encoding_each": {"seconds": anew_s, "pictures_per_s": 1 / anew_s, "prompts_per_s": prompts / anew_s},
        "times_faster": anew_s / once_s,
    }


def record_of_run(folder: Path) -> dict[str, object]:
    """Mean IoU with its interval by data set, prompt and model, and the tested comparisons, of `--out` of a run."""
    report = json.loads((folder / "report.json").read_text())
    means: dict[str, dict[str, object]] = {}
    with (folder / "summary.csv").open(newline="") as stream:
        for line in csv.DictReader(stream):
            if (line["metric"], line["label"], line["level"], line["candidate"]) == ("iou", "all", "slice", "single"):
                place = means.setdefault(line["dataset"], {"n": int(line["n"])})
                prompt = line["prompt"] if line["prompt"] != "clicks" else f"{line['n_clicks']} clicks"
                found = [float(line[name]) if line[name] else None for name in ("mean", "ci_low", "ci_high")]
                place[f"{line['model']}, {prompt}"] = [v if v is None else round(v, 4) for v in found]
                if line["n_empty_predictions"] != "0":
                    place[f"{line['model']}, {prompt}, empty answers"] = int(line["n_empty_predictions"])
    with (folder / "compare.csv").open(newline="") as stream:
        claims = [line["claim"] for line in csv.DictReader(stream) if line["p"]]
    return {
        "what": "IoU [mean, low, high] of alpha > 0.5, no interval below n = 6; zim-medseg, no zoom, no refinement",
        "model": ", ".join(report["models"]),
        **describe_process(),
        "commit": report["commit"],
        "command": report["command"],
        "origins": report["origins"],
        "machine": report["machine"],
        "versions": report["versions"],
        "seconds": report["seconds"],
        "encodings": {name: effort["encodings"] for name, effort in report["models"].items()},
        "frames": {name: effort["frames"] for name, effort in report["models"].items()},
        "data": {
            d["title"]: {k: d[k] for k in ("cases", "patients", "patients_from", "objects", "faults")}
            for d in report["datasets"]
        },
        "iou": means,
        "claims": claims,
        **spread_of_run(folder),
    }


def spread_of_run(folder: Path) -> dict[str, object]:
    """IoU over prompt seeds as [mean, SD, least, largest], and HD95 with its n, where several seeds were run."""
    if not (folder / "seeds.csv").exists():
        return {}
    spread: dict[str, dict[str, object]] = {}
    hd95: dict[str, dict[str, object]] = {}
    with (folder / "seeds.csv").open(newline="") as stream:
        for line in csv.DictReader(stream):
            prompt = line["prompt"] if line["prompt"] != "clicks" else f"{line['n_clicks']} clicks"
            figures = [round(float(line[name]), 4) for name in ("mean", "sd", "min", "max")]
            spread.setdefault(line["dataset"], {})[f"{line['model']}, {prompt}"] = figures
    with (folder / "summary.csv").open(newline="") as stream:
        for line in csv.DictReader(stream):
            if line["metric"].startswith("hd95") and line["label"] == "all" and line["mean"]:
                prompt = line["prompt"] if line["prompt"] != "clicks" else f"{line['n_clicks']} clicks"
                named = f"{line['model']}, {prompt}, {line['metric']}"
                hd95.setdefault(line["dataset"], {})[named] = [round(float(line["mean"]), 2), int(line["n"])]
    return {"seeds": spread, "hd95 [mean, n]": hd95}


def encode_for_each(predictor: ImagePredictor, scan: Scan) -> int:
    """The same protocol as a trial's, but with an encoding for each prompt; answers with the number of prompts."""
    clicker, count = RitmClicker(), 0
    reference = next(scan.targets(0)).mask
    for mode in MODES:
        for prompt in point_at(reference, mode, clicker).prompts():
            predictor.set_image(scan.frames[0])
            predictor.predict(prompt)
            count += 1
    mask, clicks = np.zeros_like(reference), []
    for _ in range(CONFIG.max_clicks):
        click = clicker.next_click(reference, mask, clicks)
        if click is None:
            break
        clicks.append(click)
        predictor.set_image(scan.frames[0])
        mask = predictor.predict(PixelPrompt(clicks=tuple(clicks)).prompts()[0]).mask()
        count += 1
    return count


def invented_scan(side: int, seed: int) -> Scan:
    """A grainy ultrasound-like image with two lesions of one label."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:side, :side] / side
    lesion = np.hypot((xs - rng.uniform(0.3, 0.45)) / 1.5, ys - rng.uniform(0.3, 0.7)) < 0.14
    lesion |= np.hypot(xs - rng.uniform(0.7, 0.8), ys - rng.uniform(0.3, 0.7)) < 0.07
    grey = np.clip((110 - 55 * lesion) * rng.gamma(9, 1 / 9, lesion.shape), 0, 255).astype(np.uint8)
    return Scan(np.repeat(grey[None, ..., None], 3, axis=3), (Layer(lesion[None].astype(np.uint16), {1: "lesion"}),))


if __name__ == "__main__":
    main()
