"""Camera files: transforms.json (nerfstudio, instant-ngp, Blender), a COLMAP model, or cameras.json (Inria)."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from zim_plugins.core import ZimError

from .camera import Camera
from .colmap import find_model, read_model

CAMERA_FILES = ("transforms.json", "cameras.json")
"""Looked for in a folder without a COLMAP model."""
_GL_TO_CV = np.diag([1.0, -1.0, -1.0, 1.0])


class CameraFileError(ZimError, ValueError):
    """Cameras cannot be read; the message names the file and the reason."""


def read_cameras(path: Path) -> list[Camera]:
    """Read all cameras of a capture, in the order of the file; COLMAP's in the order of their names.

    >>> import tempfile
    >>> frame = {"file_path": "images/a.png", "transform_matrix": np.eye(4).tolist()}
    >>> content = {"w": 40, "h": 30, "fl_x": 50, "fl_y": 50, "cx": 20, "cy": 15, "frames": [frame]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "transforms.json")
    ...     _ = path.write_text(json.dumps(content))
    ...     cameras = read_cameras(path)
    >>> cameras[0].name, cameras[0].size
    ('images/a.png', (30, 40))

    Args:
        path: transforms.json, cameras.json, or the folder of a COLMAP model (or one above it, as sparse/0 lies).

    Raises:
        CameraFileError: nothing is there, or it is damaged or of an unknown kind.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.is_file() and path.suffix.lower() in (".bin", ".txt"):
            return read_model(path.parent)
        if not path.is_file():
            raise CameraFileError(
                f"there is no {path}: --cameras names transforms.json, cameras.json or the folder of a COLMAP model"
            )
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        cameras = _of_transforms(content, path.parent) if isinstance(content, dict) else _of_inria(content)
    except CameraFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise CameraFileError(f"the cameras in {path} cannot be read: {_said(error)}") from error
    if not cameras:
        raise CameraFileError(f"{path} holds no camera")
    return cameras


def _said(error: Exception) -> str:
    """Return what is wrong with a file, in words that are not Python's."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, (TypeError, IndexError, AttributeError)):
        return "it is laid out like no camera file that is known here"
    return f"it is cut short: {error}" if isinstance(error, struct.error) else str(error)


def read_transform(path: Path) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"], float]:
    """Read nerfstudio's dataparser_transforms.json: from the capture's world to the one that was trained in.

    Returns:
        Rotation, translation and scale as `Camera.moved` takes them.

    Raises:
        CameraFileError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        matrix, scale = np.array(content["transform"], dtype=np.float64)[:3], float(content["scale"])
        rotation, translation = matrix[:, :3], matrix[:, 3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or scale <= 0:
            raise ValueError("its transform is no rotation, or its scale not above 0")
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CameraFileError(f"{path} is no dataparser_transforms.json of nerfstudio: {error}") from error
    return rotation, translation, scale


def read_placed_cameras(path: Path, transform: Path | None) -> list[Camera]:
    """Read all cameras of a capture, in the world that a scene was trained in.

    nerfstudio's dataparser_transforms.json counts from COLMAP's world, and the frames of a transforms.json may have
    been turned already (`applied_transform`, `applied_scale`): what is left of the move is made.

    Args:
        path: as `read_cameras` takes it.
        transform: dataparser_transforms.json; None where the scene lies in the world of the camera file.

    Raises:
        CameraFileError: as `read_cameras` and `read_transform` do.
    """
    cameras = read_cameras(path)
    if transform is None:
        return cameras
    rotation, translation, scale = read_transform(transform)
    applied, applied_scale = _applied(path)
    rotation = rotation @ applied[:, :3].T
    return [camera.moved(rotation, translation - rotation @ applied[:, 3], scale / applied_scale) for camera in cameras]


def _applied(path: Path) -> tuple[Float64[np.ndarray, "3 4"], float]:
    """Return the matrix and the scale by which the frames of a transforms.json were moved out of COLMAP's world."""
    nothing = np.eye(4)[:3]
    if path.is_dir():
        path = path / "transforms.json" if find_model(path) is None else path
    if not path.is_file() or path.suffix.lower() != ".json":
        return nothing, 1.0
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            return nothing, 1.0
        told = content.get("applied_transform")
        if told is None and (path.parent / "colmap" / "sparse" / "0").exists():
            told = [
                [0, 1, 0, 0],
                [1, 0, 0, 0],
                [0, 0, -1, 0],
            ]  # as nerfstudio takes it for files from before it was told
        matrix = nothing if told is None else np.array(told, dtype=np.float64)[:3]
        scale = float(content.get("applied_scale", 1.0))
        if (
            matrix.shape != (3, 4)
            or not np.allclose(matrix[:, :3] @ matrix[:, :3].T, np.eye(3), atol=1e-3)
            or scale <= 0
        ):
            raise ValueError("its applied_transform is no rotation, or its applied_scale not above 0")
    except (OSError, ValueError, TypeError) as error:
        raise CameraFileError(f"the cameras in {path} cannot be read: {error}") from error
    return matrix, scale


def _read_folder(folder: Path) -> list[Camera]:
    model = find_model(folder)
    if model is not None:
        return read_model(model)
    for name in CAMERA_FILES:
        if (folder / name).is_file():
            return read_cameras(folder / name)
    raise CameraFileError(f"{folder} holds no COLMAP model (images.bin or images.txt), transforms.json or cameras.json")


def _of_transforms(content: Mapping[str, Any], folder: Path) -> list[Camera]:
    cameras = []
    if "frames" not in content:
        raise ValueError("it is no transforms.json: it has no frames")
    for frame in content["frames"]:
        values = {**content, **frame}
        if not isinstance(frame.get("file_path"), str) or not frame["file_path"]:
            raise ValueError(f"frame {len(cameras)} names no photograph: its file_path is {frame.get('file_path')!r}")
        model = str(values.get("camera_model", "OPENCV"))
        if model not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL") or values.get("is_fisheye"):
            raise ValueError(f"its camera model is {model}: undistort the photographs first")
        size = _size(values, frame["file_path"], folder)
        if "fl_x" in values:
            focal = (float(values["fl_x"]), float(values.get("fl_y", values["fl_x"])))
        else:
            along_x = size[1] / 2 / math.tan(float(values["camera_angle_x"]) / 2)
            angle_y = values.get("camera_angle_y")
            focal = (along_x, along_x if angle_y is None else size[0] / 2 / math.tan(float(angle_y) / 2))
        to_world = _matrix(frame["transform_matrix"], frame["file_path"])
        k3 = float(values.get("k3", 0)), float(values.get("k4", 0))
        if any(k3):
            raise ValueError("it has distortion k3 or k4, which are not known here: undistort the photographs first")
        cameras.append(
            Camera(
                name=frame["file_path"].replace("\\", "/"),
                size=size,
                focal=focal,
                centre=(float(values.get("cx", size[1] / 2)), float(values.get("cy", size[0] / 2))),
                world_to_camera=_inverse(to_world @ _GL_TO_CV, frame["file_path"]),
                distortion=(
                    float(values.get("k1", 0)),
                    float(values.get("k2", 0)),
                    float(values.get("p1", 0)),
                    float(values.get("p2", 0)),
                ),
            )
        )
    return cameras


def _size(values: Mapping[str, Any], name: str, folder: Path) -> tuple[int, int]:
    """(H, W) as the file says, or as the photograph has it: Blender's files do not say."""
    if "w" in values and "h" in values:
        return int(values["h"]), int(values["w"])
    import PIL.Image

    for path in (folder / name, folder / f"{name}.png", folder / f"{name}.jpg"):
        if path.is_file():
            with PIL.Image.open(path) as image:
                return image.height, image.width
    raise ValueError(f"the size of {name} is not given (w, h), and the photograph is not beside the file")


def _of_inria(content: list[Mapping[str, Any]]) -> list[Camera]:
    cameras = []
    for row in content:
        to_world = np.eye(4)
        to_world[:3, :3], to_world[:3, 3] = np.array(row["rotation"]), np.array(row["position"])
        size = (int(row["height"]), int(row["width"]))
        cameras.append(
            Camera(
                name=str(row["img_name"]).replace("\\", "/"),
                size=size,
                focal=(float(row["fx"]), float(row["fy"])),
                centre=(size[1] / 2, size[0] / 2),
                world_to_camera=_inverse(to_world, str(row["img_name"])),
            )
        )
    return cameras


def _matrix(rows: Any, name: str) -> Float64[np.ndarray, "4 4"]:
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError):
        matrix = np.zeros(0)
    if matrix.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"the matrix of {name} is not of 3x4 or 4x4 numbers")
    return np.vstack([matrix[:3], [0, 0, 0, 1]])


def _inverse(to_world: Float64[np.ndarray, "4 4"], name: str) -> Float64[np.ndarray, "4 4"]:
    if to_world.shape != (4, 4) or not np.isfinite(to_world).all():
        raise ValueError(f"the matrix of {name} is not 4x4, or not finite")
    axes = to_world[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if lengths.min() < 1e-9 or np.ptp(lengths) > 1e-3 * lengths.max() or np.linalg.det(axes) < 0:
        raise ValueError(f"the matrix of {name} is no rotation")
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = axes / lengths, to_world[:3, 3]
    return np.linalg.inv(rigid)
