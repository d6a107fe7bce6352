"""Fine-tuning on a few masks with low-rank adapters: python examples/07_medical_lora.py [DIR LAYOUT STEPS]."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from medical.io.layouts import find_layout
from medical.io.pairing import find_cases
from medical.io.reading import read_scan
from medical.protocol.evaluate_scan import Place, Trial, TrialConfig
from medical.protocol.models import PromptedModel
from medical.protocol.records import Measure
from medical.report.aggregate import contrasts
from zim_plugins.core import load_predictor, write_image
from zim_plugins.core.checkpoints.records import require
from zim_plugins.core.modeling.zim import load_weights
from zim_plugins.training.loop import Trainer
from zim_plugins.training.recipe import Recipe, Stage
from zim_plugins.training.recipes import TINY
from zim_plugins.training.samples.compositing import SceneMix
from zim_plugins.training.samples.library import Library, Photo

OUT, START = Path("outputs/medical_lora"), require("zim_tiny")
CONFIG = TrialConfig(prompts=("mode1", "mode5"), measure=Measure(surfaces=False))


def main(folder: str = "", layout: str = "folder", steps: str = "4") -> None:
    cases, _ = find_cases(Path(folder) if folder else make_up(OUT / "made-up"), find_layout(layout))
    cases = [replace(case, group=case.group or case.key) for case in cases]  # say so only if each is another patient
    apart = set(sorted({case.group for case in cases})[1::2])
    tested, scans = [c for c in cases if c.group in apart], [read_scan(c) for c in cases if c.group not in apart]
    photos = [Photo("", np.array(s.frames[0]), tuple(np.uint8(255) * t.mask for t in s.targets(0))) for s in scans]
    settings = replace(TINY, config=load_weights(START)[0].config, start=START, lora_rank=4)
    settings = replace(settings, mix=SceneMix(objects=1, segments=0))
    recipe = Recipe("medical", settings, (Stage(256, 4, int(steps)),), lr=3e-4, warmup_steps=5, ema_decay=0.9)
    Trainer(recipe, settings.task(Library(photos), None, recipe.seed), OUT).run()
    rows = []
    for name, checkpoint in (("after", OUT / "best.safetensors"), ("before", "zim_tiny")):
        model = PromptedModel(load_predictor(checkpoint, zoom=False, refine="none"), name=name)
        for case in tested:
            rows += Trial(read_scan(case), model, Place("held apart", case.group, case.key), CONFIG).run().rows
    print(f"trained on {len(photos)} cases; tested on {len(tested)} of {len(apart)} patients; research only")
    for contrast in contrasts(rows, ["after", "before"], max_clicks=0):
        print(contrast.says)


def make_up(folder: Path) -> Path:
    rng, (ys, xs) = np.random.default_rng(0), np.mgrid[:96, :128]
    for i in range(4):
        lesion = np.hypot((xs - rng.uniform(40, 90)) / 1.5, ys - rng.uniform(35, 60)) < rng.uniform(14, 24)
        grey = ((110 - 60 * lesion) * rng.gamma(9, 1 / 9, lesion.shape)).clip(0, 255).astype(np.uint8)
        write_image(folder / "images" / f"{i}.png", grey)
        write_image(folder / "masks" / f"{i}.png", np.uint8(255) * lesion)
    return folder


if __name__ == "__main__":
    main(*sys.argv[1:])
