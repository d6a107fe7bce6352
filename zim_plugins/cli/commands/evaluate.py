"""`zim evaluate`: models, prompts and a matting set in; a report with its provenance out."""

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from zim_plugins.cli.evaluations import EvaluationArgs, tell_failures, words_of
from zim_plugins.cli.reporting import progress_bar
from zim_plugins.cli.runtime import Misuse, one_line

if TYPE_CHECKING:
    from zim_plugins.evaluation.matting.datasets import EvaluationSet
    from zim_plugins.evaluation.matting.run import Clock, Job

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluateArgs(EvaluationArgs):
    """Score models on a matting set; run the same command again after a kill, and it does what is left.

    Exit code 1 where an image or matte is missing, damaged or of another size, or a prompt cannot be served: each is a
    row of the report.
    """

    dataset: Annotated[str, arg(metavar="NAME")] = "plain"
    """micromat3k, am2k, aim500, p3m10k, alphamatting, rwp636...; an unknown name lists all. plain: images/ with
    alphas/."""
    data: Annotated[Path, arg(metavar="DIR")]
    """Folder of the data set."""
    split: Annotated[str | None, arg(metavar="SPLIT")] = None
    """Of the data set; the one that papers report on if left out."""
    prompts: Annotated[str, arg(metavar="KINDS")] = "point,box"
    """Of point, box, clicks."""
    prompt_source: Literal["dataset", "simulated"] = "dataset"
    """Take the data set's prompts where it has any, else deepest point and tight box; or simulate all."""
    prompts_from: Annotated[Path | None, arg(metavar="FILE")] = None
    """prompts.json of an earlier run: the same prompts for another model."""
    positive: Annotated[int, arg(metavar="N")] = 3
    """Foreground clicks of `clicks`."""
    negative: Annotated[int, arg(metavar="N")] = 2
    """Background clicks of `clicks`."""
    seed: int = 3407
    """Of simulated clicks."""
    profiles: Annotated[str, arg(metavar="NAMES")] = "zim"
    """Definitions of the errors: zim (the release's), dim (the classic benchmark's), dim_unknown (over trimaps)."""
    trimaps: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of trimaps named as the mattes are, for dim_unknown."""
    every: Annotated[int, arg(metavar="N")] = 1
    """Take every Nth image only."""
    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])] = Path("outputs/evaluation")
    """Folder for report.json, report.html, tables.md, tables.tex, rows.csv and prompts.json."""
    workers: Annotated[int, arg(metavar="N")] = 1
    """Processes, each with the model; on several GPUs, as many as these."""
    scorers: Annotated[int, arg(metavar="N")] = 2
    """Threads of a process that score while the model works."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the models."""
    no_pictures: bool = False
    """Draw no results."""


def main(args: EvaluateArgs) -> int:
    """Evaluate what is not yet evaluated, then write the report."""
    from zim_plugins.core.load import resolve_device
    from zim_plugins.evaluation.matting.processes import evaluate_model, model_maker
    from zim_plugins.evaluation.results import open_results

    jobs = _jobs(args)
    data = _load(args)
    for fault in data.faults.faults:
        logger.warning("%s", fault)
    resolve_device(args.device)
    with open_results({job.store: job.signature() for job in jobs.values()}):
        for spec, job in jobs.items():
            left = [one for one in data.images if job.store.find(one.slug, job.inputs(one))[0] != "done"]
            if len(left) < len(data.images):
                logger.info("%s: %d of %d images are done", spec, len(data.images) - len(left), len(data.images))
            if not left:
                continue
            maker = model_maker(spec, job.options, args.workers)
            with progress_bar(len(left), "image", spec) as bar:
                clock = evaluate_model(maker, left, job, workers=args.workers, tick=bar.update)
            logger.info("%s: %d images in %.1f s, %.0f %% of it outside the model", *_told(spec, clock))
            _note_run(args.out, spec, clock)
        return _write(args, jobs, data)


def _jobs(args: EvaluateArgs) -> "dict[str, Job]":
    """Return the work of each model; faulty arguments are reported before anything runs."""
    from zim_plugins.data.faults import DataError
    from zim_plugins.evaluation.matting.run import Job
    from zim_plugins.evaluation.matting.scoring import PROFILES
    from zim_plugins.evaluation.models import describe_model
    from zim_plugins.evaluation.prompting import PromptPlan, read_prompts

    models, profiles = args.checked_models(), words_of(args.profiles)
    unknown = [p for p in profiles if p not in PROFILES]
    if unknown or not profiles:
        raise Misuse(f"--profiles are {', '.join(PROFILES)}, got {', '.join(unknown) or 'none'}")
    if "dim_unknown" in profiles and (args.trimaps is None or not args.trimaps.is_dir()):
        raise Misuse("--profiles dim_unknown scores the unknown pixels of trimaps: name their folder with --trimaps")
    if min(args.workers, args.scorers, args.every) < 1:
        raise Misuse("--workers, --scorers and --every are at least 1")
    try:
        plan = PromptPlan(words_of(args.prompts), args.prompt_source, args.positive, args.negative, args.seed)
        saved = {} if args.prompts_from is None else read_prompts(args.prompts_from)
    except (ValueError, DataError) as error:
        raise Misuse(one_line(error)) from error
    options = args.model_options(dtype=args.dtype)
    common: dict[str, Any] = {
        "options": options,
        "plan": plan,
        "profiles": profiles,
        "prompts": saved,
        "trimaps": args.trimaps,
    }
    common |= {"out": args.out, "draw": not args.no_pictures, "scorers": args.scorers}
    resolved = [_named(spec) for spec in models]
    return {spec: Job(spec, describe_model(spec)["sha256"], **common) for spec in resolved}


def _named(spec: str) -> str:
    """The checkpoint that `auto` means, so that the report can name it."""
    if spec != "auto":
        return spec
    from zim_plugins.core.checkpoints.records import find
    from zim_plugins.core.load import AUTO_ORDER

    return next((name for name in AUTO_ORDER if find(name) is not None), AUTO_ORDER[-1])


def _load(args: EvaluateArgs) -> "EvaluationSet":
    from zim_plugins.data.faults import DataError
    from zim_plugins.evaluation.matting.datasets import dataset_names, default_split, load_evaluation_set

    if args.dataset not in dataset_names():
        raise Misuse(f"there is no data set {args.dataset!r}; known are {', '.join(dataset_names())}")
    try:
        split = args.split or default_split(args.dataset)
    except DataError as error:
        raise Misuse(str(error)) from error
    return load_evaluation_set(args.dataset, args.data, split, every=args.every)


def _write(args: EvaluateArgs, jobs: "dict[str, Job]", data: "EvaluationSet") -> int:
    """The report from all rows on the disk."""
    from zim_plugins.evaluation.models import describe_model
    from zim_plugins.evaluation.prompting import write_prompts
    from zim_plugins.evaluation.provenance import describe_run
    from zim_plugins.evaluation.report.aggregate import ROW_COLUMNS, build_report, matting_comparison
    from zim_plugins.evaluation.report.files import write_report
    from zim_plugins.evaluation.report.sections import comparison_sections
    from zim_plugins.evaluation.report.tables import build_tables

    plan, profiles, options = next((job.plan, job.profiles, job.options) for job in jobs.values())
    rows = [row for job in jobs.values() for image in data.images for row in job.store.read(image.slug).rows]
    prompts: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["given"] is not None:
            prompts.setdefault(row["object"], {})[row["prompt"]] = row["given"]
    settings = asdict(plan) | {"profiles": profiles, "every": args.every} | asdict(options)
    settings["saved_prompts"] = args.prompts_from is not None
    dataset = {"name": data.name, "split": data.split, "pictures": len(data.images)}
    dataset |= {"sha256_of_names_and_sizes": data.fingerprint()}
    provenance = describe_run(settings, [describe_model(spec) for spec in jobs], dataset)
    faults = [{"picture": fault.where, "kind": fault.kind, "message": fault.message} for fault in data.faults.faults]
    report = build_report(rows, faults, matting_comparison(profiles), provenance)
    tables = build_tables(report)
    write_report(
        args.out,
        report,
        title=f"Evaluation on {data.name} {data.split}",
        sections=comparison_sections(report, tables, rows, args.out),
        tables=tables,
        columns=(*ROW_COLUMNS, *report["columns"]),
        rows=rows,
    )
    write_prompts(args.out / "prompts.json", data.name, plan, prompts)
    print(args.out)
    return tell_failures(report["failures"])


def _told(spec: str, clock: "Clock") -> tuple[str, int, float, float]:
    return spec, clock.images, clock.wall_s, 100 * clock.share_outside


def _note_run(out: Path, spec: str, clock: "Clock") -> None:
    """Times lie apart from the report, which is the same whenever it is made."""
    record = {"model": spec, "date": time.strftime("%Y-%m-%d"), "pictures": clock.images}
    record |= {"model_s": clock.model_s, "wall_s": clock.wall_s}
    with (out / "times.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
