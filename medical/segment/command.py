"""`zim-medseg segment`: one's own scans, from prompts to labels in the scan's own space."""

import csv
import io
import json
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from zim_plugins.cli.reporting import progress_bar
from zim_plugins.cli.runtime import DONE, EXPECTED_FAULTS, FAILED, MISUSED, Misuse, is_misuse, one_line

from ..options import READING_OPTIONS, ReadingArgs, TextArgs

if TYPE_CHECKING:
    from zim_plugins.core import Predictor

    from ..protocol.text_prompts import TextFinder
    from .marks import Marks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentArgs(ReadingArgs, TextArgs):
    """Segment structures of scans from clicks, boxes or rough masks. Research only: not for clinical use.

    SCAN is a volume (NIfTI, MHA, NRRD), a folder with a DICOM series, or an image. Prompts are indices of the file's
    own voxels: --point 120,96@14 is a click on slice 14, --box 100,80,140,120@14 a box (from the first index up to, not
    including, the second), 100,80,10,140,120,20 one through slices 10 to 19. NAME= before them names one of several
    structures. A slice's mask prompts its neighbours, until the structure ends; clicks on other slices correct it
    there, and from there on. --text "left kidney" looks for a structure on every slice, "left kidney@14" on one.

    Writes labels in the scan's own space, a sheet of overlays and a record into --out. Exit codes: 0 done, 1 some scans
    could not be segmented, 2 misused.
    """

    scan: Positional[Annotated[str, arg(metavar="SCAN")]] = ""
    """A volume, a DICOM folder or file, an image; with --table the folder of the scans."""
    point: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="[NAME=]X,Y[,0]@SLICE")]] = ()
    """A click; with ,0 at the end it says where the structure is not. I,J,K[,0] without @. Repeatable."""
    box: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="[NAME=]X1,Y1,X2,Y2@SLICE")]] = ()
    """A box on a slice, or through several as I1,J1,K1,I2,J2,K2. Repeatable."""
    mask: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="[NAME=]FILE")]] = ()
    """A rough mask on one slice or several, in the scan's own space; of a DICOM series also a DICOM segmentation or
    structure set. Repeatable."""
    prompts: Annotated[str | None, arg(metavar="FILE")] = None
    """JSON of structures with points, boxes and masks, or markups of 3D Slicer (.mrk.json); - is standard input."""
    table: Annotated[str | None, arg(metavar="FILE")] = None
    """CSV with the columns scan, structure, point and box: a prompt of a scan in each line."""
    units: Literal["voxel", "ras", "lps"] = "voxel"
    """What numbers of --point and --box are: voxel indices, or mm from left to right (ras) or right to left (lps)."""
    out: Annotated[str, arg(metavar="DIR", aliases=["-o"])] = "segmented"
    """Folder for the results."""
    format: Annotated[str, arg(metavar="NAME,...")] = ""
    """nifti, dicom-seg, rtstruct, png; by default nifti, and png for images."""
    overwrite: bool = False
    """Replace results that are there; scans are never replaced."""
    window: Annotated[str, arg(metavar="NAME")] = "auto"
    """auto, soft, lung, bone, brain, LEVEL,WIDTH [HU] or none."""
    axis: Literal["auto", "axial", "coronal", "sagittal", "thickest"] = "auto"
    """Along which volume files are cut into slices; auto is as acquired where slices are thick, else axial."""
    series: Annotated[int | None, arg(metavar="N")] = None
    """Which one of a folder with several DICOM series, from 1."""
    irregular: Literal["refuse", "keep", "resample"] = field(default="keep", kw_only=True)
    """DICOM slices that are tilted, missing, or of several distances or pixel sizes: keep leaves each at its place
    (missing ones empty) where one grid can hold them, resample interpolates on a grid of right angles."""
    reach: Annotated[int | None, arg(metavar="N")] = None
    """Follow a prompt so many slices at most; 0 segments the prompted slices only."""
    keep_masks: bool = False
    """Slices of --mask stand as they are; else the model is shown them and answers."""
    allow_phi_output: bool = False
    """Let DICOM results carry the patient's name, id and dates; they name the scan's UIDs without it."""
    model: Annotated[str, arg(metavar="NAME")] = "auto"
    """Checkpoint by name (see `zim models`) or path, or FILE.py:FUNCTION that makes a predictor."""
    runtime: Literal["auto", "torch", "onnx"] = "auto"
    """What runs the model."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    no_zoom: bool = False
    """Leave out the second look at each object's crop."""
    refine: Literal["auto", "colour", "none"] = "none"
    """Judge mattes again by the image's colours; none is the model alone."""
    click_scales: Literal["auto", "yes", "no"] = "auto"
    """Answer clicks from the smallest crop round the first in which the model is sure; auto is yes for small models
    such as zim_tiny, no is the whole slice alone."""
    polarities: Literal["auto", "yes", "no"] = "auto"
    """Answer all but a single click on the slice and on its negative, by the mean; auto is yes for small models."""
    tight_boxes: Literal["auto", "yes", "no"] = "no"
    """Raise mattes until they reach their box, and leave nothing outside it: for boxes drawn within a few per cent of
    the object; auto is yes for small models."""
    json: bool = False
    """Print one JSON record per scan on standard output."""


def main(args: SegmentArgs) -> int:
    """Segment every scan; one that cannot be is reported in a line and the others go on."""
    try:
        work = read_work(args)
    except (ValueError, OSError) as error:
        raise Misuse(one_line(error)) from error
    finder = args.text_finder(args.device, is_asked=False)
    predictor: Predictor | None = None
    faults: list[str] = []
    for path, stem, marks in work:
        start_s = time.perf_counter()
        try:
            record, predictor = _segment_one(args, path, stem, marks, predictor, finder)
        except EXPECTED_FAULTS as error:
            if args.debug:
                raise
            faults.append("misused" if is_misuse(error) else "failed")
            message = one_line(error)
            logger.error("%s", message if str(path) in message else f"{path}: {message}")
            record = {"scan": str(path), "error": message}
        else:
            record["seconds"] = round(time.perf_counter() - start_s, 3)
            logger.info("%s -> %s (%.1f s)", path, ", ".join(record["files"].values()), record["seconds"])
        if args.json:
            print(json.dumps(record, ensure_ascii=False), flush=True)
    if not faults:
        return DONE
    if len(work) > 1:
        logger.error("%d of %d scans could not be segmented", len(faults), len(work))
    return MISUSED if faults == ["misused"] * len(work) else FAILED


def read_work(args: SegmentArgs) -> "list[tuple[Path, str, list[Marks]]]":
    """Scans, the names of their results, and what points at their structures.

    Raises:
        ValueError: nothing is named, or two scans would be written under one name.
        OSError: a file of prompts cannot be read.
    """
    from ..io.opening import scan_stem
    from ..protocol.text_prompts import parse_text
    from .marks import DEFAULT_NAME, gather_marks, marks_from_json
    from .slicer import is_markups, marks_from_markups, structure_name

    if not args.scan:
        raise ValueError("name a scan: a volume, a DICOM folder or an image")
    if Path(args.out).exists() and not Path(args.out).is_dir():
        raise ValueError(f"--out {args.out} is a file: name a folder")
    if args.reach is not None and args.reach < 0:
        raise ValueError(f"--reach is 0 or more, got {args.reach}")
    # A table names scans and prompts.
    if args.table is not None:
        if args.point or args.box or args.mask or args.text or args.prompts is not None:
            raise ValueError("--table names all prompts: leave --point, --box, --mask, --text and --prompts out")
        by_scan = read_table(Path(args.table), args.units)
        stems = [scan_stem(Path(name)) for name in by_scan]
        if twice := {stem for stem in stems if [s.casefold() for s in stems].count(stem.casefold()) > 1}:
            stems = [name.replace("/", "_") if scan_stem(Path(name)) in twice else stem
                     for name, stem in zip(by_scan, stems, strict=True)]  # fmt: skip
        return [(Path(args.scan, n), s, m) for (n, m), s in zip(by_scan.items(), stems, strict=True)]
    # Otherwise prompts come from options and a file, for every scan.
    marks = gather_marks(args.point, args.box, args.mask, args.units)
    if args.prompts is not None:
        text = sys.stdin.read() if args.prompts == "-" else _read_text(Path(args.prompts))
        try:
            table = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"--prompts {args.prompts} is no JSON: {error}") from None
        source = Path(args.prompts)
        if is_markups(table):
            read = marks_from_markups(table, structure_name(source) if args.prompts != "-" else DEFAULT_NAME)
        else:
            read = marks_from_json(table, Path() if args.prompts == "-" else source.parent)
        if shared := {one.name for one in read} & {one.name for one in marks}:
            raise ValueError(f"{', '.join(sorted(shared))} is in --prompts and on the command line: name it once")
        marks = [*read, *marks]
    if not (marks or args.text):
        raise ValueError("nothing points at a structure: give --point, --box, --mask, --prompts or --text")
    sought = {one.name or one.words for one in map(parse_text, args.text)}
    if shared := sought & {one.name for one in marks}:
        raise ValueError(f"{', '.join(sorted(shared))} is looked for by --text and pointed at: name it once")
    if args.text and any(one.units != "voxel" for one in marks):
        raise ValueError("--text finds boxes in voxels: give other prompts in voxels too, or in a run of their own")
    return [(Path(args.scan), scan_stem(Path(args.scan)), marks)]


def read_table(path: Path, units: Literal["voxel", "ras", "lps"]) -> "dict[str, list[Marks]]":
    """Read a table of prompts: columns scan, structure, point and box; points and boxes as on the command line.

    Raises:
        ValueError: a column is missing or a line cannot be read; the message says which.
    """
    from .marks import gather_marks

    text = _read_text(path)
    head = text.splitlines()[0] if text else ""
    with io.StringIO(text, newline="") as file:  # some spreadsheets part cells by semicolons or tabs
        rows = csv.DictReader(file, delimiter=next((mark for mark in ",;\t" if mark in head), ","))
        rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
        columns = set(rows.fieldnames)
        if not {"scan"} <= columns <= {"scan", "structure", "point", "box"} or not columns & {"point", "box"}:
            raise ValueError(f"{path} has the columns scan, structure, point and box; got {', '.join(sorted(columns))}")
        texts: dict[str, tuple[list[str], list[str]]] = {}
        for number, row in enumerate(rows, start=2):
            if None in row:
                raise ValueError(
                    f"{path}, line {number}: more cells than columns: put cells that hold commas in quotes"
                )
            scan, name = (row.get("scan") or "").strip(), (row.get("structure") or "").strip()
            scan = os.path.normpath(scan) if scan else ""
            points, boxes = texts.setdefault(scan, ([], []))
            given = 0
            for kind, into in (("point", points), ("box", boxes)):
                for text in (t.strip() for t in (row.get(kind) or "").split(";")):
                    if text:
                        into.append(f"{name}={text}" if name else text)
                        given += 1
            if not scan or not given:
                raise ValueError(f"{path}, line {number}: a line names a scan and at least one point or box")
    if not texts:
        raise ValueError(f"{path} holds no line")
    found = {}
    for scan, (points, boxes) in texts.items():
        try:
            found[scan] = gather_marks(points, boxes, units=units)
        except ValueError as error:
            raise ValueError(f"{path}, {scan}: {error}") from None
    return found


def _read_text(path: Path) -> str:
    """Return a text file of the user's.

    Raises:
        ValueError: it cannot be read; the message says why.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error


def _segment_one(
    args: SegmentArgs,
    path: Path,
    stem: str,
    marks: "list[Marks]",
    predictor: "Predictor | None",
    finder: "TextFinder | None",
) -> "tuple[dict[str, Any], Predictor]":
    """Segment one scan and write its results; return its record and the predictor, loaded once."""
    from zim_plugins.cli.matting.words import describe_detector

    from ..io.opening import open_scan
    from ..io.windows import parse_window
    from .by_words import search
    from .marks import marks_to_json
    from .outputs import check_free, choose_formats, plan_files, write_outputs
    from .placing import resolve_marks
    from .scans import SegmentConfig, describe, place_structures, segment_scan

    try:
        reading = args.reading(window=parse_window(args.window), axis=args.axis)
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    config = SegmentConfig(args.reach, args.keep_masks, args.allow_phi_output, reading)
    opened = open_scan(path, reading, series=args.series)
    try:
        formats = choose_formats([name for name in args.format.split(",") if name], opened)
        files = plan_files(Path(args.out), stem, formats)
        check_free(files, opened, overwrite=args.overwrite)
        found = []
        if finder is not None:
            sought, found = search(finder, opened.scan, str(path))
            marks = [*marks, *sought]
        place_structures(opened, marks, config)  # faults of the prompts are found before a model is loaded
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    for note in opened.scan.notes:
        logger.info("%s: %s", path, note)
    predictor = predictor or _load(args)
    name = getattr(predictor, "name", args.model.rpartition(":")[2])
    with progress_bar(None, "slice", stem) as bar:
        result = segment_scan(opened, marks, predictor, config, bar.update)
    kept = resolve_marks(marks, opened.scan, result.table.values)
    record: dict[str, Any] = {
        "intended_use": "research only, not for clinical use",
        "model": name, **_provenance(args, name), "axis": getattr(opened.scan.space, "axis", None),
        "prompts": marks_to_json(kept), **describe(result, opened),
    }  # fmt: skip
    if finder is not None:
        record |= {"text_model": describe_detector(args.text_model), "text": [one.described() for one in found]}
    write_outputs(files, opened, result, record, model=name, kept="patient" if args.allow_phi_output else "references")
    for note in result.notes[len(opened.scan.notes) :]:
        logger.info("%s: %s", path, note)
    return {"scan": str(path), **record, "files": {kind: str(file) for kind, file in files.items()}}, predictor


def _load(args: SegmentArgs) -> "Predictor":
    from medical.protocol.for_scans import ForScans
    from zim_plugins.core import load_predictor
    from zim_plugins.evaluation import ModelOptions, is_outside, load_model

    if is_outside(args.model):
        return load_model(args.model, ModelOptions(device=args.device))
    predictor = load_predictor(
        args.model, runtime=args.runtime, device=args.device, zoom=False if args.no_zoom else None, refine=args.refine
    )
    return ForScans(args.click_scales, args.polarities, args.tight_boxes).adapted(predictor)[0]


def _provenance(args: SegmentArgs, name: str) -> dict[str, Any]:
    """Return what made the labels: checkpoint, version, and the options that were given."""
    from zim_plugins import __version__
    from zim_plugins.core import CheckpointError
    from zim_plugins.evaluation import describe_model

    try:
        digest = describe_model(args.model if args.model != "auto" else name)["sha256"]
    except CheckpointError:  # a predictor of somebody else's
        digest = None
    names = ("window", "axis", *READING_OPTIONS, "reach", "keep_masks", "no_zoom", "refine")
    options = {key: getattr(args, key) for key in (*names, "click_scales", "polarities", "tight_boxes")}
    return {"sha256": digest, "version": __version__, "options": options}
