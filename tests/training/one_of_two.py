"""One of two processes that train together; run as a script, with torchrun's environment variables.

`python -m tests.training.one_of_two FOLDER` writes what it saw to FOLDER/RANK.json.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.invented import invented_photo
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.zim import ZIM_CONFIGS, ZimConfig
from zim_plugins.training.distributed import ALONE, Processes, join_processes
from zim_plugins.training.loop import Trainer
from zim_plugins.training.recipe import Recipe, Stage
from zim_plugins.training.samples.library import Cutout, Library
from zim_plugins.training.task import ZimSettings

STEPS = 4
VIT = ViTConfig(16, 2, 2, (1,), frame_px=32, window=2, out_channels=32)
CONFIG = ZimConfig(VIT, 32, mlp_dim=32, detail_channels=(8, 8, 16), decoder_channels=(16, 8, 32))
SETTINGS = ZimSettings(CONFIG, prompts_per_image=2, gradient_checkpointing=True, second_look=0.5)
RECIPE = Recipe("vit", SETTINGS, (Stage(32, 4, STEPS),), lr=1e-3, warmup_steps=2, ema_decay=0.9)


class Losses:
    """A hook that keeps what each step said."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def before_step(self, model: torch.nn.Module, step: int) -> None:
        pass

    def after_step(self, model: torch.nn.Module, step: int, terms: dict[str, float]) -> None:
        self.seen.append(terms)


def library() -> Library:
    photos = [invented_photo(i) for i in range(3)]
    rgba = np.dstack([photos[0].rgb, photos[0].masks[0]])[20:80, 30:90]
    return Library(photos, [Cutout("soft", rgba, rigid=False)], [photos[2].rgb])


def trained(out: Path, processes: Processes = ALONE, recipe: Recipe = RECIPE, parts: int = 1) -> Losses:
    """Train to the end, in several parts between which everything but the run's folder is forgotten."""
    losses, data = Losses(), library()
    for _ in range(parts):
        task = recipe.settings.task(data, data, recipe.seed)
        trainer = Trainer(recipe, task, out, hooks=[losses], check_every=STEPS, check_batches=1, processes=processes)
        trainer.resume()
        trainer.run(STEPS // parts)
    return losses


def main(folder: Path) -> None:
    seen = {}
    with join_processes(None, "cpu") as (processes, _):
        seen["rank"], seen["world"] = processes.share.rank, processes.share.world
        seen["ddp"] = trained(folder / "ddp", processes).seen
        seen["ddp_resumed"] = trained(folder / "ddp_parts", processes, parts=2).seen
        split = replace(processes, parallel="fsdp")
        seen["fsdp"] = trained(folder / "fsdp", split).seen
        seen["fsdp_resumed"] = trained(folder / "fsdp_parts", split, parts=2).seen
        tiny = replace(RECIPE, settings=ZimSettings(replace(ZIM_CONFIGS["tiny"], fusion_depth=0)))
        with np.errstate(all="raise"):
            seen["batch_norm"] = trained(folder / "tiny", processes, replace(tiny, stages=(Stage(32, 2, 1),))).seen
    (folder / f"{seen['rank']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
