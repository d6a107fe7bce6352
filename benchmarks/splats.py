"""A room of Gaussians with a known object, and `zim-splat` on it: membership against the truth, and seconds by stage.

    python benchmarks/splats.py --gaussians 300000 --views 50 --size 240 320 --out outputs/splats

The scene is made here: a jug with a handle on a table, before textured walls, as flat Gaussians along the surfaces.
The photographs are its own renderings, so that the cameras are exact and every Gaussian's truth is known.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_seg.field.gaussians.camera import Camera
from nerf_seg.field.gaussians.files import read_scene
from nerf_seg.field.gaussians.formats.ply import PlyFile
from nerf_seg.field.gaussians.model import SH_C0, Gaussians
from nerf_seg.field.gaussians.rendering import view_weights
from nerf_seg.field.gaussians.views import SplatViews
from nerf_seg.splat.cli import entrypoint as zim_splat
from zim_plugins.core import write_image
from zim_plugins.evaluation.provenance import describe_process


def surface(
    points: np.ndarray, normals: np.ndarray, colours: np.ndarray, area: float, rng: np.random.Generator
) -> dict:
    """Flat Gaussians of such a size that they cover the area twice or so."""
    count = len(points)
    side = np.sqrt(area / count)
    scales = side * np.exp(0.25 * rng.standard_normal((count, 3))) * [0.8, 0.8, 0.15]
    x, y, z = (normals + np.array([0, 0, 1e-6])).T
    turn = np.stack([1 + z, -y, x, np.zeros(count)], axis=1)
    turn[np.abs(turn).sum(1) < 1e-3] = [0, 1, 0, 0]  # upside down
    turn /= np.linalg.norm(turn, axis=1, keepdims=True)
    opacities = rng.uniform(0.6, 0.99, count)
    return {"means": points, "scales": scales, "rotations": turn, "opacities": opacities, "colours": colours}


def waves(points: np.ndarray, seed: int, contrast: float) -> np.ndarray:
    """A texture of a dozen waves for each colour, around 0."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((12, 3)) * np.exp(rng.uniform(0.5, 3.2, (12, 1)))
    phases, mixing = rng.uniform(0, 6.3, 12), rng.standard_normal((12, 3))
    return contrast * np.sin(points @ directions.T + phases) @ mixing / 3.5


def plate(corner: tuple, a: tuple, b: tuple, colour: tuple, count: int, seed: int, contrast: float = 0.2) -> dict:
    rng = np.random.default_rng(seed)
    u, v = rng.random((2, count, 1))
    along, across = np.array(a, float), np.array(b, float)
    points = np.array(corner) + u * along + v * across
    normal = np.cross(along, across)
    area = float(np.linalg.norm(normal))
    colours = np.array(colour) + waves(points, seed, contrast)
    return surface(points, np.tile(normal / area, (count, 1)), colours, area, rng)


def jug(count: int, seed: int = 7) -> dict:
    """A body of revolution on the table, and a handle."""
    rng = np.random.default_rng(seed)
    body = int(count * 0.8)
    height, angle = rng.random(body), rng.uniform(0, 2 * np.pi, body)
    radius = 0.20 + 0.13 * np.sin(3.4 * height + 0.3) - 0.05 * height
    slope = 0.13 * 3.4 * np.cos(3.4 * height + 0.3) - 0.05
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.8 * height], axis=1)
    normals = np.stack([np.cos(angle), np.sin(angle), -slope / 0.8], axis=1)
    along, around = rng.uniform(-1.2, 1.2, count - body), rng.uniform(0, 2 * np.pi, count - body)
    ring = 0.2 + 0.035 * np.cos(around)
    handle = np.stack([0.26 + ring * np.cos(along), 0.035 * np.sin(around), 0.42 + ring * np.sin(along)], axis=1)
    out = np.stack([np.cos(around) * np.cos(along), np.sin(around), np.cos(around) * np.sin(along)], axis=1)
    points, normals = np.concatenate([points, handle]), np.concatenate([normals, out])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    stripes = 0.12 * np.sin(40 * points[:, 2:]) * [1, 0.6, 0.2]
    colours = np.array([0.80, 0.42, 0.18]) + stripes + waves(points, seed, 0.05)
    return surface(points, normals, colours, 2.0, rng)


def room(count: int) -> tuple[Gaussians, np.ndarray]:
    """The scene, and which Gaussians are the jug."""
    shares = {"jug": 0.12, "table": 0.18, "floor": 0.2, "wall": 0.25, "side": 0.25}
    n = {name: int(count * share) for name, share in shares.items()}
    n["side"] += count - sum(n.values())
    parts = [
        jug(n["jug"]),
        plate((-0.9, -0.7, -0.01), (1.8, 0, 0), (0, 1.4, 0), (0.45, 0.33, 0.22), n["table"], 1, 0.12),
        plate((-3, -3, -0.9), (6, 0, 0), (0, 6, 0), (0.55, 0.52, 0.48), n["floor"], 2),
        plate((-3, 2.4, -0.9), (6, 0, 0), (0, 0, 3), (0.45, 0.55, 0.6), n["wall"], 3, 0.25),
        plate((-3, -3, -0.9), (0, 6, 0), (0, 0, 3), (0.6, 0.6, 0.5), n["side"], 4, 0.25),
    ]
    together = {key: np.concatenate([part[key] for part in parts]).astype(np.float32) for key in parts[0]}
    order = np.random.default_rng(0).permutation(count)
    tensors = {key: torch.from_numpy(values[order]) for key, values in together.items()}
    harmonics = ((tensors.pop("colours").clamp(0.02, 0.98) - 0.5) / SH_C0)[:, None]
    return Gaussians(**tensors, harmonics=harmonics), (np.arange(count) < n["jug"])[order]


def cameras(count: int, size: tuple[int, int]) -> list[Camera]:
    """On an arc of 150 degrees before the table, at three heights."""
    found = []
    for i in range(count):
        angle = np.deg2rad(-90 + 150 * (i / max(count - 1, 1) - 0.5))
        place = np.array([1.9 * np.cos(angle), 1.9 * np.sin(angle), (0.75, 1.0, 0.55)[i % 3]])
        forward = np.array([0.0, 0.0, 0.3]) - place
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward])
        matrix[:3, 3] = -matrix[:3, :3] @ place
        focal = 0.9 * size[1]
        found.append(Camera(f"view_{i:03d}.png", size, (focal, focal), (size[1] / 2, size[0] / 2), matrix))
    return found


def write_capture(folder: Path, gaussians: Gaussians, eyes: list[Camera], truth: np.ndarray) -> None:
    """scene.ply, transforms.json, images/ and mattes/ (the true ones)."""
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", *(f"scale_{i}" for i in range(3))]
    names += [f"rot_{i}" for i in range(4)]
    columns = [gaussians.means, gaussians.harmonics[:, 0], torch.logit(gaussians.opacities)[:, None]]
    columns += [gaussians.scales.log(), gaussians.rotations]
    table = torch.cat(columns, dim=1).numpy()
    rows = np.ascontiguousarray(table).view([(name, "<f4") for name in names])[:, 0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scene.ply").write_bytes(PlyFile({"vertex": rows}).encode())
    frames = []
    for eye in eyes:
        samples = view_weights(gaussians, eye)
        colours = gaussians.colours(torch.from_numpy(eye.place).float()).numpy()
        both = samples.blend(np.concatenate([colours, truth[:, None]], axis=1).astype(np.float32))
        write_image(folder / "images" / eye.name, both[..., :3].clip(0, 1))
        write_image(folder / "mattes" / eye.name, np.ascontiguousarray(both[..., 3].clip(0, 1)))
        to_world = np.linalg.inv(eye.world_to_camera) @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": f"images/{eye.name}", "transform_matrix": to_world.tolist()})
    lens = {"w": eyes[0].size[1], "h": eyes[0].size[0], "fl_x": eyes[0].focal[0], "fl_y": eyes[0].focal[1]}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    np.save(folder / "truth.npy", truth)


def count_processor_seconds() -> None:
    """Time stages by processor seconds, all work in one thread after the other: for machines with other work."""
    time.perf_counter = time.process_time
    SplatViews._expect = lambda self, index: None  # nothing is made ahead, or its seconds would be another stage's


def segment(words: list[str], out: Path) -> dict[str, Any]:
    """Run the command on one click; what its report says, with seconds of the whole."""
    sys.argv = ["zim-splat", *words, "--out", str(out), "--overwrite"]
    start_s, cpu_s = time.perf_counter(), time.process_time()
    try:
        zim_splat()
    except SystemExit as end:
        print(*sys.argv, "->", end.code)
    seconds, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    report = json.loads((out / "report.json").read_text())
    return {
        "object's Gaussians": len(read_scene(out / "object.ply").gaussians()),
        "accepted": [report["accepted"], report["views"]],
        "processor seconds": round(cpu_s, 1),
        "seconds": {"all": round(seconds, 1), **{k: round(v, 1) for k, v in report["seconds"].items()}},
        "cache": {key: value for key, value in (report["cache"] or {}).items() if key != "folder"},
    }


def main() -> None:
    """Make the capture where it is missing, run the command on two objects, and print the scores."""
    parser = argparse.ArgumentParser(description="A room of Gaussians with a known object, and zim-splat on it")
    parser.add_argument("--gaussians", type=int, default=300_000)
    parser.add_argument("--views", type=int, default=50)
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"))
    parser.add_argument("--point", default="50%,52%")
    parser.add_argument("--second", default="50%,80%", help="the click of the second run")
    parser.add_argument("--model", default="zim_tiny")
    parser.add_argument("--processor-seconds", action="store_true", help="stages by processor seconds, not the clock")
    parser.add_argument("--out", type=Path, default=Path("outputs/splats"))
    args, rest = parser.parse_known_args()
    capture, cache = args.out / "capture", args.out / "cache"
    if not (capture / "truth.npy").is_file():
        gaussians, truth = room(args.gaussians)
        write_capture(capture, gaussians, cameras(args.views, tuple(args.size)), truth)
    if args.processor_seconds:
        count_processor_seconds()
    truth, out = np.load(capture / "truth.npy"), args.out / args.model.split(":")[0]
    command = [str(capture / "scene.ply"), "--cameras", str(capture / "transforms.json"), "--images"]
    command += [str(capture / "images"), "--view", f"view_{args.views // 2:03d}", "--model", args.model, *rest]
    command += ["--cache", str(cache)]
    for path in cache.glob("*"):
        path.unlink()
    timed_by = "processor seconds, nothing made ahead" if args.processor_seconds else "the clock"
    record: dict[str, Any] = {"timed by": timed_by}
    record["first"] = segment([*command, "--point", args.point], out)
    found = np.load(out / "membership.npy") > 0.5
    record["first"]["membership IoU"] = round(float((found & truth).sum() / (found | truth).sum()), 4)
    record["first"]["truth's Gaussians"] = int(truth.sum())
    record["second"] = segment([*command, "--point", args.second], args.out / f"{out.name}_second")
    print(json.dumps({**record, "process": describe_process()}, indent=1))


if __name__ == "__main__":
    main()
