"""A COLMAP model's cameras, binary or text."""

import logging
import struct
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from .camera import Camera
from .model import rotation_matrices

logger = logging.getLogger(__name__)

PLACES = ("", "sparse/0", "sparse", "colmap/sparse/0", "0")
"""Where a model lies below the folder that users name."""
_MODELS = {0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5), 4: ("OPENCV", 8)}
_NAMES = {name for name, _ in _MODELS.values()}


def find_model(folder: Path) -> Path | None:
    """Return the folder of the model at or below a folder; None where there is none."""
    for place in PLACES:
        if any((folder / place / f"images{suffix}").is_file() for suffix in (".bin", ".txt")):
            return folder / place
    return None


def read_model(folder: Path) -> list[Camera]:
    """Read a model's cameras, in the order of the photographs' names.

    Raises:
        ValueError, OSError, KeyError: a file is missing or damaged, or a camera model is not known here.
    """
    here = folder.resolve()
    others = [p.name for p in sorted(here.parent.glob("[0-9]*")) if p != here and find_model(p) == p]
    if here.name.isdigit() and others:
        logger.warning("%s is read; COLMAP made other models of the capture: %s", folder, ", ".join(others))
    binary = (folder / "images.bin").is_file()
    lenses = dict(_binary_lenses(folder / "cameras.bin") if binary else _text_lenses(folder / "cameras.txt"))
    images = _binary_images(folder / "images.bin") if binary else _text_images(folder / "images.txt")
    found = list(images)
    if unknown := {lens for _, _, lens in found} - set(lenses):
        raise ValueError(f"its cameras file has no camera {', '.join(map(str, sorted(unknown)))}, which images name")
    cameras = [_camera(name, pose, lenses[lens]) for name, pose, lens in found]
    return sorted(cameras, key=lambda camera: camera.name)


def _camera(name: str, pose: np.ndarray, lens: tuple[str, int, int, tuple[float, ...]]) -> Camera:
    """The camera of one image, whose pose is a quaternion w, x, y, z and a translation."""
    model, width, height, numbers = lens
    if not np.isfinite(pose).all() or np.linalg.norm(pose[:4]) < 1e-6:
        raise ValueError(f"the pose of {name} is none: {pose.tolist()}")
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrices(torch.from_numpy(pose[None, :4]))[0].numpy()
    matrix[:3, 3] = pose[4:]
    if model in ("PINHOLE", "OPENCV"):
        fx, fy, cx, cy, *bend = numbers
    else:
        fx, cx, cy, *bend = numbers
        fy = fx
    k1, k2, p1, p2 = [*bend, 0.0, 0.0, 0.0, 0.0][:4]
    return Camera(name, (height, width), (fx, fy), (cx, cy), matrix, (k1, k2, p1, p2))


def _binary_lenses(path: Path) -> Iterator[tuple[int, tuple[str, int, int, tuple[float, ...]]]]:
    content, at = path.read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", content)[0]):
        number, kind, width, height = struct.unpack_from("<iiQQ", _enough(content, at + 24, path), at)
        if kind not in _MODELS:
            raise ValueError(f"camera model {kind} is not known here: undistort the photographs first")
        name, count = _MODELS[kind]
        at += 24
        yield (
            number,
            (name, width, height, struct.unpack_from(f"<{count}d", _enough(content, at + 8 * count, path), at)),
        )
        at += 8 * count


def _binary_images(path: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    content, at = path.read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", content)[0]):
        _, *pose, lens = struct.unpack_from("<i7di", _enough(content, at + 64, path), at)
        at += 64
        end = content.find(b"\0", at)
        if end < 0:
            raise ValueError(f"{path} is cut short")
        name = content[at:end].decode("utf-8", "replace")
        points = struct.unpack_from("<Q", _enough(content, end + 9, path), end + 1)[0]
        at = end + 9 + 24 * points
        _enough(content, at, path)
        yield name, np.array(pose), lens


def _text_lenses(path: Path) -> Iterator[tuple[int, tuple[str, int, int, tuple[float, ...]]]]:
    for line in _lines(path):
        number, name, width, height, *numbers = line.split()
        if name not in _NAMES:
            raise ValueError(f"camera model {name} is not known here: undistort the photographs first")
        yield int(number), (name, int(width), int(height), tuple(map(float, numbers)))


def _text_images(path: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    lines = _lines(path, empty=True)
    for line, points in zip_longest(lines[::2], lines[1::2], fillvalue=""):
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        if len(words) < 10:
            raise ValueError(f"a line of {path} is no image: {line[:80]}")
        if len(points.split()) % 3 or _is_image(points):
            raise ValueError(f"the line of {words[9]} has no line of points after it: that may be empty, not missing")
        yield words[9], np.array(list(map(float, words[1:8]))), int(words[8])


def _is_image(line: str) -> bool:
    """Return whether a line is of an image and not of points: what it ends with is a name and no number."""
    words = line.split()
    try:
        for word in words[-1:]:
            float(word)
        return False
    except ValueError:
        return True


def _lines(path: Path, *, empty: bool = False) -> list[str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return lines if empty else [line for line in lines if line.strip()]


def _enough(content: bytes, end: int, path: Path) -> bytes:
    if end > len(content):
        raise ValueError(f"{path} is cut short")
    return content
