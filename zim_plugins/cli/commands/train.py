"""`zim train`: a recipe and a folder of data in, a run folder with a checkpoint out."""

import logging
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from zim_plugins.cli.runtime import DONE, CommandArgs, Misuse

if TYPE_CHECKING:
    from zim_plugins.training.distributed import Processes
    from zim_plugins.training.recipe import Recipe, Task

logger = logging.getLogger(__name__)

REHEARSED_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class TrainArgs(CommandArgs):
    """Train a network; run the same command again after a kill, and it continues exactly where it was.

    Several processes: torchrun --nproc-per-node N --no-python zim train ...
    """

    network: Annotated[Positional[Literal["zim", "converter"]], arg(metavar="zim|converter")]
    """What to train: the matting network, or the label converter that makes its training data."""
    recipe: Annotated[str | None, arg(metavar="NAME")] = None
    """zim_tiny, zim_vit_b, zim_vit_b_objects, zim_vit_l; converter_tiny, converter_hiera_bp; with _dry_run after it,
    a few steps of a small network. The tiny one if left out."""
    data: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder with matting/{cutouts,rigid,backgrounds} and segmentation/{bsds500,objects/coco_mval}; for zim also one
    of SA1B-Matte shards, as `zim convert` makes them."""
    photographs: Annotated[Path | None, arg(metavar="DIR")] = None
    """The SA-1B shards that the mattes were made from; not needed where the photographs were copied."""
    objects: Annotated[Path | None, arg(metavar="DIR")] = None
    """Mattes of whole objects beside the parts of --data, for zim_vit_b_objects: folders as --data has them, or
    shards."""
    objects_share: Annotated[float | None, arg(metavar="SHARE")] = None
    """Share of the images that show whole objects of --objects, in [0, 1], instead of the recipe's."""
    mattes: Annotated[Path | None, arg(metavar="DIR")] = None
    """What `zim convert` made of the object masks of --data: takes their place."""
    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])] = Path("outputs/train")
    """Folder of the run: last.pt to continue from, log.jsonl, best.safetensors."""
    start: Annotated[Path | None, arg(name="from", metavar="FILE")] = None
    """Weights that ZIM starts from: SAM's official .pth, or a .safetensors of this project."""
    trunk_weights: Annotated[Path | None, arg(metavar="FILE")] = None
    """Published weights of SAM 2 or Hiera that the converter's backbone starts from."""
    freeze: Annotated[tuple[str, ...], arg(metavar="PART...")] = ()
    """Parts that stay as they are, such as image_encoder or mask_decoder.transformer; of a converter, backbone."""
    lora: Annotated[int | None, arg(metavar="RANK")] = None
    """Train low-rank adapters in ZIM's encoder instead of the encoder."""
    batch_size: Annotated[int | None, arg(metavar="N")] = None
    """Images in a step, of all processes together, instead of the recipe's."""
    lr: Annotated[float | None, arg(metavar="RATE")] = None
    """Peak learning rate instead of the recipe's."""
    seed: Annotated[int | None, arg(metavar="N")] = None
    """Seed of weights and samples instead of the recipe's."""
    max_steps: Annotated[int | None, arg(metavar="N")] = None
    """Take at most so many steps now."""
    dry_run: bool = False
    """Take a few steps, say what the whole run costs, and write nothing."""
    hourly_price: Annotated[float | None, arg(metavar="PRICE")] = None
    """Of one GPU (or of this machine, without one); the estimate then says what the run costs."""
    tensorboard: bool = False
    """Write curves, and images at every held-out check, to the run's folder tensorboard/."""
    device: Annotated[str, arg(metavar="auto|cpu|cuda|mps")] = "auto"
    """Where to train."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """What the network computes in; weights stay in fp32."""
    parallel: Literal["ddp", "fsdp"] | None = None
    """How processes started by torchrun share the work: every one with all weights (ddp, what is done if nothing is
    said), or each with a part of them (fsdp)."""


def main(args: TrainArgs) -> int:
    """Train, continuing what lies in the run's folder."""
    recipe = _recipe(args)
    if args.data is None or not args.data.is_dir():
        raise Misuse(
            f"--data {args.data} is no folder: name the one that holds matting/ and segmentation/, or shards of mattes"
        )
    _check(args)

    from zim_plugins.core.load import resolve_device
    from zim_plugins.training.distributed import join_processes

    with join_processes(args.parallel, resolve_device(args.device)) as (processes, device):
        if not processes.leads:
            logging.getLogger("zim_plugins").setLevel(logging.WARNING)
        task = _task(args, recipe, args.data)
        if args.dry_run:
            return _rehearse(args, recipe, task, processes, device)
        return _train(args, recipe, task, processes, device)


def _recipe(args: TrainArgs) -> "Recipe":
    """The recipe of that name, with what the command line says otherwise."""
    from zim_plugins.label_converter.recipes import CONVERTER_RECIPES
    from zim_plugins.training.recipes import RECIPES

    known = RECIPES if args.network == "zim" else CONVERTER_RECIPES
    name = args.recipe or f"{args.network}_tiny"
    if name not in known:
        raise Misuse(f"there is no recipe {name!r} of a {args.network}; known are {', '.join(known)}")
    recipe = known[name]
    if args.batch_size is not None:
        if args.batch_size < 1:
            raise Misuse(f"--batch-size is at least 1, got {args.batch_size}")
        recipe = replace(recipe, stages=tuple(replace(s, batch_size=args.batch_size) for s in recipe.stages))
    if args.lr is not None:
        if not (0 < args.lr < math.inf):
            raise Misuse(f"--lr is above 0, got {args.lr:g}")
        recipe = replace(recipe, lr=args.lr)
    return recipe if args.seed is None else replace(recipe, seed=args.seed)


def _check(args: TrainArgs) -> None:
    """Refuse what cannot work before anything heavy is loaded."""
    only_zim = {
        "--from": args.start,
        "--photographs": args.photographs,
        "--objects": args.objects,
        "--objects-share": args.objects_share,
        "--mattes": args.mattes,
        "--lora": args.lora,
    }
    only_converter = {"--trunk-weights": args.trunk_weights}
    for option, value in (only_converter if args.network == "zim" else only_zim).items():
        if value is not None:
            raise Misuse(f"{option} is not for a {args.network}")
    for option, folder in {
        "--photographs": args.photographs,
        "--objects": args.objects,
        "--mattes": args.mattes,
    }.items():
        if folder is not None and not folder.exists():
            raise Misuse(f"{option} {folder} does not exist")
    for option, path in {"--from": args.start, "--trunk-weights": args.trunk_weights}.items():
        if path is not None and not path.is_file():
            raise Misuse(f"{option} {path} is no file")
    for option, number in {"--max-steps": args.max_steps, "--lora": args.lora}.items():
        if number is not None and number < 1:
            raise Misuse(f"{option} is at least 1, got {number}")
    if args.objects_share is not None and not 0 <= args.objects_share <= 1:
        raise Misuse(f"--objects-share lies in [0, 1], got {args.objects_share:g}")
    if args.objects_share is not None and args.objects is None:
        raise Misuse("--objects-share mixes whole objects in: name their folder with --objects")
    if args.seed is not None and args.seed < 0:
        raise Misuse(f"--seed is at least 0, got {args.seed}")
    if args.hourly_price is not None and args.hourly_price < 0:
        raise Misuse(f"--hourly-price is at least 0, got {args.hourly_price:g}")


def _task(args: TrainArgs, recipe: "Recipe", data: Path) -> "Task":
    """Return the training task on the data of a folder."""
    from zim_plugins.label_converter.task import ConverterSettings
    from zim_plugins.training.samples.library import load_library
    from zim_plugins.training.samples.mixed import MixedLibrary
    from zim_plugins.training.samples.shards import load_shards
    from zim_plugins.training.task import ZimSettings

    settings = recipe.settings
    shards = any(data.glob("*.done.json"))
    if isinstance(settings, ConverterSettings):
        if shards:
            raise Misuse(f"--data {data} holds mattes that a converter made: train a converter on the true ones")
        masks = data / "segmentation/objects/coco_mval/masks"  # their names tell which things are rigid
        settings = replace(
            settings, stl_masks=masks if masks.is_dir() else None, trunk_weights=args.trunk_weights, frozen=args.freeze
        )
    elif isinstance(settings, ZimSettings):
        settings = replace(settings, start=args.start, frozen=args.freeze, lora_rank=args.lora or 0)
        if (settings.objects_share is None) != (args.objects is None):
            raise Misuse(
                f"the recipe {recipe.name} mixes whole objects in: name their folder with --objects"
                if args.objects is None
                else f"the recipe {recipe.name} takes no --objects: zim_vit_b_objects does"
            )
        if args.objects_share is not None:
            settings = replace(settings, objects_share=args.objects_share)
    library: Any
    held_out: Any
    if shards and isinstance(settings, ZimSettings):
        library, held_out = load_shards(data, args.photographs, settings.prompts_per_image)
    else:
        library = load_library(data, "train", args.mattes)
        held_out = load_library(data, "held_out", args.mattes)
    if args.objects is not None and isinstance(settings, ZimSettings):
        if any(args.objects.glob("*.done.json")):
            whole, whole_held_out = load_shards(args.objects, None, settings.prompts_per_image)
        else:
            whole, whole_held_out = load_library(args.objects, "train"), load_library(args.objects, "held_out")
        library = MixedLibrary(library, whole)
        held_out = (
            MixedLibrary(held_out, whole_held_out) if held_out is not None and whole_held_out is not None else None
        )
    logger.info("%s: %d steps on %s", recipe.name, recipe.steps, library.describe())
    return settings.task(library, held_out, recipe.seed)


def _options(args: TrainArgs, recipe: "Recipe", processes: "Processes", device: str) -> dict[str, Any]:
    """Return the trainer's options."""
    import torch

    return {
        "device": device,
        "dtype": {"fp32": torch.float32, "bf16": torch.bfloat16}[args.dtype],
        "save_every": recipe.save_every,
        "check_every": recipe.check_every,
        "check_batches": recipe.check_batches,
        "processes": processes,
        "hourly_price": args.hourly_price,
    }


def _rehearse(args: TrainArgs, recipe: "Recipe", task: "Task", processes: "Processes", device: str) -> int:
    from zim_plugins.training.loop import Trainer, rehearse

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, task, Path(folder), **_options(args, recipe, processes, device))
        cost = rehearse(trainer, REHEARSED_STEPS)
    if processes.leads:
        print(cost.describe())
    return DONE


def _train(args: TrainArgs, recipe: "Recipe", task: "Task", processes: "Processes", device: str) -> int:
    from zim_plugins.training.loop import Trainer
    from zim_plugins.training.tensorboard import TensorBoard

    trainer = Trainer(recipe, task, args.out, **_options(args, recipe, processes, device))
    if trainer.resume():
        logger.info("continuing from step %d", trainer.step)
    if args.tensorboard and processes.leads:
        trainer.board = TensorBoard(args.out / "tensorboard", trainer.step)
    try:
        trainer.run(args.max_steps)
    finally:
        if trainer.board is not None:
            trainer.board.close()
    if processes.leads:
        print(args.out)
    return DONE
