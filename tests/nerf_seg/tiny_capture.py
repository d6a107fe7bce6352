"""A capture small enough to train on in seconds, a ball on white with exact alphas; and the training of it."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

from zim_plugins.core import write_image

SIZE, VIEWS, HELD_OUT = 32, 12, 2
FOCAL_PX, DISTANCE, RADIUS = 40.0, 3.0, 0.7


def write_capture(folder: Path) -> Path:
    """Write images/, alphas/ and transforms.json; the last two views are held out."""
    names = [f"view_{index:02d}.png" for index in range(VIEWS + HELD_OUT)]
    frames = []
    for index, name in enumerate(names):
        c2w = _look_at_centre(2 * np.pi * index / len(names), 0.2 + 0.25 * (index % 3))
        image, alpha = _trace(c2w)
        write_image(folder / "images" / name, image)
        write_image(folder / "alphas" / name, alpha)
        frames.append({"file_path": f"images/{name}", "transform_matrix": c2w.tolist()})
    listed = [f"images/{name}" for name in names]
    camera = {"camera_model": "OPENCV", "w": SIZE, "h": SIZE, "fl_x": FOCAL_PX, "fl_y": FOCAL_PX}
    camera |= {"cx": SIZE / 2, "cy": SIZE / 2, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    splits = {"train_filenames": listed[:VIEWS], "val_filenames": listed[VIEWS:], "test_filenames": listed[VIEWS:]}
    (folder / "transforms.json").write_text(json.dumps(camera | splits | {"frames": frames}))
    return folder


def _look_at_centre(azimuth: float, elevation: float) -> np.ndarray:
    flat = np.array([np.cos(azimuth), np.sin(azimuth)]) * np.cos(elevation)
    backward = np.array([*flat, np.sin(elevation)])
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3, :3] = np.stack([right, np.cross(backward, right), backward], axis=1)
    c2w[:3, 3] = DISTANCE * backward
    return c2w


def _trace(c2w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours and alpha of a checkered ball, 4x4 rays a pixel."""
    fine = 4 * SIZE
    x, y = np.meshgrid(np.arange(fine) + 0.5 - fine / 2, np.arange(fine) + 0.5 - fine / 2)
    rays = np.stack([x / (4 * FOCAL_PX), -y / (4 * FOCAL_PX), -np.ones_like(x)], axis=-1) @ c2w[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = -(rays @ c2w[:3, 3])
    inside = along**2 - (DISTANCE**2 - RADIUS**2)
    hit = inside > 0
    points = c2w[:3, 3] + (along - np.sqrt(np.maximum(inside, 0)))[..., None] * rays
    checks = (np.floor(points * 4).sum(axis=-1) % 2)[..., None]
    ball = np.array([0.9, 0.2, 0.1]) * (0.6 + 0.4 * checks)
    image = np.where(hit[..., None], ball, 1.0)
    blocks = image.reshape(SIZE, 4, SIZE, 4, 3).mean(axis=(1, 3)), hit.reshape(SIZE, 4, SIZE, 4).mean(axis=(1, 3))
    return blocks[0].astype(np.float32), blocks[1].astype(np.float32)


def train(config: Any, folder: Path, name: str) -> Path:
    """Run `ns-train` in this process and return the run's folder."""
    from nerfstudio.scripts.train import main
    from nerfstudio.utils import writer

    writer.EVENT_WRITERS.clear()
    writer.GLOBAL_BUFFER.clear()
    config = copy.deepcopy(config)
    config.output_dir, config.experiment_name, config.timestamp = folder / "runs", "tiny", name
    config.machine.device_type = "cpu"
    main(config)
    return config.get_base_dir()
