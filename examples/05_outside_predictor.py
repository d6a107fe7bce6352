"""Score anybody's predictor: the adapter for SAM's call is ten lines; `zim evaluate` takes it by the file's name.

python examples/05_outside_predictor.py
zim evaluate --data DIR --model zim_tiny,examples/05_outside_predictor.py:make_predictor
"""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np

from zim_plugins import core
from zim_plugins.cli import main as zim
from zim_plugins.core import Prediction, Prompt, load_predictor, read_image, write_image
from zim_plugins.core.checkpoints.records import find


class Outside:
    def __init__(self, sam):
        self.sam, self.set_image = sam, sam.set_image

    def predict(self, prompt):
        asked = {"point_coords": prompt.points, "point_labels": prompt.labels, "box": prompt.box}
        masks, scores, _ = self.sam.predict(**asked, multimask_output=False)
        return Prediction(masks.astype(np.float32), scores.astype(np.float32))

    def predict_many(self, prompts):
        return [self.predict(prompt) for prompt in prompts]


def make_predictor() -> Outside:
    """segment-anything's own predictor where it and its weights are here; else ours behind the same call."""
    weights, wanted = find("sam_vit_b"), ("segment_anything", "torchvision")
    if weights is None or not all(map(importlib.util.find_spec, wanted)):
        return Outside(core.SamPredictor(load_predictor("zim_tiny", device="cpu")))
    from segment_anything import SamPredictor, sam_model_registry

    return Outside(SamPredictor(sam_model_registry["vit_b"](checkpoint=str(weights))))


def main() -> None:
    rgb = read_image("sample:coins").rgb
    with tempfile.TemporaryDirectory() as folder:
        predictor = load_predictor("zim_tiny", device="cpu")
        predictor.set_image(rgb)
        write_image(Path(folder) / "images/coins.png", rgb)
        write_image(Path(folder) / "alphas/coins.png", predictor.predict(Prompt.from_point(337, 124)).alpha)
        zim(["evaluate", "--data", folder, "--model", f"{__file__}:make_predictor", "--out", f"{folder}/out"])
        print((Path(folder) / "out/tables.md").read_text())


if __name__ == "__main__":
    main()
