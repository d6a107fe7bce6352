"""`zim ablate`: one table of the paper by one command, at any scale from a miniature to the paper's."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from zim_plugins.cli.runtime import DONE, CommandArgs, Misuse

if TYPE_CHECKING:
    from zim_plugins.training.recipe import Recipe

logger = logging.getLogger(__name__)

TableName = Literal["sga-stl", "attention", "decoder", "data"]
DEFAULT_RECIPES = {"sga-stl": "converter_tiny", "attention": "zim_vit_b", "decoder": "zim_vit_b", "data": "zim_vit_b"}
MINIATURE = "_dry_run"
"""Recipes of this ending are of the same build and take seconds."""
PUBLISHED_DECODER = {
    "SAM's decoder": (13.623, 2.718, 6.516),
    "SAM's decoder, masked attention": (13.198, 2.504, 6.445),
    "hierarchical decoder": (11.074, 2.094, 5.401),
    "hierarchical decoder, masked attention": (9.961, 1.893, 4.813),
}
"""ZIM, Table 4a, as a published summary of the paper cites it: MicroMat-3K fine, box: SAD, MSE, Grad (profile zim)."""


@dataclass(frozen=True, kw_only=True)
class AblateArgs(CommandArgs):
    """Train every row of one of the paper's ablation tables alike, and tabulate them; a killed run continues."""

    table: Annotated[Positional[TableName], arg(metavar="TABLE")]
    """sga-stl (Table 3), decoder (4a), attention (4b), data (SA1B-Matte against public mattes)."""
    data: Annotated[Path, arg(metavar="DIR")]
    """Folder with matting/ and segmentation/."""
    shards: Annotated[Path | None, arg(metavar="DIR")] = None
    """Converted mattes (SA1B-Matte), for `data`: adds their row."""
    photographs: Annotated[Path | None, arg(metavar="DIR")] = None
    """SA-1B's shards, where --shards were written without the photographs."""
    recipe: Annotated[str | None, arg(metavar="NAME")] = None
    """What to vary; the miniature of the paper's if left out."""
    scale: Literal["miniature", "paper"] = "miniature"
    """Seconds on a CPU, which shows that it runs and no more; or the recipe as it is."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Steps of each row, divided among the stages as in the recipe."""
    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])] = Path("outputs/ablation")
    """Folder with one run for each row, ablation.json and ablation.md."""
    device: Annotated[str, arg(metavar="auto|cpu|cuda|mps")] = "auto"
    """Where to train."""
    evaluate_on: Annotated[str | None, arg(metavar="NAME")] = None
    """Data set that the rows are then evaluated on, as by `zim evaluate`: micromat3k for the paper's tables."""
    evaluation_data: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of that data set."""


def main(args: AblateArgs) -> int:
    """Train, tabulate, and evaluate where a data set is named."""
    recipe = _recipe(args)
    if not args.data.is_dir():
        raise Misuse(f"--data {args.data} is no folder: name the one that holds matting/ and segmentation/")
    if (args.evaluate_on is None) != (args.evaluation_data is None):
        raise Misuse("--evaluate-on and --evaluation-data go together")
    if args.evaluate_on is not None and args.table == "sga-stl":
        raise Misuse("--evaluate-on scores mattes of prompts; the converter is scored on held-out labels")
    if args.shards is not None and args.table != "data":
        raise Misuse("--shards is for the table `data`")

    from zim_plugins.core.load import resolve_device

    device = resolve_device(args.device)
    rows = {name: _train(args, name, varied, device) for name, varied in variants(args.table, recipe).items()}
    if args.shards is not None:
        rows["SA1B-Matte"] = _train(args, "SA1B-Matte", recipe, device)
    _write(args, recipe, rows)
    if args.evaluate_on is None or args.evaluation_data is None:
        print(args.out)
        return DONE
    from zim_plugins.cli.commands.evaluate import EvaluateArgs
    from zim_plugins.cli.commands.evaluate import main as evaluate

    models = ",".join(str(_folder(args, name) / "best.safetensors") for name in rows)
    return evaluate(
        EvaluateArgs(
            dataset=args.evaluate_on,
            data=args.evaluation_data,
            models=models,
            prompts="box",
            out=args.out / "evaluation",
            device=args.device,
        )
    )


def variants(table: TableName, recipe: "Recipe") -> "dict[str, Recipe]":
    """The rows of a table: the recipe with one thing changed, all else and the seed equal."""
    from zim_plugins.label_converter.task import ConverterSettings
    from zim_plugins.training.samples.compositing import SceneMix
    from zim_plugins.training.task import ZimSettings

    settings = recipe.settings
    changed: dict[str, Any]
    if table == "sga-stl":
        if not isinstance(settings, ConverterSettings):
            raise Misuse(f"{recipe.name} is no recipe of a label converter")
        switches = {"neither": (False, False), "SGA": (True, False), "STL": (False, True), "SGA and STL": (True, True)}
        changed = {
            name: replace(settings, sampling=replace(settings.sampling, sga=sga, stl=stl))
            for name, (sga, stl) in switches.items()
        }
    elif not isinstance(settings, ZimSettings):
        raise Misuse(f"{recipe.name} is no recipe of a zim")
    elif table == "data":
        mixes = {"public mattes": SceneMix(objects=0, segments=0), "masks": SceneMix(objects=0.6, segments=0.4)}
        changed = {name: replace(settings, mix=mix) for name, mix in mixes.items()}
    else:
        builds: dict[str, dict[str, Any]] = {
            "attention": {name: {"masked_attention": name} for name in ("none", "t2i", "i2t", "both")},
            "decoder": {
                "SAM's decoder": {"pixel_decoder": "sam", "masked_attention": "none"},
                "SAM's decoder, masked attention": {"pixel_decoder": "sam", "masked_attention": "t2i"},
                "hierarchical decoder": {"pixel_decoder": "hierarchical", "masked_attention": "none"},
                "hierarchical decoder, masked attention": {"pixel_decoder": "hierarchical", "masked_attention": "t2i"},
            },
        }
        changed = {name: replace(settings, config=replace(settings.config, **b)) for name, b in builds[table].items()}
    return {name: replace(recipe, settings=varied) for name, varied in changed.items()}


def _recipe(args: AblateArgs) -> "Recipe":
    from zim_plugins.label_converter.recipes import CONVERTER_RECIPES
    from zim_plugins.training.recipes import RECIPES

    known = CONVERTER_RECIPES if args.table == "sga-stl" else RECIPES
    name = args.recipe or DEFAULT_RECIPES[args.table]
    if args.scale == "miniature" and args.recipe is None:
        name += MINIATURE
    if name not in known:
        raise Misuse(f"there is no recipe {name!r} for this table; known are {', '.join(known)}")
    recipe = known[name]
    if args.steps is None:
        return recipe
    if args.steps < len(recipe.stages):
        raise Misuse(f"--steps is at least {len(recipe.stages)}, one for each stage, got {args.steps}")
    shares = [max(1, args.steps * stage.steps // recipe.steps) for stage in recipe.stages]
    shares[0] += args.steps - sum(shares)
    stages = tuple(replace(stage, steps=n) for stage, n in zip(recipe.stages, shares, strict=True))
    return replace(recipe, stages=stages)


def _train(args: AblateArgs, name: str, recipe: "Recipe", device: str) -> dict[str, Any]:
    """Train one row to its end and answer with its last scores on held-out data."""
    from zim_plugins.training.loop import Trainer
    from zim_plugins.training.samples.library import load_library

    library: Any = load_library(args.data, "train")
    held_out = load_library(args.data, "held_out")
    if name == "SA1B-Matte" and args.shards is not None:
        from zim_plugins.training.samples.shards import load_shards
        from zim_plugins.training.task import ZimSettings

        assert isinstance(recipe.settings, ZimSettings)
        library, _ = load_shards(args.shards, args.photographs, recipe.settings.prompts_per_image)
    folder = _folder(args, name)
    trainer = Trainer(recipe, recipe.settings.task(library, held_out, recipe.seed), folder, device=device)
    trainer.resume()
    logger.info("%s: %d of %d steps are done", name, trainer.step, recipe.steps)
    trainer.run()
    log = folder / "log.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    last: dict[str, Any] = next((r for r in reversed(records) if "error" in r), {})
    return {key: value for key, value in last.items() if key.startswith("held_out") or key == "error"}


def _folder(args: AblateArgs, name: str) -> Path:
    return args.out / "".join(c if c.isalnum() else "_" for c in name)


def _write(args: AblateArgs, recipe: "Recipe", rows: dict[str, dict[str, Any]]) -> None:
    from zim_plugins.evaluation.provenance import describe_run
    from zim_plugins.imaging import atomic_write

    settings = {"table": args.table, "recipe": recipe.name, "steps": recipe.steps, "seed": recipe.seed}
    record = {"table": args.table, "rows": rows, "provenance": describe_run(settings, [], {"name": str(args.data)})}
    published = PUBLISHED_DECODER if args.table == "decoder" else {}
    if published:
        record["published"] = {"source": "ZIM, Table 4a, MicroMat-3K fine, box: SAD, MSE, Grad", "rows": published}
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    header = ["Row", *columns, *(["published SAD", "published MSE", "published Grad"] if published else [])]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for name, row in rows.items():
        cells = [name, *(f"{row[c]:.5g}" if c in row else "" for c in columns)]
        lines.append(f"| {' | '.join([*cells, *(str(v) for v in published.get(name, ()))])} |")
    note = f"{recipe.name}, {recipe.steps} steps, seed {recipe.seed}; scores on held-out data of the training folder."
    if published:
        note += " Published: the paper's own scale and data (MicroMat-3K fine, box, profile zim), not measured here."
    for name, text in (("ablation.json", json.dumps(record, indent=1)), ("ablation.md", "\n".join([*lines, "", note]))):
        with atomic_write(args.out / name, durable=True) as stream:
            stream.write(f"{text}\n".encode())
