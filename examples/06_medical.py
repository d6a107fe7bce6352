"""Medical segmentation from Python: a made-up X-ray, a box and up to five clicks, measured.

python examples/06_medical.py
"""

from pathlib import Path

import numpy as np

from medical.io.scan import Layer, Scan
from medical.metrics.overlap import overlap
from medical.protocol.clickers import RitmClicker
from medical.protocol.evaluate_scan import Place, Trial, TrialConfig
from medical.protocol.models import PromptedModel, load_rival
from medical.protocol.prompt_modes import point_at
from medical.protocol.records import Measure
from zim_plugins.core import load_predictor, write_image


def main() -> None:
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:160, :200]
    bone = np.hypot((xs - 90) / 1.6, ys - 80) < 34
    grey = np.clip(70 + 90 * bone + rng.normal(0, 12, bone.shape), 0, 255).astype(np.uint8)
    frames = np.repeat(grey[None, ..., None], 3, axis=3)
    scan = Scan(frames, (Layer(bone[None].astype(np.uint16), {1: "bone"}),), spacing_mm=(1.0, 0.5, 0.5))
    config = TrialConfig(prompts=("mode1", "mode5", "clicks"), max_clicks=5, measure=Measure(surfaces=False))
    models = [PromptedModel(load_predictor("zim_tiny"), name="zim_tiny"), load_rival("box")]
    for model in models:
        outcome = Trial(scan, model, Place("made-up", "patient_0001", "case_0001"), config).run()
        for row in outcome.rows:
            print(f"{row.model:9} {row.prompt:7} clicks {row.n_clicks}: IoU {row.iou:.3f}, Dice {row.dice:.3f}")
    # The same by hand: the box as the model takes it, and its matte.
    predictor = load_predictor("zim_tiny")
    predictor.set_image(frames[0])
    matte = predictor.predict(point_at(bone, "mode5", RitmClicker()).prompts()[0]).alpha
    print(f"{write_image(Path('outputs/examples/bone.png'), matte)}: IoU {overlap(matte > 0.5, bone).iou:.3f}")


if __name__ == "__main__":
    main()
