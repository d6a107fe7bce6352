"""`zim-inpaint-eval`: removals scored on composites of known truth, on anybody's folders, and on objects of COCO."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import UseAppendAction, arg

from zim_plugins.cli.evaluations import EvaluationArgs
from zim_plugins.cli.options import Former, parse_command
from zim_plugins.cli.runtime import Misuse, run

if TYPE_CHECKING:
    from .cases import Listed
    from .folders import Tell

logger = logging.getLogger(__name__)


Mattes = Annotated[str, arg(name="model", metavar="A,B,..."), Former("--mattes", "--models")]


@dataclass(frozen=True, kw_only=True)
class RunArgs(EvaluationArgs):
    """Options of all three."""

    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])] = Path("outputs/inpaint_evaluation")
    """Folder for report.html, report.json, tables.md, tables.tex, rows.csv and pictures/. Run again after a kill."""
    models: Mattes = "truth,zim_tiny"
    """Sources of mattes: truth, and models asked with the object's tight box: zim_tiny, grabcut, sam_vit_b, a file,
    FILE.py:FUNCTION."""
    fillers: Annotated[str, arg(metavar="A,B,...")] = "patchmatch"
    """As `zim-inpaint --backend` names them."""
    compare: Literal["methods", "mattes"] = "methods"
    """What tests and tables set against each other; the other is held fixed."""
    every: Annotated[int, arg(metavar="N")] = 1
    """Take every Nth case only."""
    clip: Annotated[Path | None, arg(metavar="DIR")] = None
    """Local folder of transformers' CLIP (ViT-B/32) for CLIP accuracy and distance."""
    inception: Annotated[Path | None, arg(metavar="FILE")] = None
    """inception-2015-12-05.pt, for FID."""
    no_pictures: bool = False
    """Draw no results."""
    keep_results: bool = False
    """Keep every result as a PNG in results/, for other metrics."""


@dataclass(frozen=True, kw_only=True)
class CompositesArgs(RunArgs):
    """Cut-outs laid over photographs: the truth behind the object is known. LPIPS where its weights are at hand."""

    cutouts: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="PATH")]] = ()
    """RGBA images: files, folders, globs."""
    backgrounds: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="PATH")]] = ()
    """Photographs: files, folders, globs, sample:NAME."""
    per_cutout: Annotated[int, arg(metavar="N")] = 2
    """Backgrounds for each cut-out."""
    half: Literal["report", "choose", "both"] = "report"
    """This project's settings were chosen on one half of names; numbers are reported on the other."""
    methods: Annotated[str, arg(metavar="A,B,...")] = "ours,support,alpha,hard,hard15"
    """ours, support, alpha, hard, hard15, ia: see docs/inpaint_evaluation.md."""
    fills: Literal["shared", "own"] = "shared"
    """One fill for all methods, so that nothing else differs; or each fills its own hole, as tools do."""


@dataclass(frozen=True, kw_only=True)
class FoldersArgs(RunArgs):
    """Folders image/, mask/ and, if known, clean/, paired by stem. Scores that need the clean image only with it."""

    data: Annotated[Path, arg(metavar="DIR")]
    """Holds the folders."""
    methods: Annotated[str, arg(metavar="A,B,...")] = "ours,support,alpha,hard,hard15"
    """ours, support, alpha, hard, hard15, ia."""
    results: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="NAME=DIR")]] = ()
    """Results of another tool, called as their images (a.* or a_*.*), scored beside the methods. Repeatable."""
    fills: Literal["shared", "own"] = "own"
    """One fill for all methods, or each its own."""


@dataclass(frozen=True, kw_only=True)
class CocoArgs(RunArgs):
    """The paper's experiment: objects of COCO removed by Inpaint Anything's procedure, with masks of several sources.

    CLIP accuracy @1/3/5 and CLIP distance with --clip, FID with --inception.
    """

    data: Annotated[Path, arg(metavar="DIR")]
    """COCO (annotations/instances_val2017.json, val2017/), or a click set such as COCO_MVal (images/, masks/)."""
    split: Literal["val", "train"] = "val"
    """Of COCO."""
    models: Mattes = "truth,zim_tiny,grabcut"
    """truth: COCO's drawn masks; and models asked with the object's tight box."""
    compare: Literal["methods", "mattes"] = "mattes"
    """What tests and tables set against each other."""
    methods: Annotated[str, arg(metavar="A,B,...")] = "ia"
    """ia is Inpaint Anything's procedure; ours, support, alpha, hard, hard15 beside it."""
    fills: Literal["shared", "own"] = "own"
    """One fill for all methods, or each its own."""


COMMANDS: dict[str, type[RunArgs]] = {"composites": CompositesArgs, "coco": CocoArgs, "folders": FoldersArgs}
"""By the first word after `zim-inpaint-eval`."""


def main(args: CompositesArgs | FoldersArgs | CocoArgs) -> int:
    """Evaluate what is not yet evaluated, then write the report."""
    from .command import evaluate

    faults: list[dict[str, str]] = []

    def tell(kind: str, where: str, message: str) -> None:
        faults.append({"kind": kind, "picture": where, "message": message})
        logger.warning("%s: %s: %s", kind, where, message)

    return evaluate(args, _list_cases(args, tell), faults)


def _list_cases(args: "CompositesArgs | FoldersArgs | CocoArgs", tell: "Tell") -> "Sequence[Listed]":
    if args.every < 1:
        raise Misuse(f"--every is at least 1, got {args.every}")
    if isinstance(args, CompositesArgs):
        return _list_composites(args)[:: args.every]
    if isinstance(args, FoldersArgs):
        from .folders import list_folders

        return list_folders(args.data, tell)[:: args.every]
    from .coco import list_coco

    return list_coco(args.data, tell, split=args.split, every=args.every)


def _list_composites(args: CompositesArgs) -> "list[Listed]":
    from zim_plugins.core import ImageError, expand_inputs, output_stems

    from .composites import list_composites, plan_composites

    if not args.cutouts or not args.backgrounds:
        raise Misuse("name RGBA cut-outs with --cutouts and photographs with --backgrounds")
    try:
        cutouts, backgrounds = expand_inputs(args.cutouts), expand_inputs(args.backgrounds)
        for sources in (cutouts, backgrounds):
            output_stems(sources)  # raises where two have one name
        halves = ("choose", "report") if args.half == "both" else (args.half,)
        return list_composites(plan_composites(cutouts, backgrounds, per_cutout=args.per_cutout, halves=halves))
    except (ImageError, ValueError) as error:
        raise Misuse(str(error)) from error


def entrypoint(argv: Sequence[str] | None = None) -> None:
    """Run `zim-inpaint-eval`."""
    args = parse_command(COMMANDS, argv, prog="zim-inpaint-eval", description="Object removal, scored.")
    raise SystemExit(run(main, args, package="inpaint"))
