"""Image after image: what the commands that take images do alike."""

import contextlib
import dataclasses
import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from tyro.conf import Positional, arg

from zim_plugins.cli.file_names import refuse_impossible_names
from zim_plugins.cli.reporting import Collect, Outcome, report
from zim_plugins.cli.runtime import EXPECTED_FAULTS, CommandArgs, Misuse, is_misuse, one_line
from zim_plugins.errors import ZimError

if TYPE_CHECKING:
    from zim_plugins.core.encoding import EncodingPredictor
    from zim_plugins.imaging.image import Image
    from zim_plugins.imaging.raster import Raster
    from zim_plugins.imaging.results import Existing, Recipe
    from zim_plugins.imaging.value_range import ValueRange

logger = logging.getLogger(__name__)

STDOUT = "-"


@dataclass(frozen=True)
class ImagesArgs(CommandArgs):
    """Options of every command that takes images."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """Files, folders, globs in quotes, sample:NAME (such as sample:chelsea), or - for standard input."""
    out: Annotated[str, arg(metavar="DIR", aliases=["-o"])] = "outputs"
    """Folder for the results."""
    model: Annotated[str, arg(metavar="NAME")] = "auto"
    """Checkpoint by name (see `zim models`) or path; hf:NAME_OR_FOLDER for a SAM, SAM-HQ, SAM 2, EdgeTAM or SAM 3 of
    transformers; FILE.py:FUNCTION that makes a predictor; auto takes the best one on this machine."""
    runtime: Literal["auto", "torch", "onnx"] = "auto"
    """What runs the model."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the model."""
    no_zoom: bool = False
    """Leave out the second pass on the object's surroundings, which refines images larger than the model's frame."""
    refine: Annotated[str, arg(metavar="HOW")] = "auto"
    """auto, colour, none, converter[:FILE], vitmatte[:NAME_OR_FOLDER]: improve mattes by the image's colours (auto: for
    small models), by the label converter, or by ViTMatte on a trimap made of them."""
    overwrite: bool = False
    """Write over whatever is there, inputs excepted. Without it, results of the same image are made again and other
    files are an error."""
    no_overwrite: bool = False
    """Write over nothing: images whose results are there by the same prompt, model and options are left out, results
    that were made otherwise are an error."""
    resume: bool = False
    """As --no-overwrite, but results that were made otherwise are made again."""
    flat: bool = False
    """Take only the images directly in a folder, not those of the folders below."""
    range: Annotated[str | None, arg(metavar="LOW,HIGH")] = None
    """Values of black and white in the files, as 0,4095 for 12 bits in 16; by default told by type and data."""
    json: bool = False
    """Print one JSON record per image on standard output."""
    waits_asleep: ClassVar[bool] = True


@dataclass(frozen=True)
class Work:
    """Work of one command on an image."""

    files: Callable[[str], dict[str, Path]]
    """The results of a name, as `output_names` gives it, by kind; empty where nothing is written to files."""
    check: "Callable[[Image], None]"
    """Raises ValueError where the command's arguments do not fit the image; called before a model is loaded."""
    act: "Callable[[EncodingPredictor | None, Image, dict[str, Path]], dict[str, object]]"
    """Predicts and writes the files that it is given, which may be some of `files`. Returns what the record says
    besides the common fields, or otherwise than they do; `written` lists the files where they are others than given."""
    needs_model: "Callable[[Image], bool]" = lambda image: True
    """Whether `act` is given a predictor."""
    read: "Callable[..., Image] | None" = None
    """Reads an image, as `read_image`, which is the default; takes `value_range`."""
    recipe: Callable[[str], Mapping[str, Any]] | None = None
    """Of a source, all that decides its results (`command`, `prompt`, `options`; see `recipe_of`); the model is added
    where `model` is not among it. Without one nothing is recorded."""
    place: Callable[[str], Path] | None = None
    """Of a name, what its results' paths begin with; by default the name in the output folder."""
    is_whole: bool = False
    """Whether `act` makes all results or none."""
    also_read: tuple[str, ...] = ()
    """Files besides the images that are read and must not be written over."""
    prepare: "Callable[[Image], None]" = lambda image: None
    """Loads what `act` needs besides the model; what it raises ends the batch: no other image would do better."""


UNDECISIVE = frozenset(
    {
        *("images", "out", "device", "json", "overwrite", "no_overwrite", "resume", "flat", "debug", "jobs", "model"),
        *("point", "box", "also", "objects", "mask", "scribble", "list", "download", "frames"),
        *("rle", "polygons", "coco"),
    }
)
"""Options that decide nothing about a result, or that a recipe's prompt, model and source already hold."""


def recipe_of(args: ImagesArgs, command: str, prompt: Any) -> dict[str, Any]:
    """Return the recipe of a command's results: command, prompt, and all options that decide them.

    Args:
        prompt: JSON values that name the objects, with the digests of files that do.
    """
    options = {f.name: getattr(args, f.name) for f in dataclasses.fields(args) if f.name not in UNDECISIVE}
    return {"command": command, "prompt": prompt, "options": options}


def run_batch(
    args: ImagesArgs, sources: Sequence[str], names: Sequence[str], work: Work, *, collect: Collect | None = None
) -> int:
    """Work on every image; a bad one is reported in one line and the others go on. Returns the exit code.

    Args:
        args: the command's options.
        names: of their results.
        work: what is done with each.
        collect: sees every record before it is printed, and may take from it.
    """
    check_results(args, sources, names, work)
    batch = Batch(args, work)
    batch.check_model()
    return report(
        map(batch.work_on, sources, names), len(sources), out=args.out, json_records=args.json, collect=collect
    )


def check_results(args: ImagesArgs, sources: Sequence[str], names: Sequence[str], work: Work) -> None:
    """Find out before any work what cannot be written.

    Raises:
        Misuse: a result would be written over an input, or the output folder refuses.
    """
    from zim_plugins.imaging.results import check_inputs_are_spared, check_writable

    if args.out == STDOUT:
        return
    results = [path for name in names for path in work.files(name).values()]
    try:
        check_inputs_are_spared([*sources, *work.also_read], results)
        for folder in dict.fromkeys(path.parent for path in results):
            check_writable(folder)
    except ValueError as error:
        raise Misuse(one_line(error)) from error


def find_sources(args: ImagesArgs, *, exact: bool = False) -> tuple[list[str], list[str]]:
    """Return the images that the arguments name, and the names of their results; say what folders leave out.

    Args:
        args: the command's options.
        exact: every image is named by itself: none is searched for, and none is taken for a result.

    Raises:
        Misuse: there are none, or the output folder is a file.
    """
    from zim_plugins.imaging.results import own_results
    from zim_plugins.imaging.sources import find_inputs, output_names

    refuse_impossible_names(args.images, vars(args))
    if not args.images:
        raise Misuse("no image given: name files, folders or globs (sample:chelsea is always at hand)")
    value_range(args)
    existing(args)
    if exact:
        return list(args.images), output_names(args.images)
    try:
        found = find_inputs(args.images, recursive=not args.flat, own_results=own_results)
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    for note in found.notes():
        logger.info("%s", note)
    return list(found.sources), output_names(found.sources, found.roots)


def value_range(args: ImagesArgs) -> "ValueRange | None":
    """Return the values of black and white that `--range` names. Raises Misuse where it names none."""
    from zim_plugins.imaging.value_range import parse_range

    try:
        return None if args.range is None else parse_range(args.range)
    except ValueError as error:
        raise Misuse(one_line(error)) from error


def existing(args: ImagesArgs) -> "Existing":
    """Return what becomes of results that are there. Raises Misuse where options contradict each other."""
    chosen = {"replace": args.overwrite, "keep": args.no_overwrite, "resume": args.resume}
    given = [name for name, is_given in chosen.items() if is_given]
    if len(given) > 1:
        raise Misuse("--overwrite, --no-overwrite and --resume exclude one another: give one of them")
    return given[0] if given else "remake"  # pyright: ignore[reportReturnType]


def write_all(
    files: dict[str, Path], images: "dict[str, np.ndarray | Raster]", *, quality: int | None = None
) -> tuple[str, ...]:
    """Write all images of a result, or none of them, and return what a format could not hold.

    Args:
        quality: of JPEG and WebP, 1 to 100; see `write_raster`.
    """
    from zim_plugins.imaging.encode import write_raster
    from zim_plugins.imaging.image import write_image

    done: list[Path] = []
    notes: tuple[str, ...] = ()
    try:
        for kind, path in files.items():
            image = images[kind]
            if isinstance(image, np.ndarray):
                write_image(path, image)
            else:
                notes += write_raster(path, image, quality=quality)
            done.append(path)
    finally:
        if len(done) < len(files):  # also when the user interrupts
            for path in done:
                path.unlink(missing_ok=True)
    return notes


class Batch:
    """One model for all images, loaded once the first image that needs it is known to be good."""

    def __init__(self, args: ImagesArgs, work: Work) -> None:
        self.args = args
        self.work = work
        self._existing: Existing = existing(args)
        self._range = value_range(args)
        self._predictor: EncodingPredictor | None = None
        self._identity: dict[str, Any] | None = None

    def check_model(self) -> None:
        """Load a model of the hub or a refinement at once: that it cannot be had is said before any image is read."""
        from zim_plugins.core.checkpoints.hub import is_hub_name
        from zim_plugins.core.checkpoints.outside import is_outside
        from zim_plugins.core.refinement.base import check_refinement

        try:
            check_refinement(self.args.refine)
        except ValueError as error:
            raise Misuse(f"--refine: {one_line(error)}") from error
        args = self.args
        if is_outside(args.model):
            as_if = {"runtime": "auto", "dtype": "fp32", "no_zoom": False, "refine": "none"}
            if unusable := [name for name, value in as_if.items() if getattr(args, name) not in (value, "auto")]:
                said = ", ".join(f"--{name.replace('_', '-')}" for name in unusable)
                raise Misuse(f"{said}: options of checkpoints; {args.model} sees to itself")
        if is_outside(args.model) or is_hub_name(args.model) or args.refine.startswith(("vitmatte", "converter")):
            self._load()

    def work_on(self, source: str, name: str) -> Outcome:
        """Do the work on one image."""
        from zim_plugins.imaging.results import note_results, noted
        from zim_plugins.imaging.sources import STDIN

        files = self.work.files(name)
        place = (self.work.place or (lambda one: Path(self.args.out) / one))(name)
        try:
            content = sys.stdin.buffer.read() if source == STDIN else None
            recipe, wanted = self._plan(source, content, place, files)
            if files and not wanted:
                logger.info("%s: left out, its results are there", source)
                kept = {kind: str(path) for kind, path in files.items()}
                return Outcome({"image": source, "skipped": True, "files": kept})
            image = self._read(source, content)
        except EXPECTED_FAULTS as error:
            return self._fault(source, error)
        predictor = self._prepare(image)
        start_s = time.perf_counter()
        try:
            chosen = {kind: files[kind] for kind in files if kind in wanted}
            with noted(place, list(chosen.values()), recipe) if chosen and recipe else contextlib.nullcontext():
                said = self.work.act(predictor, image, chosen)
            written = said.pop("written", None)
            if files and recipe is not None:
                note_results(place, list(map(Path, _paths(written, said.get("files"), chosen))), recipe)
        except EXPECTED_FAULTS as error:
            return self._fault(source, error)
        seconds = round(time.perf_counter() - start_s, 3)
        common = {"image": source, "width": image.size[1], "height": image.size[0]}
        model: dict[str, object] = {"model": None}
        if predictor is not None:
            model = {"model": predictor.name, "checkpoint": self._checkpoint(predictor.name)}
        rest = {
            "files": {kind: str(path) for kind, path in files.items()},
            "seconds": seconds,
            "notes": list(image.notes),
        }
        return Outcome(common | model | said | {key: value for key, value in rest.items() if key not in said})

    def _plan(
        self, source: str, content: bytes | None, place: Path, files: dict[str, Path]
    ) -> "tuple[Recipe | None, set[str]]":
        """Return what the results would be made from, and the kinds that are to be made."""
        from zim_plugins.imaging.results import Overwrites, Recipe, Source, plan

        if not files or self.work.recipe is None:
            there = bool(files) and all(path.exists() for path in files.values())
            return None, set() if there and self._existing in ("keep", "resume") else set(files)
        how = dict(self.work.recipe(source))
        if "model" not in how:
            how["model"] = self._identify()
        try:
            recipe = Recipe(Source.of(source, content), how)
        except (OSError, ValueError):  # reading it names the fault
            self._read(source, content)
            raise
        wanted = plan(place, files, recipe, self._existing)
        if self.work.is_whole and wanted and len(wanted) < len(files):
            raise Overwrites(f"some results of {source} are there and some are not: leave out --no-overwrite")
        return recipe, wanted

    def _identify(self) -> dict[str, Any]:
        """Return name and digest of the checkpoint that the arguments mean."""
        if self._identity is None:
            from zim_plugins.core.checkpoints.identity import identify

            self._identity = identify(self.args.model)
        return self._identity

    def _read(self, source: str, content: bytes | None = None) -> "Image":
        from zim_plugins.imaging.image import read_image

        stream = source if content is None else io.BytesIO(content)
        image = (self.work.read or read_image)(stream, value_range=self._range)
        for note in image.notes:
            logger.info("%s: %s", source, note)
        try:
            self.work.check(image)
        except ValueError as error:
            if isinstance(error, ZimError):
                raise
            raise Misuse(f"{source}: {error}") from error
        return image

    def _prepare(self, image: "Image") -> "EncodingPredictor | None":
        """Load what the work needs; what is missing ends the batch."""
        self.work.prepare(image)
        return self._load() if self.work.needs_model(image) else None

    def _load(self) -> "EncodingPredictor":
        if self._predictor is not None:
            return self._predictor
        from zim_plugins.core.checkpoints.outside import is_outside, load_outside
        from zim_plugins.core.encoding import encoding_predictor
        from zim_plugins.core.load import load_predictor

        args = self.args
        if is_outside(args.model):
            from zim_plugins.core.load import resolve_device

            predictor = load_outside(args.model, resolve_device(args.device))
        else:
            how: Any = {"runtime": args.runtime, "device": args.device, "dtype": args.dtype, "refine": args.refine}
            predictor = load_predictor(args.model, zoom=False if args.no_zoom else None, **how)
        self._predictor = encoding_predictor(predictor)
        return self._predictor

    def _checkpoint(self, name: str) -> str:
        """Return the path of the weights that `load_predictor` took."""
        from zim_plugins.core.checkpoints.records import CHECKPOINTS, find

        return str(find(name)) if name in CHECKPOINTS else self.args.model

    def _fault(self, source: str, error: Exception) -> Outcome:
        from zim_plugins.imaging.results import Overwrites

        if self.args.debug:
            raise error
        message = one_line(error)
        logger.error("%s", message if source in message else f"{source}: {message}")
        misused = is_misuse(error) or isinstance(error, Overwrites)
        return Outcome({"image": source, "error": message}, "misused" if misused else "failed")


def _paths(written: Any, said: Any, chosen: Mapping[str, Path]) -> Iterable[Any]:
    """Return the files that were written: as listed, as the record says, or as given."""
    if written is not None:
        return written
    return said.values() if isinstance(said, dict) else chosen.values()
