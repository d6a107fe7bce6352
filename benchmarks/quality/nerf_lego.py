"""The synthetic Lego scene in front of a textured surrounding, in nerfstudio's own layout, with its exact alphas.

The images of the NeRF synthetic set are transparent around the object. The surrounding is a fixed texture on a
sphere of infinite radius, looked up by each pixel's viewing direction, so that all views agree about it.
`python benchmarks/quality/nerf_lego.py LEGO_FOLDER OUT --size 100` writes OUT/images, OUT/alphas,
OUT/transforms.json.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image


def surrounding(directions: np.ndarray) -> np.ndarray:
    """Colours in [0, 1] of unit directions (..., 3): the sum of 24 plane waves, 0.2 to 2 radians long."""
    rng = np.random.default_rng(5)
    waves = rng.normal(size=(24, 3))
    waves *= (2 * np.pi / np.geomspace(0.2, 2.0, 24) / np.linalg.norm(waves, axis=1))[:, None]
    phase = rng.uniform(0, 2 * np.pi, size=(24, 3))
    mix = rng.normal(size=(24, 3)) / math.sqrt(24)
    angle = directions @ waves.T
    colour = sum(np.sin(angle[..., i, None] + phase[i]) * mix[i] for i in range(24))
    return 1 / (1 + np.exp(-2.5 * np.asarray(colour)))


def viewing_directions(c2w: np.ndarray, focal_px: float, size: int) -> np.ndarray:
    """Unit directions (size, size, 3) through the pixel centres of a square OpenGL camera."""
    x, y = np.meshgrid(np.arange(size) + 0.5 - size / 2, np.arange(size) + 0.5 - size / 2)
    rays = np.stack([x / focal_px, -y / focal_px, -np.ones_like(x)], axis=-1) @ c2w[:3, :3].T
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def prepare(lego: Path, out: Path, size: int, train: int, test: int) -> None:
    for folder in ("images", "alphas"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    frames, names = [], {"train": [], "test": []}
    focal_px = 0.0
    for split, count in (("train", train), ("test", test)):
        scene = json.loads((lego / f"transforms_{split}.json").read_text())
        focal_px = 0.5 * size / math.tan(0.5 * scene["camera_angle_x"])
        for frame in scene["frames"][:count]:
            rgba = np.asarray(Image.open((lego / frame["file_path"]).with_suffix(".png")), dtype=np.float64) / 255
            premultiplied = np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], axis=-1)
            factor = len(rgba) // size
            small = premultiplied.reshape(size, factor, size, factor, 4).mean(axis=(1, 3))
            directions = viewing_directions(np.array(frame["transform_matrix"]), focal_px, size)
            picture = small[..., :3] + (1 - small[..., 3:]) * surrounding(directions)
            name = f"{split}_{Path(frame['file_path']).name}.png"
            Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(out / "images" / name)
            Image.fromarray(np.round(255 * small[..., 3]).astype(np.uint8)).save(out / "alphas" / name)
            frames.append({"file_path": f"images/{name}", "transform_matrix": frame["transform_matrix"]})
            names[split].append(f"images/{name}")
    camera = {"camera_model": "OPENCV", "w": size, "h": size, "fl_x": focal_px, "fl_y": focal_px}
    camera |= {"cx": size / 2, "cy": size / 2, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    splits = {"train_filenames": names["train"], "val_filenames": names["test"], "test_filenames": names["test"]}
    (out / "transforms.json").write_text(json.dumps(camera | splits | {"frames": frames}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lego", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=100, help="pixels; a divisor of the images' size")
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--test", type=int, default=20)
    given = parser.parse_args()
    prepare(given.lego, given.out, given.size, given.train, given.test)
