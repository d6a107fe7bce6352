"""`zim-nvos`: one prompt in one view, scored on other views of the scene."""

import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from zim_plugins.cli.evaluations import EvaluationArgs, ModelNames, tell_failures, words_of
from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.reporting import progress_bar
from zim_plugins.cli.runtime import Misuse, run

if TYPE_CHECKING:
    from .datasets import Task
    from .run import OpenScene, Plan
    from .scene_lookup import Found

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Args(EvaluationArgs):
    """Evaluate 3D segmentation on NVOS, or on SPIn-NeRF's or LERF-Mask's labels.

    Each scene needs a trained nerfacto below --nerfs, or a splat with the cameras that it was trained with; where
    neither is there, the scene's row says the command that trains it.
    Run the same command again after a kill, and it does what is left.

    Writes report.html, report.json, rows.csv, tables.md, tables.tex and images into --out. Exit codes: 0 done, 1
    labels, views or fields are missing or do not fit (each is told in the report), 2 misused.
    """

    root: Annotated[Path, arg(metavar="DIR")]
    """Folder of the data set: of NVOS the one with labels/llff (or masks and scribbles themselves)."""
    dataset: Literal["nvos", "spin", "lerf-mask"] = "nvos"
    """Layout of the labels. spin and lerf-mask take the first view's mask as the prompt."""
    scenes: Annotated[str, arg(metavar="A,B,...")] = "all"
    """Tasks by name, such as fern,horns_left."""
    models: ModelNames = "zim_tiny"
    """Checkpoints by name or file (see `zim models`), or FILE.py:FUNCTION that makes a predictor."""
    protocol: Literal["sa3d", "strict"] = "sa3d"
    """sa3d: the scored view is one of the training views, as SA3D has it. strict: it is hidden from the NeRF, too."""
    seeds: Annotated[int, arg(metavar="N")] = 3
    """Draws of clicks from the scribbles; masks are drawn from once."""
    nerfs: Annotated[Path, arg(metavar="DIR")] = Path("outputs/nerfs")
    """Folder of NeRFs: SCENE/**/config.yml (protocol strict: SCENE_strict/**/config.yml), the newest is taken; or of
    splats: SCENE/**/*.ply, .splat or .spz, with transforms.json, cameras.json or sparse/0 and images there or in the
    capture."""
    field: Literal["auto", "nerf", "splat"] = "auto"
    """What to take of SCENE; auto takes what is there."""
    splat_size: Annotated[int, arg(metavar="PX")] = 480
    """Longer side that photographs of splats are worked at; larger ones are reduced to it."""
    captures: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the captures, SCENE/images; else scenes or nerf_llff_data below --root. Tells the images' names."""
    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])] = Path("outputs/nvos")
    """Folder for the results."""
    estimator: Literal["matte", "sa3d"] = "matte"
    """matte: mean of the mattes, object above 0.5. sa3d: the paper's linear loss, object above 0."""
    lamb: float = 1.0
    """Weight of the background in SA3D's loss."""
    passes: Annotated[int, arg(metavar="N")] = 2
    """Visits of each view."""
    iou_threshold: float = 0.5
    """Views whose matte agrees less with the object so far are rejected."""
    prompting: Literal["points", "box"] = "box"
    """What prompts a further view from the object so far: a box, or clicks as in SA3D."""
    num_prompts: Annotated[int, arg(metavar="N")] = 10
    """Clicks of --prompting points, at most."""
    remark: str = ""
    """A sentence for the top of the report, such as where the labels come from."""
    no_pictures: bool = False
    """Draw no images."""


def main(args: Args) -> int:
    """Evaluate what is left, then write the report."""
    from zim_plugins.evaluation import load_model, open_results

    from .datasets import read_tasks
    from .run import run as evaluate

    models = _checked_models(args)
    tasks, faults = read_tasks(args.dataset, args.root, () if args.scenes == "all" else words_of(args.scenes))
    plan = _plan(args, tasks, models)
    options = args.model_options()

    def open_found(found: "Found") -> "OpenScene":
        if found.splat is not None:
            from ..field.gaussians.scene import open_splat

            return open_splat(found.splat, args.splat_size, "cpu" if args.device == "cpu" else "auto")
        from ..field.scene import open_scene

        if not args.debug:  # what nerfstudio and torch have to settle
            warnings.filterwarnings("ignore", module=r"nerfstudio\.")
        return open_scene(found.path, args.device)

    total = len(plan.tasks) * len(plan.models) * len(plan.seeds)
    with open_results({plan.store(model): plan.signature(model) for model in plan.models}):
        with progress_bar(total, "object") as bar:
            rows = evaluate(plan, open_found, lambda name: load_model(name, options), bar.update)
        code = _write(args, plan, rows, faults)
    print(args.out / "report.html")
    return code


def _checked_models(args: Args) -> list[str]:
    """The models by name, once the arguments make sense."""
    models = list(args.checked_models())
    if not args.root.is_dir():
        raise Misuse(f"--root names the folder of the data set; got {str(args.root)!r}")
    if args.out.exists() and not args.out.is_dir():
        raise Misuse(f"--out {args.out} is a file: name a folder")
    if args.splat_size < 16:
        raise Misuse("--splat-size is at least 16")
    if min(args.seeds, args.passes, args.num_prompts) < 1 or args.lamb <= 0 or not 0 <= args.iou_threshold <= 1:
        raise Misuse("--seeds, --passes and --num-prompts are at least 1, --lamb above 0, --iou-threshold in [0, 1]")
    if args.protocol == "strict" and args.dataset != "nvos":
        raise Misuse(f"--protocol strict is defined for nvos; all masked views of {args.dataset} would be held out")
    return models


def _plan(args: Args, tasks: "list[Task]", models: list[str]) -> "Plan":
    from zim_plugins.evaluation import describe_model

    from ..segmentation.segmenter import SegmenterConfig
    from .datasets import Scribbles
    from .run import Plan
    from .scene_lookup import CAPTURE_PLACES, find_capture

    places = [args.root / place for place in CAPTURE_PLACES] if args.captures is None else [args.captures]
    by_scribbles = any(isinstance(task.prompt, Scribbles) for task in tasks)
    return Plan(
        tasks=tuple(tasks),
        models={name: describe_model(name)["sha256"] for name in models},
        seeds=tuple(range(args.seeds)) if by_scribbles else (0,),
        protocol=args.protocol,
        segmenter=SegmenterConfig(
            estimator=args.estimator,
            lamb=args.lamb,
            passes=args.passes,
            iou_threshold=args.iou_threshold,
            prompting=args.prompting,
            num_prompts=args.num_prompts,
        ),
        model_options={"device": args.device, "zoom": args.zoom_choice, "refine": args.refine},
        nerfs=args.nerfs,
        captures={task.capture: find_capture(places, task.capture) for task in tasks},
        out=args.out,
        draw=not args.no_pictures,
        field=args.field,
        splat_size=args.splat_size,
    )


def _write(args: Args, plan: "Plan", rows: list[dict[str, Any]], faults: dict[str, str]) -> int:
    """Write the report, and return the exit code."""
    from zim_plugins.evaluation import describe_model, describe_run
    from zim_plugins.evaluation.report import write_report

    from .page import page_sections
    from .report import COLUMNS, build_report, build_tables

    settings = asdict(plan.segmenter) | plan.model_options | {"seeds": list(plan.seeds)}
    dataset = {"name": args.dataset, "protocol": args.protocol, "remark": args.remark}
    provenance = describe_run(settings, [describe_model(name) for name in plan.models], dataset)
    report = build_report(rows, faults, provenance)
    tables = build_tables(report)
    write_report(
        args.out,
        report,
        title=f"zim-nvos: {args.dataset}",
        sections=page_sections(report, tables),
        tables=tables,
        columns=COLUMNS,
        rows=rows,
        former="table.csv",
    )
    return tell_failures(report["failures"])


def entrypoint() -> None:
    """Run `zim-nvos`."""
    arguments = parse_arguments(Args, prog="zim-nvos")
    raise SystemExit(run(main, arguments, package="nerf_seg"))
