"""Small faithful copies of data sets: 32-pixel images in the layouts that the authors publish."""

import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zim_plugins.data.rle import Rle

SIZE = 32
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path) -> Write:
    """Writes images below the test's folder: of noise (`rgb`), a soft disk (`matte`), a hard one (`mask`)."""
    rng = np.random.default_rng(0)

    def write_files(kind: str, *names: str, size: int = SIZE) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(photo(kind, rng, size)).save(path)

    return write_files


def photo(kind: str, rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    if kind == "rgb":
        return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    ys, xs = np.mgrid[:size, :size] + 0.5
    x, y, radius = rng.uniform(0.3, 0.7) * size, rng.uniform(0.3, 0.7) * size, rng.uniform(0.15, 0.3) * size
    alpha = np.clip((radius - np.hypot(xs - x, ys - y)) / 3 + 0.5, 0, 1)
    if kind == "mask":
        alpha = (alpha > 0.5).astype(float)
    grey = np.rint(alpha * 255).astype(np.uint8)
    if kind == "rgba":
        return np.dstack([rng.integers(0, 256, (size, size, 3), dtype=np.uint8), grey])
    return grey


def sa1b_files(first: int, count: int, seed: int, masks: int = 3) -> dict[str, bytes]:
    """sa_N.jpg and sa_N.json as SA-1B has them."""
    rng = np.random.default_rng(seed)
    files = {}
    for number in range(first, first + count):
        rows = []
        for k in range(masks):
            mask = photo("mask", rng) > 0
            ys, xs = np.nonzero(mask)
            rows.append(
                {
                    "id": 100 * number + k,
                    "segmentation": Rle.from_mask(mask).to_json(),
                    "bbox": [int(v) for v in (xs.min(), ys.min(), np.ptp(xs), np.ptp(ys))],
                    "area": int(mask.sum()),
                    "predicted_iou": round(float(rng.uniform(0.85, 1)), 3),
                    "stability_score": round(float(rng.uniform(0.9, 1)), 3),
                    "crop_box": [0, 0, SIZE, SIZE],
                    "point_coords": [[float(xs[len(xs) // 2]), float(ys[len(ys) // 2])]],
                }
            )
        buffer = io.BytesIO()
        PIL.Image.fromarray(photo("rgb", rng)).save(buffer, "JPEG")
        image = {"image_id": number, "width": SIZE, "height": SIZE, "file_name": f"sa_{number}.jpg"}
        files[f"sa_{number}.jpg"] = buffer.getvalue()
        files[f"sa_{number}.json"] = json.dumps({"image": image, "annotations": rows}).encode()
    return files


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def sa1b():
    """`sa1b_files`, for tests that damage them before they are written."""
    return sa1b_files


@pytest.fixture
def tar():
    """`write_tar`."""
    return write_tar


@pytest.fixture
def shards(tmp_path) -> Path:
    """Three tars of four photographs with three masks each."""
    for k in range(3):
        write_tar(tmp_path / "sa1b" / f"sa_00000{k}.tar", sa1b_files(10 * k + 1, 4, seed=k))
    return tmp_path / "sa1b"


@pytest.fixture
def blur_maker(monkeypatch):
    """Makers of the fake converter, from a module that worker processes can import too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import fake_converter

    yield fake_converter.BlurMaker
    sys.modules.pop("fake_converter")


@pytest.fixture
def contents():
    """All files below a folder, by name."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read


@pytest.fixture(scope="session")
def small_converter(tmp_path_factory) -> Path:
    """A small label converter that has not learnt anything."""
    import torch

    from zim_plugins.label_converter.backbone import TinyBackboneConfig
    from zim_plugins.label_converter.checkpoint import save_converter
    from zim_plugins.label_converter.network import ConverterConfig, ConverterNetwork

    torch.manual_seed(0)
    backbone = TinyBackboneConfig(channels=(8, 8, 8, 8, 8))
    config = ConverterConfig(
        backbone, context_channels=8, decoder_channels=(8, 8, 8, 8, 8), head_channels=8, mask_logit=3.0
    )
    path = tmp_path_factory.mktemp("converter") / "converter.safetensors"
    save_converter(ConverterNetwork(config), path, {})
    return path


@pytest.fixture
def untrained_converter(small_converter):
    """Makes the converter of `small_converter`."""
    from zim_plugins.label_converter.converter import MatteConverter

    return lambda worker: MatteConverter.load(small_converter).convert
