"""A matting set of soft disks in the layout of a plain folder, and a model that knows where disks are."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

SIZE = (48, 64)

DISK_MODEL = '''
import time
from pathlib import Path

import numpy as np

from zim_plugins.core import Prediction, UnsupportedPrompt


class DiskModel:
    """Answers with a disk of 12 px round the first click, or with the filled box."""

    name = "disk"

    def __init__(self, seconds=0.0, clicks=True):
        self.seconds, self.clicks = seconds, clicks

    def set_image(self, image):
        time.sleep(self.seconds)
        self.size = image.shape[:2]

    def predict(self, prompt):
        prompt.check_inside(self.size)
        alpha = np.zeros(self.size, dtype=np.float32)
        ys, xs = np.mgrid[: self.size[0], : self.size[1]] + 0.5
        if prompt.box is not None:
            x1, y1, x2, y2 = prompt.box
            alpha[(xs > x1) & (xs < x2) & (ys > y1) & (ys < y2)] = 1
        elif not self.clicks:
            raise UnsupportedPrompt("boxes only")
        else:
            x, y = prompt.points[prompt.labels == 1][0]
            alpha = np.clip(12.7 - np.hypot(xs - x, ys - y), 0, 1).astype(np.float32)
        return Prediction(alphas=alpha[None], scores=np.ones(1, dtype=np.float32))

    def predict_many(self, prompts):
        return [self.predict(prompt) for prompt in prompts]


def make():
    return DiskModel()


def make_boxes_only():
    return DiskModel(clicks=False)


def make_slow():
    return DiskModel(seconds=0.3)


def make_no_model():
    return 3
'''


def disk(centre: tuple[float, float], radius_px: float = 12.2) -> np.ndarray:
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return np.clip(radius_px + 0.5 - np.hypot(xs - centre[0], ys - centre[1]), 0, 1).astype(np.float32)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.rint(array * 255).astype(np.uint8) if array.dtype != np.uint8 else array
    PIL.Image.fromarray(values).save(path)
    return path


@pytest.fixture
def disks(tmp_path) -> Path:
    """images/ and alphas/ of four images, one disk each, which the model of `disk_model` finds by a click."""
    rng = np.random.default_rng(0)
    for k in range(4):
        noise = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        save(tmp_path / f"disks/images/p{k}.png", noise)
        save(tmp_path / f"disks/alphas/p{k}.png", disk((20.5 + 6 * k, 24.5)))
    return tmp_path / "disks"


@pytest.fixture
def disk_model(tmp_path) -> str:
    """FILE.py:FUNCTION of a model without weights; `make_slow`, `make_boxes_only` are there, too."""
    path = tmp_path / "disk_model.py"
    path.write_text(DISK_MODEL)
    return f"{path}:make"


@pytest.fixture
def micromat(tmp_path) -> Path:
    """MicroMat-3K in the small: two images, fine and coarse mattes, prompts."""
    import json

    root, lines = tmp_path / "MicroMat3K", []
    for k, (subset, centre) in enumerate([("fine", (22.5, 20.5)), ("coarse", (40.5, 24.5)), ("fine", (30.5, 24.5))]):
        image, name = f"{k // 2 + 1:04d}", f"{k // 2 + 1:04d}_{k}"
        save(root / f"img/{image}.png", np.full((*SIZE, 3), 60 * k, dtype=np.uint8))
        save(root / f"matte/{subset}/{name}.png", disk(centre))
        save(root / f"seg/{subset}/{name}.png", (disk(centre) > 0.5).astype(np.float32))
        prompt = {"point": [[*centre, 1], [2, 2, 0]], "bbox": [centre[0] - 12, centre[1] - 12, 60, 44]}
        (root / f"prompt/{subset}").mkdir(parents=True, exist_ok=True)
        (root / f"prompt/{subset}/{name}.json").write_text(json.dumps(prompt))
        parts = f"matte/{subset}/{name}.png", f"prompt/{subset}/{name}.json", f"seg/{subset}/{name}.png"
        lines.append(" ".join([f"img/{image}.png", *parts]))
    (root / "data_list.txt").write_text("\n".join(lines))
    return root
