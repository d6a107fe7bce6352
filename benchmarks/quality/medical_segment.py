"""What `zim-medseg segment` reaches on volumes and slices with a known mask, through the command itself.

    python benchmarks/quality/medical_segment.py --data DATA/medical --out FILE.json [--only t2,t2s,slices] [--keep DIR]

Volumes (Spinal Cord Toolbox): a box round the mask on its middle slice, which is followed; that slice's answer copied
to all slices that show the structure; a box two pixels wider; boxes on three slices; one click in the middle of the
middle slice's mask. Slices (MedScribble): a tight box; one, two and three clicks, each on the worst error of the last
answer. Prompts are made of the reference. Finished entries of FILE.json are kept.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

# A script's own folder comes first on the path, where this file's neighbours would hide packages of their names.
sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]

from medical.io.images import read_values  # noqa: E402
from medical.io.opening import open_scan, read_labels  # noqa: E402
from medical.metrics.overlap import overlap  # noqa: E402
from medical.protocol.clickers import RitmClicker  # noqa: E402
from medical.protocol.prompt_modes import tight_box  # noqa: E402
from medical.protocol.text_prompts import FoundBox  # noqa: E402
from medical.segment.by_words import box_on  # noqa: E402
from medical.segment.command import SegmentArgs, main  # noqa: E402
from zim_plugins.evaluation.provenance import describe_process  # noqa: E402

CORDS = "clean/mri_spinalcord_nifti"
VOLUMES = {
    "t2": ("t2/t2.nii.gz", "t2/t2_seg-manual.nii.gz"),
    "t2s": ("t2s/t2s.nii.gz", "t2s/t2s_seg.nii.gz"),
    "t2s-grey": ("t2s/t2s.nii.gz", "t2s/t2s_gmseg_manual.nii.gz"),
    "t1": ("t1/t1w.nii.gz", "t1/t1w_seg-manual.nii.gz"),
}
PROMPTS = ("box", "wide", "three", "click")
SLICES = {
    "BTCV": "clean", "SCD": "clean", "HipXRay": "clean", "ACDC": "research_only", "CHAOS": "research_only",
    "PAXRay": "research_only",
}  # fmt: skip


def volume_prompts(scan: Any, truth: np.ndarray) -> dict[str, dict[str, tuple[str, ...]]]:
    """Options of the command for each way to point at a structure."""
    frames = np.flatnonzero(truth.any(axis=(1, 2)))
    middle = int(frames[len(frames) // 2])

    def box(frame: int, margin: int = 0) -> str:
        x1, y1, x2, y2 = tight_box(truth[frame])
        height, width = truth.shape[1:]
        wide = max(x1 - margin, 0), max(y1 - margin, 0), min(x2 + margin, width), min(y2 + margin, height)
        found = box_on(scan, frame, FoundBox(wide, 1.0))
        return ",".join(f"{v:g}" for v in (*found.low, *found.high))

    x, y = RitmClicker().centre(truth[middle])
    at = box_on(scan, middle, FoundBox((x, y, x + 1, y + 1), 1.0)).low
    several = [int(frames[i]) for i in np.linspace(0, len(frames) - 1, 5).round().astype(int)[1:4]]
    return {
        "box": {"box": (box(middle),)}, "wide": {"box": (box(middle, 2),)},
        "three": {"box": tuple(box(frame) for frame in several)},
        "click": {"point": (",".join(f"{v:g}" for v in at),)},
    }  # fmt: skip


def segmented(scan: Path, out: Path, **prompts: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Run the command; return its labels on the scan's frames, and its record."""
    code = main(SegmentArgs(str(scan), out=str(out), overwrite=True, model="zim_tiny", **prompts))
    if code:
        raise SystemExit(f"{scan.name}: exit code {code}")
    (record,) = out.glob("*_seg.json")
    (labels,) = [path for path in out.iterdir() if path.name.endswith(("_seg.nii.gz", "_seg.png"))]
    if labels.suffix == ".png":
        return read_values(labels)[None] > 0, json.loads(record.read_text())
    given, _ = read_labels(labels, open_scan(scan))
    whole = np.zeros(open_scan(scan).scan.frames.shape[:3], dtype=bool)
    return np.logical_or.reduce([whole, *(one.mask for one in given)]), json.loads(record.read_text())


def one_volume(scan_path: Path, mask_path: Path, prompt: str, out: Path) -> dict[str, Any]:
    opened = open_scan(scan_path)
    given, _ = read_labels(mask_path, opened)
    truth = np.logical_or.reduce([one.mask for one in given])
    start = time.perf_counter()
    found, record = segmented(scan_path, out, **volume_prompts(opened.scan, truth)[prompt])
    entry = {"dice": round(overlap(found, truth).dice, 4), "seconds": round(time.perf_counter() - start, 1),
             "slices": len(truth), "ends": record["structures"][0]["ends"], "sha256": record["sha256"]}  # fmt: skip
    if prompt == "box":
        frames = np.flatnonzero(truth.any(axis=(1, 2)))
        copied = np.zeros_like(truth)
        copied[frames] = found[frames[len(frames) // 2]]
        entry["dice_of_copies"] = round(overlap(copied, truth).dice, 4)
    return entry


def one_slice(image: Path, mask: Path, out: Path) -> dict[str, float]:
    truth = read_values(mask) > 0
    x1, y1, x2, y2 = tight_box(truth)
    found, _ = segmented(image, out / "box", box=(f"{x1},{y1},{x2},{y2}",))
    entry = {"box": overlap(found[0], truth).iou}
    clicker, clicks, answer = RitmClicker(), [], np.zeros_like(truth)
    for number in (1, 2, 3):
        click = clicker.next_click(truth, answer, clicks)
        if click is not None:
            clicks.append(click)
            points = tuple(f"{c.x},{c.y},{int(c.positive)}" for c in clicks)
            answer = segmented(image, out / f"clicks{number}", point=points)[0][0]
        entry[f"clicks{number}"] = overlap(answer, truth).iou
    return {name: round(value, 4) for name, value in entry.items()}


def measure(data: Path, target: Path, only: set[str], prompts: list[str], keep: Path) -> None:
    """Measure what FILE.json lacks, and write it after each entry."""
    record = json.loads(target.read_text()) if target.exists() else {}
    made = {"what": "zim-medseg segment: 3D Dice of volumes, IoU of slices", "model": "zim_tiny", **describe_process()}
    record = made | {"volumes": record.get("volumes", {}), "slices": record.get("slices", {})}

    def save() -> None:
        target.write_text(json.dumps(record, indent=1) + "\n")

    for prompt in prompts:
        for name, (scan, mask) in VOLUMES.items():
            own = record["volumes"].setdefault(name, {})
            if name in only and prompt not in own and not (name == "t2s-grey" and prompt != "box"):
                own[prompt] = one_volume(data / CORDS / scan, data / CORDS / mask, prompt, keep / f"{name}_{prompt}")
                save()
        if prompt == prompts[0] and "slices" in only:
            for name, folder in SLICES.items():
                root = data / folder / "medscribble" / name
                own = record["slices"].setdefault(name, {})
                for number, image in enumerate(sorted((root / "images").iterdir()), start=1):
                    if f"case_{number}" not in own:
                        masks = [p for p in (root / "masks").iterdir() if p.stem == image.stem]
                        own[f"case_{number}"] = one_slice(image, masks[0], keep / f"{name}_{number}")
                        save()
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join((*VOLUMES, "slices")))
    parser.add_argument("--prompts", default=",".join(PROMPTS))
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        keep = args.keep or Path(scratch)
        measure(args.data, args.out, set(args.only.split(",")), args.prompts.split(","), keep)
