"""Picture after picture: what the commands that take pictures do alike."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from tyro.conf import Positional, arg

from zim_plugins.cli.runtime import DONE, EXPECTED_FAULTS, FAILED, MISUSED, CommandArgs, Misuse, one_line

if TYPE_CHECKING:
    from zim_plugins.core.predictor import ImagePredictor
    from zim_plugins.imaging.image import ByteStream, Image
    from zim_plugins.imaging.raster import Raster

logger = logging.getLogger(__name__)

STDOUT = "-"


@dataclass(frozen=True)
class ImagesArgs(CommandArgs):
    """Options of every command that takes pictures."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """Files, folders, globs in quotes, sample:NAME (such as sample:chelsea), or - for standard input."""
    out: Annotated[str, arg(metavar="DIR", aliases=["-o"])] = "outputs"
    """Folder for the results."""
    model: Annotated[str, arg(metavar="NAME")] = "auto"
    """Checkpoint by name (see `zim models`) or path; hf:NAME_OR_FOLDER for a SAM, SAM-HQ, SAM 2, EdgeTAM or SAM 3 of
    transformers; auto takes the best one on this machine."""
    runtime: Literal["auto", "torch", "onnx"] = "auto"
    """What runs the model."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the model."""
    no_zoom: bool = False
    """Leave out the second pass on the object's surroundings, which refines pictures larger than the model's frame."""
    refine: Literal["auto", "colour", "none"] = "auto"
    """Judge mattes anew by the picture's colours; auto does so for small models."""
    no_overwrite: bool = False
    """Leave out pictures whose results are all there."""
    json: bool = False
    """Print one JSON record per picture on standard output."""


@dataclass(frozen=True)
class Work:
    """What one command does with a picture."""

    files: Callable[[str], dict[str, Path]]
    """The results of a stem, by kind; empty where nothing is written to files."""
    check: "Callable[[Image], None]"
    """Raises ValueError where the command's arguments do not fit the picture; called before a model is loaded."""
    act: "Callable[[ImagePredictor | None, Image, dict[str, Path]], dict[str, object]]"
    """Predicts and writes; answers with what the record says besides the common fields, or otherwise than they do."""
    needs_model: "Callable[[Image], bool]" = lambda image: True
    """Whether `act` is given a predictor."""
    read: "Callable[[str | ByteStream], Image] | None" = None
    """Reads a picture; `read_image` by default."""


@dataclass(frozen=True)
class Outcome:
    """What became of a picture."""

    record: dict[str, object]
    """Its JSON record."""
    fault: Literal["", "failed", "misused"] = ""
    messages: tuple[logging.LogRecord, ...] = ()
    """What another process had to say meanwhile."""


def run_batch(args: ImagesArgs, sources: Sequence[str], stems: Sequence[str], work: Work) -> int:
    """Work on every picture; a bad one is told in one line and the others go on. Answers with the exit code."""
    batch = Batch(args, work)
    batch.check_model()
    return report(args, map(batch.work_on, sources, stems), len(sources))


def report(args: ImagesArgs, outcomes: Iterable[Outcome], pictures: int) -> int:
    """Show how a batch goes on, print the records that were asked for, and answer with the exit code."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    faults: list[str] = []
    # disable=None: a bar on a terminal only.
    disable = True if pictures == 1 else None
    with logging_redirect_tqdm(), tqdm(outcomes, total=pictures, unit="picture", disable=disable) as bar:
        for outcome in bar:
            for message in outcome.messages:
                logging.getLogger(message.name).handle(message)
            if args.json:
                print(json.dumps(outcome.record, ensure_ascii=False), flush=True)
            if outcome.fault:
                faults.append(outcome.fault)
    if not faults:
        return DONE
    if pictures > 1:
        logger.error("%d of %d pictures failed", len(faults), pictures)
        return FAILED
    return MISUSED if faults == ["misused"] else FAILED


def find_sources(args: ImagesArgs) -> tuple[list[str], list[str]]:
    """The pictures that the arguments name, and the stems of their results.

    Raises:
        Misuse: there are none, two would be written under one name, or the output folder is a file.
    """
    from zim_plugins.imaging.image import expand_inputs, output_stems

    if not args.images:
        raise Misuse("no picture given (sample:chelsea is always at hand)")
    try:
        sources = expand_inputs(args.images)
        stems = output_stems(sources)
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    if args.out != STDOUT and Path(args.out).exists() and not Path(args.out).is_dir():
        raise Misuse(f"--out {args.out} is a file: name a folder")
    return sources, stems


def write_all(files: dict[str, Path], pictures: "dict[str, np.ndarray | Raster]") -> None:
    """Write all pictures of a result, or none of them."""
    from zim_plugins.imaging.image import write_image
    from zim_plugins.imaging.raster import write_raster

    done: list[Path] = []
    try:
        for kind, path in files.items():
            picture = pictures[kind]
            if isinstance(picture, np.ndarray):
                write_image(path, picture)
            else:
                write_raster(path, picture)
            done.append(path)
    finally:
        if len(done) < len(files):  # also when the user interrupts
            for path in done:
                path.unlink(missing_ok=True)


class Batch:
    """One model for all pictures, loaded once the first picture that needs it is known to be good."""

    def __init__(self, args: ImagesArgs, work: Work) -> None:
        self.args = args
        self.work = work
        self._predictor: ImagePredictor | None = None

    def check_model(self) -> None:
        """Load a model of the hub at once: that it cannot be had is said before any image is read."""
        from zim_plugins.core.checkpoints.hub import is_hub_name

        if is_hub_name(self.args.model):
            self._load()

    def work_on(self, source: str, stem: str) -> Outcome:
        """Do the work on one picture."""
        files = self.work.files(stem)
        written = {kind: str(path) for kind, path in files.items()}
        if files and self.args.no_overwrite and all(path.exists() for path in files.values()):
            logger.info("%s: left out, its results are there", source)
            return Outcome({"image": source, "skipped": True, "files": written})
        try:
            image = self._read(source)
        except EXPECTED_FAULTS as error:
            return self._fault(source, error)
        predictor = self._load() if self.work.needs_model(image) else None
        start_s = time.perf_counter()
        try:
            said = self.work.act(predictor, image, files)
        except EXPECTED_FAULTS as error:
            return self._fault(source, error)
        seconds = round(time.perf_counter() - start_s, 3)
        common = {"image": source, "width": image.size[1], "height": image.size[0]}
        model: dict[str, object] = {"model": None}
        if predictor is not None:
            model = {"model": predictor.name, "checkpoint": self._checkpoint(predictor.name)}
        rest = {"files": written, "seconds": seconds, "notes": list(image.notes)}
        return Outcome(common | model | said | {key: value for key, value in rest.items() if key not in said})

    def _read(self, source: str) -> "Image":
        from zim_plugins.imaging.image import STDIN, read_image

        image = (self.work.read or read_image)(sys.stdin.buffer if source == STDIN else source)
        for note in image.notes:
            logger.info("%s: %s", source, note)
        try:
            self.work.check(image)
        except ValueError as error:
            raise Misuse(f"{source}: {error}") from error
        return image

    def _load(self) -> "ImagePredictor":
        if self._predictor is not None:
            return self._predictor
        from zim_plugins.core.load import load_predictor

        args = self.args
        predictor = load_predictor(
            args.model,
            runtime=args.runtime,
            device=args.device,
            dtype=args.dtype,
            zoom=False if args.no_zoom else None,
            refine=args.refine,
        )
        self._predictor = predictor
        return predictor

    def _checkpoint(self, name: str) -> str:
        """Where the weights lie that `load_predictor` took."""
        from zim_plugins.core.checkpoints.records import CHECKPOINTS, find

        return str(find(name)) if name in CHECKPOINTS else self.args.model

    def _fault(self, source: str, error: Exception) -> Outcome:
        if self.args.debug:
            raise error
        message = one_line(error)
        logger.error("%s", message if source in message else f"{source}: {message}")
        return Outcome({"image": source, "error": message}, "misused" if isinstance(error, Misuse) else "failed")
