"""`zim-medseg`: promptable models on medical images, with a protocol, statistics and a report."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from zim_plugins.cli.evaluations import EvaluationArgs, ModelNames
from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.runtime import DONE, FAILED, Misuse, one_line, run

from .options import ReadingArgs, TextArgs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .protocol.models import PromptedModel
    from .run import RunConfig, Tally

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Args(EvaluationArgs, ReadingArgs, TextArgs):
    """Compare promptable models on medical images. Research only: not for clinical use.

    `zim-medseg check DIR` looks at a folder first: which files pair, and what is wrong with the others.
    `zim-medseg segment SCAN` segments your own scans, from your own prompts, without a reference.

    Prompts are made from the reference masks (Mazurowski et al. 2023): mode1 a click in the largest component, mode2
    in each of at most three, mode3 a box round the largest, mode4 round each, mode5 round all; clicks: up to nine, each
    on the error of the last answer. point is mode1, box is mode5, modes are all five.

    Writes rows.csv, summary.csv, compare.csv, summary.json (nnU-Net's shape), report.html and more into --out. Cases
    are called by numbers; no tag, date or file name of a patient is written. Exit codes: 0 done, 1 some cases or files
    could not be used, 2 misused.
    """

    data: Annotated[str, arg(metavar="DIR")] = ""
    """Folder that holds the data sets."""
    dataset: Annotated[str, arg(metavar="NAME[:FOLDER],...")] = "folder"
    """Layouts by name, each with its folder below --data: kvasir-seg:Kvasir-SEG,busi:Dataset_BUSI_with_GT.
    TITLE=NAME:FOLDER gives a title, #LABEL at the end keeps one label; `zim-medseg check --list` names the layouts."""
    preset: Literal["none", "zim5"] = "none"
    """zim5: five data sets like those of ZIM's figure, in folders that --data must hold; the choice is ours."""
    models: ModelNames = "auto"
    """Checkpoints by name (see `zim models`) or path, FILE.py:FUNCTION that makes a predictor, and the classical rivals
    box (filled), ellipse (inscribed), grabcut (its core certain) and random-walker (boxes and clicks)."""
    prompts: Annotated[str, arg(metavar="NAME,...")] = "point,box"
    """point, box, modes, mode1 to mode5, clicks, text (see --text; alone it looks for labels by their own names)."""
    out: Annotated[str, arg(metavar="DIR", aliases=["-o"])] = "medseg"
    """Folder for the results."""
    resume: bool = False
    """Without effect: a run that --out holds is gone on with by itself."""
    clicker: Literal["ritm", "mazurowski", "random"] = "ritm"
    """Who clicks: ritm (the deeper kind of error, deterministic), mazurowski (all errors in one map), random."""
    max_clicks: Annotated[int, arg(metavar="N")] = 9
    """Iterated clicks."""
    candidates: Annotated[str, arg(metavar="NAME,...")] = "single"
    """single, best-score (of several answers the one that the model scores highest), oracle (the one nearest to the
    reference: marked as such everywhere)."""
    box_jitter: Annotated[int, arg(metavar="PX")] = 0
    """Move each side of a box at random by up to so many pixels."""
    box_jitter_outward: bool = False
    """Move them outwards only."""
    prompts_from: Annotated[str | None, arg(metavar="FILE")] = None
    """Use the prompts of an earlier run's prompts.jsonl."""
    window: Annotated[str, arg(metavar="NAME")] = "auto"
    """auto, soft, lung, bone, brain, LEVEL,WIDTH [HU] or none."""
    axis: Literal["axial", "coronal", "sagittal", "thickest"] = "axial"
    """Along which volumes are cut."""
    volumes: Literal["slices", "propagated", "both"] = "slices"
    """A prompt on each slice, or on key slices, from which the others follow; copies of them stand beside."""
    key_slices: Annotated[int, arg(metavar="N")] = 1
    """Key slices of propagation: one is the largest, several lie evenly through the object."""
    reach: Annotated[int | None, arg(metavar="N")] = None
    """Follow so many slices beyond each key slice at most."""
    max_growth: Annotated[float, arg(metavar="TIMES")] = 4.0
    """Stop where a mask is so many times as large as on its key slice."""
    slices: Annotated[str, arg(metavar="WHICH")] = "all"
    """Of the slices that show an object: all, max-area, middle or every:N."""
    labels: Literal["auto", "binary", "inverted", "map", "instances"] = "auto"
    """What the masks of a plain folder hold."""
    min_area: Annotated[int, arg(metavar="PX")] = 0
    """Drop smaller objects; they are counted."""
    spacing: Annotated[str | None, arg(metavar="ROW,COLUMN")] = None
    """Pixel size of images whose files do not say [mm]."""
    tolerance: float = 2.0
    """Of NSD [mm, and px where the spacing is not known]."""
    no_surfaces: bool = False
    """Leave out HD95 and NSD."""
    groups: Annotated[str | None, arg(metavar="FILE|pattern:REGEX|cases")] = None
    """Which cases are of one patient, where neither PatientID nor the data set's names say it: a CSV file with the
    columns case and patient, a pattern whose first group names the patient, or `cases` if each is another. Where nobody
    knows, no test is made and no interval is given."""
    limit: Annotated[int | None, arg(metavar="N")] = None
    """Only the first cases of each data set."""
    seed: int = 0
    """Of random clicks, jitter and resampling."""
    seeds: Annotated[int, arg(metavar="N")] = 1
    """Draw the random part of the prompts so many times, with seeds from --seed on, and report the spread."""
    click_jitter: Annotated[int, arg(metavar="PX")] = 0
    """Move clicks by up to so many pixels, within the object, or within the error that they correct."""
    save: Annotated[str, arg(metavar="KIND,...")] = "masks,mattes,overlays"
    """masks, mattes (soft, 8 bits), overlays (best, median, worst); none."""
    hide_border: float = 0.0
    """Blacken this share of each side of overlays, where text may be burned in."""
    dicom_seg: bool = False
    """Write DICOM-SEG for DICOM series, stripped of the patient."""
    allow_phi_output: bool = False
    """Let DICOM-SEG carry the patient and study of its source, as the standard's association needs."""
    keep_names: bool = False
    """Call cases by their file names."""
    write_id_map: Annotated[str | None, arg(metavar="FILE")] = None
    """Write which case is which, readable by you alone."""
    follow_links: bool = False
    """Read through symbolic links, wherever they lead."""
    skip_bad: bool = False
    """Answer with exit code 0 although some cases or files could not be used."""
    runtime: Literal["auto", "torch", "onnx"] = "auto"
    """What runs the models."""
    refine: Literal["auto", "colour", "none"] = "none"
    """Judge mattes again by the image's colours; none is the model alone. Zooming is off unless --zoom asks for it."""
    click_scales: Literal["auto", "yes", "no"] = "auto"
    """Answer clicks from the smallest crop round the first in which the model is sure; auto is yes for small models
    such as zim_tiny, no is the whole image alone."""
    polarities: Literal["auto", "yes", "no"] = "auto"
    """Answer all but a single click on the image and on its negative, by the mean; auto is yes for small models."""
    tight_boxes: Literal["auto", "yes", "no"] = "auto"
    """Raise mattes until they reach their box, and leave nothing outside it; auto is yes for small models where all
    boxes are the reference's own: without --box-jitter, --prompts text and propagation."""


@dataclass(frozen=True)
class CheckArgs(ReadingArgs):
    """Look at a folder of medical images: which files pair, what their masks hold, and what is wrong.

    File names are shown. Exit codes: 0 all can be used, 1 some cannot, 2 misused.
    """

    folder: Positional[Annotated[str, arg(metavar="DIR")]] = ""
    """The data set's folder."""
    layout: Annotated[str, arg(name="as", metavar="NAME")] = "auto"
    """Its layout; auto takes the one that fits best."""
    list: bool = False
    """Name the layouts that are known, and do nothing else."""
    labels: Literal["auto", "binary", "inverted", "map", "instances"] = "auto"
    """What the masks of a plain folder hold."""
    follow_links: bool = False
    """Read through symbolic links, wherever they lead."""


def main(args: Args) -> int:
    """Evaluate, and write the report."""
    from .protocol.for_scans import ForScans
    from .protocol.models import load_models
    from .protocol.prompt_modes import read_prompts
    from .run import run as evaluate

    args.check_model_options()
    try:
        finder = args.text_finder(args.device, is_asked="text" in args.prompts.split(","))
        config = parse_config(args)
        book = read_prompts(Path(args.prompts_from)) if args.prompts_from is not None else None
        if args.resume:
            logger.warning("--resume goes with the next version: a run goes on by itself")
        if args.allow_phi_output:
            logger.warning("DICOM-SEG will carry the patient's name, id and dates, as --allow-phi-output asks")
    except (ValueError, OSError) as error:
        raise Misuse(one_line(error)) from error
    models = load_models(
        args.models.split(","),
        runtime=args.runtime,
        device=args.device,
        zoom=args.zoom,
        refine=args.refine,
        scans=ForScans(args.click_scales, args.polarities, tight_boxes(args)),
    )
    tally = evaluate(config, models, book, finder)
    return report(args, config, tally, models)


def tight_boxes(args: Args) -> Literal["auto", "yes", "no"]:
    """Return what --tight-boxes means for this run: boxes that are moved, found or followed are not tight."""
    loose = args.box_jitter or "text" in args.prompts.split(",") or args.volumes != "slices"
    return "no" if args.tight_boxes == "auto" and loose else args.tight_boxes


def report(args: Args, config: "RunConfig", tally: "Tally", models: "Sequence[PromptedModel]") -> int:
    """Put the parts of a run together; answers with the exit code."""
    from zim_plugins.evaluation.report import build_page
    from zim_plugins.imaging import write_text

    from .presets import ZIM5_NOTE
    from .protocol.prompt_modes import CLICKS
    from .report.aggregate import POOLED, beside_the_copy, no_claims
    from .report.figures import draw_figures
    from .report.html import page_sections
    from .report.overlays import write_overlays
    from .report.results import gather, headline_prompt, write_record, write_tables
    from .report.seeds import first_seed

    results = gather(config, tally.found)
    if not results.rows:
        logger.error("no case could be evaluated: see %s", config.out / "errors.jsonl")
        write_tables(config, results)
        return FAILED
    tables = write_tables(config, results)
    note = ZIM5_NOTE if args.preset == "zim5" else ""
    record = write_record(config, results, tally, models, note=note)
    figures = draw_figures(config.out / "figures", tables.summary, tables.curves, results.models)
    overlays = []
    if "overlays" in args.save.split(",") and "mattes" in config.save:
        shown = [p for p in (headline_prompt(config.trial.prompts), CLICKS) if p in config.trial.prompts]
        overlays = write_overlays(
            config, tally.found, first_seed(results.rows), list(dict.fromkeys(shown)), hide_border=args.hide_border
        )  # fmt: skip
    sections = page_sections(record, tables, figures, overlays, results.faults)
    write_text(config.out / "report.html", build_page("zim-medseg", sections))
    for contrast in tables.contrasts:
        if contrast.is_tested and (contrast.dataset in POOLED or len(results.datasets) == 1):
            logger.info("%s", contrast.says)
    for said in (*no_claims(tables.contrasts), *beside_the_copy(tables.summary)):
        logger.info("%s", said)
    logger.info(
        "%s: %d cases, %d could not be used", config.out / "report.html", len(results.cases), len(results.faults)
    )
    return DONE if args.skip_bad or not (tally.faults or tally.problems) else FAILED


def parse_config(args: Args) -> "RunConfig":
    """The run that the arguments name.

    Raises:
        ValueError: they make no sense.
    """
    from zim_plugins.cli.matting.words import describe_detector

    from .grouping import EACH_CASE, PATTERN, read_groups
    from .io.layouts import find_layout
    from .io.windows import parse_window
    from .presets import ZIM5, ZIM5_NOTE
    from .protocol.evaluate_scan import TrialConfig
    from .protocol.prompt_modes import TEXT, parse_prompts
    from .protocol.records import CANDIDATES, Measure
    from .protocol.slices import check_slices
    from .protocol.text_prompts import parse_text
    from .provenance import command_of
    from .run import RunConfig, parse_spec

    # Refuse what makes no sense, before anything is read.
    if not args.data or not Path(args.data).is_dir():
        got = f"got {args.data!r}" if args.data else "your own scans are for `zim-medseg segment SCAN`"
        raise ValueError(f"--data names the folder of the data sets; {got}")
    if Path(args.out).exists() and not Path(args.out).is_dir():
        raise ValueError(f"--out {args.out} is a file: name a folder")
    candidates = tuple(args.candidates.split(","))
    if unknown := [name for name in candidates if name not in CANDIDATES]:
        raise ValueError(f"--candidates are {', '.join(CANDIDATES)}, got {', '.join(unknown)}")
    save = tuple(name for name in args.save.split(",") if name != "none")
    if unknown := [name for name in save if name not in ("masks", "mattes", "overlays")]:
        raise ValueError(f"--save takes masks, mattes, overlays or none, got {', '.join(unknown)}")
    if args.max_clicks < 1 or args.box_jitter < 0 or args.min_area < 0 or args.tolerance <= 0:
        raise ValueError("--max-clicks is at least 1, --box-jitter and --min-area at least 0, --tolerance above 0")
    if args.key_slices < 1 or (args.reach is not None and args.reach < 0) or args.max_growth <= 1:
        raise ValueError("--key-slices is at least 1, --reach at least 0, --max-growth above 1")
    if args.seeds < 1 or args.click_jitter < 0:
        raise ValueError("--seeds is at least 1, --click-jitter at least 0")
    if args.seeds > 1 and (args.prompts_from or (args.clicker == "ritm" and not args.box_jitter + args.click_jitter)):
        raise ValueError("--seeds draws random prompts again: it needs --box-jitter, --click-jitter or a random "
                         "--clicker, and no --prompts-from")  # fmt: skip
    if not 0 <= args.hide_border < 0.5:
        raise ValueError(f"--hide-border is a share in [0, 0.5), got {args.hide_border:g}")
    # Read what is written in small languages of its own: slices, prompts, words, groups.
    check_slices(args.slices)
    prompts = parse_prompts([*args.prompts.split(","), *([TEXT] if args.text else [])])
    if any(parse_text(text).slice_index is not None for text in args.text):
        raise ValueError("--text WORDS@SLICE belongs to `zim-medseg segment`: --slices picks slices of evaluations")
    if args.groups is not None and args.groups != EACH_CASE and not args.groups.startswith(PATTERN):
        read_groups(Path(args.groups))
    # The protocol that every model goes through.
    trial = TrialConfig(
        prompts=prompts,
        clicker=args.clicker,
        max_clicks=args.max_clicks,
        candidates=candidates,
        jitter_px=args.box_jitter,
        jitter_outward=args.box_jitter_outward,
        slices=args.slices,
        volumes=args.volumes,
        key_slices=args.key_slices,
        reach=args.reach,
        max_growth=args.max_growth,
        min_area=args.min_area,
        seed=args.seed,
        seeds=args.seeds,
        click_jitter_px=args.click_jitter,
        text=args.text,
        text_model=describe_detector(args.text_model) if TEXT in prompts else "",
        text_all=args.text_all,
        text_threshold=args.text_threshold,
        measure=Measure(not args.no_surfaces, args.tolerance, args.tolerance),
    )
    # How files are read, and which data sets.
    reading = args.reading(
        window=parse_window(args.window), axis=args.axis, spacing_mm=_parse_spacing(args.spacing)
    )  # fmt: skip
    datasets = ZIM5 if args.preset == "zim5" else tuple(parse_spec(text) for text in args.dataset.split(","))
    if absent := [spec for spec in datasets if not Path(args.data, spec.folder).is_dir()]:
        listed = dict.fromkeys(f"{spec.folder} ({find_layout(spec.layout).title})" for spec in absent)
        note = f". {ZIM5_NOTE}" if args.preset == "zim5" else ""
        raise ValueError(f"{args.data} lacks these folders: {'; '.join(listed)}{note}")
    return RunConfig(
        data=Path(args.data),
        out=Path(args.out),
        datasets=datasets,
        trial=trial,
        reading=reading,
        labels=None if args.labels == "auto" else args.labels,
        groups=args.groups,
        limit=args.limit,
        save=tuple(name for name in save if name != "overlays"),
        dicom_seg=args.dicom_seg,
        keep_patient=args.allow_phi_output,
        keep_names=args.keep_names,
        follow_links=args.follow_links,
        id_map=None if args.write_id_map is None else Path(args.write_id_map),
        prompts_from=None if args.prompts_from is None else Path(args.prompts_from),
        command=command_of(args),
    )


def check(args: CheckArgs) -> int:
    """Say what a folder holds."""
    from .check import check_folder, guess_layout
    from .io.layouts import LAYOUTS, find_layout

    if args.list:
        for layout in LAYOUTS.values():
            print(f"{layout.name:14} {layout.title}")
        return DONE
    root = Path(args.folder)
    if not args.folder or not root.is_dir():
        raise Misuse(f"{args.folder or 'no folder given'}: name the data set's folder")
    try:
        layout = guess_layout(root) if args.layout == "auto" else find_layout(args.layout)
        reading = args.reading()
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    labels = None if args.labels == "auto" else args.labels
    found, problems = check_folder(root, layout, reading, labels, follow_links=args.follow_links)
    print(f"{layout.name}: {layout.title}")
    if layout.note:
        print(f"note: {layout.note}")
    for problem in problems:
        print(f"{problem.where}: {problem.what}")
    for one in found:
        for said in (one.fault, *one.notes):
            if said:
                print(f"{one.where}: {said}")
    good = [one for one in found if not one.fault]
    named = sorted({label for one in good for label in one.labels})
    print(f"{len(good)} of {len(found)} cases can be used, files that make no case: {len(problems)}")
    print(f"labels: {', '.join(named) or 'none'}; objects below 100 px: {sum(one.small_objects for one in good)}")
    return DONE if good and len(good) == len(found) and not problems else FAILED


def entrypoint() -> None:
    """Run `zim-medseg`."""
    if sys.argv[1:2] == ["segment"]:
        from .segment.command import SegmentArgs
        from .segment.command import main as segment

        arguments = parse_arguments(SegmentArgs, sys.argv[2:], prog="zim-medseg segment")
        raise SystemExit(run(segment, arguments, package="medical"))
    if sys.argv[1:2] == ["check"]:
        arguments = parse_arguments(CheckArgs, sys.argv[2:], prog="zim-medseg check")
        raise SystemExit(run(check, arguments, package="medical"))
    raise SystemExit(run(main, parse_arguments(Args, prog="zim-medseg"), package="medical"))


def _parse_spacing(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        row, column = (float(part) for part in text.split(","))
        if row <= 0 or column <= 0:
            raise ValueError
    except ValueError:
        raise ValueError(f"--spacing is ROW,COLUMN in mm, such as 0.5,0.5; got {text!r}") from None
    return row, column
