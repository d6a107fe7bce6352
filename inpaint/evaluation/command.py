"""Steps that all three commands share: mattes, removals, scores, report."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zim_plugins.cli.evaluations import tell_failures, words_of
from zim_plugins.cli.reporting import progress_bar
from zim_plugins.cli.runtime import Misuse

if TYPE_CHECKING:
    from .cases import Listed
    from .cli import CocoArgs, CompositesArgs, FoldersArgs
    from .run import Plan
    from .scoring import Networks

    Args = CompositesArgs | FoldersArgs | CocoArgs

logger = logging.getLogger(__name__)


def evaluate(args: "Args", cases: "Sequence[Listed]", faults: list[dict[str, str]]) -> int:
    """Evaluate what is not yet evaluated, then write the report; answers with the exit code.

    Raises:
        Misuse: the arguments cannot work.
    """
    from zim_plugins.evaluation import load_model, open_results

    from .run import TRUTH, evaluate_cases, unit_of

    if not cases:
        raise Misuse("there is no case to evaluate: see --help for how the data should lie")
    networks, missing = _networks(args, cases)
    plan = _plan(args, networks)
    with open_results({plan.store(matte): plan.signature(matte) for matte in plan.mattes}):
        for matte in plan.mattes:
            store = plan.store(matte)
            left = [case for case in cases if store.find(unit_of(case), plan.inputs(case))[0] != "done"]
            if len(left) < len(cases):
                logger.info("%s: %d of %d cases are done", matte, len(cases) - len(left), len(cases))
            if not left:
                continue
            predictor = None if matte == TRUTH else load_model(matte, plan.options)
            with progress_bar(len(left), "case", matte) as bar:
                evaluate_cases(predictor, matte, left, plan, networks=networks, tick=bar.update)
        return _write(args, plan, cases, faults, missing)


def _plan(args: "Args", networks: "Networks") -> "Plan":
    """Return the plan of a run; faulty arguments are reported before anything runs."""
    from zim_plugins.evaluation import describe_model

    from ..inpainters.registry import choose_backend
    from .methods import METHODS
    from .others import OtherTool
    from .run import TRUTH, Plan

    mattes, fillers, methods = args.checked_models(), words_of(args.fillers), words_of(args.methods)
    for option, words in (("fillers", fillers), ("methods", methods)):
        if not words or len(set(words)) < len(words):
            raise Misuse(f"--{option} names each once, got {', '.join(words) or 'none'}")
    if unknown := [m for m in methods if m not in METHODS]:
        raise Misuse(f"--methods are {', '.join(METHODS)}, got {', '.join(unknown)}")
    try:
        fillers = tuple(choose_backend(name)[0] for name in fillers)
    except ValueError as error:
        raise Misuse(str(error)) from error
    try:
        others = tuple(OtherTool.parse(text) for text in getattr(args, "results", ()))
    except ValueError as error:
        raise Misuse(str(error)) from error
    names = [*methods, *(other.name for other in others)]
    for other in others:
        if not other.folder.is_dir():
            raise Misuse(f"--results {other.name}={other.folder}: there is no such folder")
        if names.count(other.name) > 1 or other.name in METHODS:
            raise Misuse(f"--results: {other.name} is the name of another method, choose one of your own")
    sha256 = {m: describe_model(m)["sha256"] for m in mattes if m != TRUTH}
    weights = tuple(name for name in ("lpips", "clip", "inception") if getattr(networks, name) is not None)
    return Plan(
        *(args.out, mattes, sha256, fillers, methods, args.fills, not args.no_pictures),
        others=others,
        keep_results=args.keep_results,
        weights=weights,
        options=args.model_options(),
    )


def _networks(args: "Args", cases: "Sequence[Listed]") -> "tuple[Networks, dict[str, str]]":
    """The scores that need weights, and why some cannot be had. A folder or file that was named must work."""
    from .clip import Clip
    from .fid import Inception
    from .perceptual import Lpips
    from .scoring import Networks

    missing: dict[str, str] = {}
    lpips = clip = inception = None
    try:
        lpips = Lpips()
    except FileNotFoundError as error:
        missing["LPIPS"] = str(error)
    try:
        if args.clip is None:
            missing["CLIP"] = "no folder was named with --clip"
        else:
            clip = Clip(args.clip, [case.category for case in cases])
        if args.inception is None:
            missing["FID"] = "no file was named with --inception"
        else:
            inception = Inception(args.inception)
    except (FileNotFoundError, ValueError) as error:
        raise Misuse(str(error)) from error
    for score, reason in missing.items():
        logger.info("%s is left out: %s", score, reason)
    return Networks(lpips, clip, inception), missing


def _write(
    args: "Args", plan: "Plan", cases: "Sequence[Listed]", faults: list[dict[str, str]], missing: dict[str, str]
) -> int:
    """The report from all rows on the disk."""
    from zim_plugins.evaluation import describe_model, describe_run
    from zim_plugins.evaluation.report import comparison_sections, write_report

    from .report import ROW_COLUMNS, arrange, build_report
    from .run import TRUTH, describe_plan, fingerprint, unit_of
    from .tables import build_tables

    found = [row for m in plan.mattes for case in cases for row in plan.store(m).read(unit_of(case)).rows]
    rows = arrange(found, args.compare)
    models = [describe_model(m) for m in plan.mattes if m != TRUTH]
    name = type(args).__name__.removesuffix("Args").lower()
    dataset = {"name": name, "split": f"({len(cases)} cases)", "cases": len(cases)}
    dataset |= {"sha256_of_names_and_sizes": fingerprint(cases)}
    report = build_report(rows, faults, missing, describe_run(describe_plan(plan), models, dataset), args.out)
    report["provenance"]["missing_scores"] = missing
    tables = build_tables(report)
    write_report(
        args.out,
        report,
        title=f"Evaluation on {name} {dataset['split']}",
        sections=comparison_sections(report, tables, rows, args.out),
        tables=tables,
        columns=ROW_COLUMNS,
        rows=rows,
    )
    print(args.out)
    return tell_failures(report["failures"])
