"""Fine-tuning on a handful of masks: zim_tiny with low-rank adapters, before and after on patients held apart.

python examples/07_medical_lora.py [DIR LAYOUT STEPS], such as Kvasir-SEG kvasir-seg 100

Every other patient is kept apart. Four steps on made-up pictures show the way and teach nothing.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from medical.aggregate import contrasts
from medical.layouts import find_layout
from medical.models import PromptedModel
from medical.pairing import CaseFiles, find_cases
from medical.reading import read_scan
from medical.rows import Measure, Row
from medical.trial import Place, Trial, TrialConfig
from zim_plugins.core import load_predictor, write_image
from zim_plugins.core.checkpoints import require
from zim_plugins.training.library import Library, Photo
from zim_plugins.training.loop import Trainer
from zim_plugins.training.recipes import TINY
from zim_plugins.training.scenes import SceneMix
from zim_plugins.training.schedule import Recipe, Stage

OUT = Path("outputs/medical_lora")
CONFIG = TrialConfig(prompts=("mode1", "mode5"), measure=Measure(surfaces=False))


def main(folder: str = "", layout: str = "folder", steps: str = "4") -> None:
    cases, _ = find_cases(Path(folder) if folder else make_up(OUT / "made-up"), find_layout(layout))
    apart = set(sorted({case.group for case in cases})[1::2])
    training = Library([as_photo(case) for case in cases if case.group not in apart])
    settings = replace(TINY, start=require("zim_tiny"), lora_rank=4, mix=SceneMix(objects=1, segments=0))
    recipe = Recipe("medical", settings, (Stage(256, 4, int(steps)),), lr=3e-4, warmup_steps=5, ema_decay=0.9)
    Trainer(recipe, settings.task(training, None, recipe.seed), OUT).run()
    tested = [case for case in cases if case.group in apart]
    rows = [*asked("after", OUT / "best.safetensors", tested), *asked("before", "zim_tiny", tested)]
    print(f"trained on {training.describe()}; tested on {len(tested)} cases of {len(apart)} patients; research only")
    for contrast in contrasts(rows, ["after", "before"], max_clicks=0):
        print(contrast.says)


def as_photo(case: CaseFiles) -> Photo:
    scan = read_scan(case)
    return Photo(case.key, np.array(scan.frames[0]), tuple(np.uint8(255) * t.mask for t in scan.targets(0)))


def asked(name: str, checkpoint: str | Path, cases: list[CaseFiles]) -> list[Row]:
    model = PromptedModel(load_predictor(checkpoint, zoom=False, refine="none"), name=name)
    return [
        row
        for case in cases
        for row in Trial(read_scan(case), model, Place("held apart", case.group, case.key), CONFIG).run().rows
    ]


def make_up(folder: Path) -> Path:
    rng, (ys, xs) = np.random.default_rng(0), np.mgrid[:96, :128]
    for i in range(4):
        lesion = np.hypot((xs - rng.uniform(40, 90)) / 1.5, ys - rng.uniform(35, 60)) < rng.uniform(14, 24)
        grey = ((110 - 60 * lesion) * rng.gamma(9, 1 / 9, lesion.shape)).clip(0, 255)
        write_image(folder / "images" / f"{i}.png", grey.astype(np.uint8))
        write_image(folder / "masks" / f"{i}.png", np.uint8(255) * lesion)
    return folder


if __name__ == "__main__":
    main(*sys.argv[1:])
