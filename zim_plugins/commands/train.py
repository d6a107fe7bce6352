"""`zim train`: a recipe and a folder of data in, a run folder with a checkpoint out."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from zim_plugins.commands.session import DONE, CommandArgs, Misuse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainArgs(CommandArgs):
    """Train a model; run the same command again after a kill, and it continues exactly where it was."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE")] = "zim_tiny"
    """What to train: zim_tiny, converter_tiny, converter_hiera_bp; zim_tiny_dry_run and converter_tiny_dry_run take a
    few steps only."""
    data: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder with matting/{cutouts,rigid,backgrounds} and segmentation/{bsds500,objects/coco_mval}."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("outputs/train")
    """Folder of the run: last.pt to continue from, log.jsonl, best.safetensors."""
    device: Annotated[str, arg(metavar="auto|cpu|cuda|mps")] = "auto"
    """Where to train."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """What the network computes in; weights stay in fp32."""
    max_steps: Annotated[int | None, arg(metavar="N")] = None
    """Take at most so many steps now."""


def main(args: TrainArgs) -> int:
    """Train, continuing what lies in the run's folder."""
    from zim_plugins.label_converter.recipes import CONVERTER_RECIPES
    from zim_plugins.label_converter.task import ConverterSettings
    from zim_plugins.training.recipes import RECIPES

    recipes = {**RECIPES, **CONVERTER_RECIPES}
    if args.recipe not in recipes:
        raise Misuse(f"there is no recipe {args.recipe!r}; known are {', '.join(recipes)}")
    if args.data is None or not args.data.is_dir():
        raise Misuse(f"--data {args.data} is no folder: name the one that holds matting/ and segmentation/")
    if args.max_steps is not None and args.max_steps < 1:
        raise Misuse(f"--max-steps is at least 1, got {args.max_steps}")

    import torch

    from zim_plugins.core.build import resolve_device
    from zim_plugins.training.library import load_library
    from zim_plugins.training.loop import Trainer

    recipe = recipes[args.recipe]
    if isinstance(recipe.settings, ConverterSettings):  # masks' names tell which things are rigid
        masks = args.data / "segmentation/objects/coco_mval/masks"
        recipe = replace(recipe, settings=replace(recipe.settings, stl_masks=masks if masks.is_dir() else None))
    library, held_out = load_library(args.data, "train"), load_library(args.data, "held_out")
    logger.info("%s: %d steps on %s", recipe.name, recipe.steps, library.describe())
    trainer = Trainer(
        recipe,
        recipe.settings.task(library, held_out, recipe.seed),
        args.out,
        device=resolve_device(args.device),
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[args.dtype],
    )
    if trainer.resume():
        logger.info("continuing from step %d", trainer.step)
    trainer.run(args.max_steps)
    print(args.out)
    return DONE
