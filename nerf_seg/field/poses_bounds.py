"""LLFF captures: `poses_bounds.npy` beside folders of images (Mildenhall et al. 2019, Local Light Field Fusion).

A row holds seventeen numbers: a 3x5 matrix, row by row, whose columns are the camera's down, right and backward axes,
its centre, and (height, width, focal length) of the original image in px; then the nearest and farthest depth that
the camera sees. Row i belongs to the i-th image by file name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

POSES_FILE = "poses_bounds.npy"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
AUTO_MAX_SIDE_PX = 1600
"""Larger images are left for a smaller folder where there is one, as nerfstudio's own parsers do."""


@dataclass(frozen=True, eq=False)
class PosesBounds:
    """Contents of a `poses_bounds.npy`; lengths are in the units of the reconstruction."""

    c2w: Float[np.ndarray, "n 3 4"]
    """Camera to world; the columns are right, up, backwards (OpenGL) and the centre."""
    hwf: Float[np.ndarray, "n 3"]
    """Height, width and focal length of the original images [px]."""
    bounds: Float[np.ndarray, "n 2"]
    """Nearest and farthest depth."""


@dataclass(frozen=True, eq=False)
class Capture:
    """Images and their cameras."""

    files: tuple[Path, ...]
    """In the order of the rows."""
    size: tuple[int, int]
    """(H, W) of each image [px]."""
    poses: PosesBounds
    focal: Float[np.ndarray, "n 2"]
    """Focal lengths along x and y at `size` [px]."""


def read_poses_bounds(path: Path) -> PosesBounds:
    """Read and check the file.

    Raises:
        ValueError: it is no such file, or its numbers make no camera.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"{path} is not there: an LLFF capture needs it; imgs2poses of LLFF makes it") from None
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a NumPy array: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 17 or not len(rows):
        raise ValueError(f"{path} holds an array of shape {getattr(rows, 'shape', None)}; LLFF's is (images, 17)")
    if rows.dtype.kind not in "fiu" or not np.isfinite(rows).all():
        raise ValueError(f"{path} holds values that are no finite numbers")
    rows = rows.astype(np.float64)
    matrix = rows[:, :15].reshape(-1, 3, 5)
    down, right, back, centre, hwf = (matrix[:, :, column] for column in range(5))
    c2w = np.stack([right, -down, back, centre], axis=2)
    axes = c2w[:, :, :3]
    skew = np.abs(axes.transpose(0, 2, 1) @ axes - np.eye(3)).max(axis=(1, 2))
    if (skew > 1e-2).any() or (np.linalg.det(axes) < 0).any():
        worst = int(skew.argmax())
        raise ValueError(
            f"{path}: the axes of camera {worst} are no rotation (off by {skew[worst]:.2g}); LLFF's columns are "
            "down, right, backwards"
        )
    bounds = rows[:, 15:]
    if (hwf <= 0).any() or (bounds[:, 0] <= 0).any() or (bounds[:, 1] < bounds[:, 0]).any():
        raise ValueError(f"{path}: sizes, focal lengths and depths are above 0, and far is not nearer than near")
    return PosesBounds(c2w, hwf, bounds)


def read_capture(root: Path, *, downscale_factor: int | None = None, folder: str | None = None) -> Capture:
    """Read the poses of a capture and pair them with its images.

    Args:
        root: folder that holds `poses_bounds.npy`.
        downscale_factor: take images_N (1: images); None takes the largest images of at most 1600 px.
        folder: take this folder below `root` instead, whatever its name says.

    Raises:
        ValueError: images or poses are missing, broken, or do not fit one another.
    """
    poses = read_poses_bounds(root / POSES_FILE)
    place = root / folder if folder is not None else find_folder(root, downscale_factor, poses.hwf[0])
    files = list_images(place)
    if len(files) != len(poses.c2w):
        raise ValueError(
            f"{place} holds {len(files)} images ({_first_and_last(files)}) and {root / POSES_FILE} "
            f"{len(poses.c2w)} cameras: they pair by order, so each needs the other"
        )
    size = _common_size(files)
    ratio = np.array([size[1], size[0]]) / poses.hwf[:, [1, 0]]
    named = re.fullmatch(r"images_(\d+)", place.name)
    expected = 1 / int(named[1]) if named and folder is None else ratio[:, :1]
    # A row of pixels that a down-scaling drops is allowed for.
    if (np.abs(ratio / expected - 1) > 0.02 + 1 / min(size)).any():
        height, width = (int(value) for value in poses.hwf[0, :2])
        raise ValueError(
            f"{place}: the images are {size[1]}x{size[0]} px, which is not {width}x{height} px of the poses scaled"
            + (f" by 1/{named[1]}" if named and folder is None else " evenly")
        )
    return Capture(tuple(files), size, poses, poses.hwf[:, 2:] * ratio)


def find_folder(root: Path, downscale_factor: int | None, hwf: Float[np.ndarray, " 3"]) -> Path:
    """The folder of the images at a factor, or the best one that is there.

    Args:
        root: the capture.
        downscale_factor: N of images_N; 1 is images; None takes the largest of at most 1600 px a side.
        hwf: height, width, focal length of the originals.

    Raises:
        ValueError: there is none.
    """
    if downscale_factor is not None:
        place = root / ("images" if downscale_factor == 1 else f"images_{downscale_factor}")
        if not place.is_dir():
            raise ValueError(f"{place} is not there; {_say_folders(root)}")
        return place
    factors = sorted(_factors(root))
    if not factors:
        raise ValueError(f"{root} has no folder images or images_N: name another one with --images-folder")
    small_enough = [factor for factor in factors if max(hwf[:2]) / factor <= AUTO_MAX_SIDE_PX]
    factor = small_enough[0] if small_enough else factors[-1]
    return root / ("images" if factor == 1 else f"images_{factor}")


def list_images(place: Path) -> list[Path]:
    """The images of a folder by file name, as LLFF orders them.

    Raises:
        ValueError: there are none.
    """
    if not place.is_dir():
        raise ValueError(f"{place} is no folder")
    files = [path for path in place.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise ValueError(f"{place} holds no images (jpg, jpeg, png)")
    return sorted(files, key=lambda path: path.name)


def _factors(root: Path) -> dict[int, Path]:
    found = {1: root / "images"} if (root / "images").is_dir() else {}
    for place in root.glob("images_*"):
        if (named := re.fullmatch(r"images_(\d+)", place.name)) and int(named[1]) > 1 and place.is_dir():
            found[int(named[1])] = place
    return found


def _say_folders(root: Path) -> str:
    names = [place.name for _, place in sorted(_factors(root).items())]
    return f"there are {', '.join(names)}" if names else "there is no folder images or images_N"


def _common_size(files: list[Path]) -> tuple[int, int]:
    """Decode every image, so that a broken one is named now and not in the midst of a training."""
    sizes: dict[tuple[int, int], Path] = {}
    for path in files:
        try:
            with Image.open(path) as image:
                sizes.setdefault((image.height, image.width), path)
                image.draft("RGB", (image.width // 8, image.height // 8))  # JPEG decodes at an eighth
                image.load()
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from error
    if len(sizes) > 1:
        said = ", ".join(f"{path.name} {width}x{height}" for (height, width), path in sizes.items())
        raise ValueError(f"{files[0].parent}: images of one capture have one size; found {said}")
    return next(iter(sizes))


def _first_and_last(files: list[Path]) -> str:
    return f"{files[0].name} to {files[-1].name}"
