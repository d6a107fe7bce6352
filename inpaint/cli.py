"""`zim-inpaint`: pictures and a prompt in, the same pictures without the object out."""

import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from jaxtyping import Float32
from tyro.conf import Positional, UseAppendAction, arg

from zim_plugins.core import ZimError

if TYPE_CHECKING:
    from zim_plugins.core import Image, Predictor, Prompt

    from .inpainter import Inpainter
    from .pipeline import Removal

logger = logging.getLogger(__name__)

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""
EXPECTED_FAULTS = (ZimError, OSError, ValueError, RuntimeError, MemoryError)
"""What bad files, bad arguments, full disks and full devices raise: told in one line. Anything else is a bug."""
STDIN = "-"
OUTPUTS = ("alpha", "hole", "removed")


class Misuse(ZimError):
    """The command was called in a way that cannot work; nothing was done."""


@dataclass(frozen=True)
class Args:
    """Remove an object from pictures by clicks, a box, or both.

    Writes <stem>_removed.png, <stem>_alpha.png (the object's matte) and <stem>_hole.png (white: repainted). Pixels
    outside the hole stay as they are. Coordinates are pixels of the upright picture. Exit codes: 0 done, 1 a picture
    failed (the others are written), 2 misused.
    """

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """Files, folders, globs in quotes, sample:NAME (such as sample:chelsea), or - for standard input."""
    point: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X,Y[,LABEL]")]] = ()
    """A click; label 1 (default) is the object, 0 the background. Repeatable: all clicks name one object."""
    box: Annotated[str | None, arg(metavar="X1,Y1,X2,Y2")] = None
    """A box round the object."""
    mask: Annotated[str | None, arg(metavar="FILE")] = None
    """The object's matte or mask (grey, or with an alpha channel), at the size of the one picture; no model runs."""
    out: Annotated[str, arg(metavar="DIR")] = "outputs"
    """Folder for the results."""
    model: Annotated[str, arg(metavar="NAME")] = "auto"
    """Matting checkpoint by name (see `zim models`) or path; auto takes the best one on this machine."""
    backend: Annotated[str, arg(metavar="auto|patchmatch|cv2")] = "auto"
    """What fills the hole; auto takes the best one installed."""
    tau: float = 0.02
    """Opacity above which a pixel of the matte belongs to the hole."""
    grow: Annotated[int, arg(metavar="PX")] = 2
    """Radius by which the hole is dilated [px]."""
    unmix: bool = True
    """Recover the real background behind hair and soft edges; --no-unmix invents all of the hole."""
    zoom: bool = True
    """Refine large pictures by a second pass on the object's surroundings (matting models only)."""
    overwrite: bool = True
    """Write anew what is there; --no-overwrite leaves out pictures whose results are all there."""
    json: bool = False
    """Print one JSON record per picture on standard output."""
    debug: bool = False
    """Show the traceback of a fault."""


def main(args: Args) -> int:
    """Remove the object from every picture; a bad one is told in one line and the others go on."""
    _start_logging(debug=args.debug)
    try:
        return _remove_all(args)
    except KeyboardInterrupt:
        logger.error("interrupted")
        return INTERRUPTED
    except EXPECTED_FAULTS as error:
        if args.debug:
            raise
        logger.error("%s", _one_line(error))
        return MISUSED if isinstance(error, Misuse) else FAILED


def entrypoint() -> None:
    """Run `zim-inpaint`."""
    raise SystemExit(main(tyro.cli(Args, prog="zim-inpaint")))


def _remove_all(args: Args) -> int:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from zim_plugins.core import expand_inputs, output_stems

    from .inpainter import choose_backend

    try:
        prompt = _parse_target(args)
        sources = expand_inputs(args.images)
        stems = output_stems(sources)
        choose_backend(args.backend)
    except ValueError as error:
        raise Misuse(_one_line(error)) from error
    if args.mask is not None and len(sources) > 1:
        raise Misuse(f"--mask {args.mask} belongs to one picture, {len(sources)} were given")
    if Path(args.out).exists() and not Path(args.out).is_dir():
        raise Misuse(f"--out {args.out} is a file: name a folder")

    batch = _Batch(args, prompt)
    # disable=None: a bar on a terminal only.
    with logging_redirect_tqdm(), tqdm(sources, unit="picture", disable=True if len(sources) == 1 else None) as bar:
        for source, stem in zip(bar, stems, strict=True):
            record = batch.remove(source, stem)
            if args.json:
                print(json.dumps(record, ensure_ascii=False), flush=True)
    if not batch.faults:
        return DONE
    if len(sources) > 1:
        logger.error("%d of %d pictures failed", len(batch.faults), len(sources))
        return FAILED
    return MISUSED if isinstance(batch.faults[0], Misuse) else FAILED


def _parse_target(args: Args) -> "Prompt | None":
    """The prompt, or None where a matte is given instead. Raises: ValueError for what cannot work."""
    from zim_plugins.core import parse_prompt

    if not args.images:
        raise ValueError("no picture given: zim-inpaint IMAGE --point x,y (sample:chelsea is always at hand)")
    if not 0.0 <= args.tau < 1.0:
        raise ValueError(f"--tau is an opacity in [0, 1), got {args.tau:g}")
    if args.grow < 0:
        raise ValueError(f"--grow is a radius of at least 0 px, got {args.grow}")
    if args.mask is None:
        return parse_prompt(args.point, args.box)
    if args.point or args.box is not None:
        raise ValueError("--mask is the matte itself: give it without --point and --box")
    return None


class _Batch:
    """One target on picture after picture; models are loaded once the first picture is known to be good."""

    def __init__(self, args: Args, prompt: "Prompt | None") -> None:
        self.args = args
        self.prompt = prompt
        self.faults: list[Exception] = []
        self._inpainter: Inpainter | None = None
        self._predictor: Predictor | None = None

    def remove(self, source: str, stem: str) -> dict[str, object]:
        """Take the object out of one picture, write the results, and answer with the record."""
        from zim_plugins.core import ImagePredictor

        from .pipeline import remove

        args = self.args
        files = {kind: Path(args.out) / f"{stem}_{kind}.png" for kind in OUTPUTS}
        written = {kind: str(path) for kind, path in files.items()}
        if not args.overwrite and all(path.is_file() for path in files.values()):
            logger.info("%s: left out, its results are there", source)
            return {"image": source, "skipped": True, "files": written}
        try:
            image = self._read(source)
            start_s = time.perf_counter()
            target = self.prompt or _read_mask(args.mask or "", image)
            inpainter, predictor = self._load_inpainter(), self._load_predictor()
            removal = remove(
                image.rgb,
                target,
                predictor=predictor,
                inpainter=inpainter,
                tau=args.tau,
                grow_px=args.grow,
                unmix=args.unmix,
            )
            for warning in removal.warnings:
                logger.warning("%s: %s", source, warning)
            _write(removal, files)
        except EXPECTED_FAULTS as error:
            if args.debug:
                raise
            self.faults.append(error)
            message = _one_line(error)
            logger.error("%s", message if source in message else f"{source}: {message}")
            return {"image": source, "error": message}
        return {
            "image": source,
            "width": image.size[1],
            "height": image.size[0],
            "target": _describe(self.prompt, args.mask),
            "model": predictor.backend.name if isinstance(predictor, ImagePredictor) else None,
            "backend": inpainter.name,
            "unmix": args.unmix,
            "hole_share": round(float(removal.hole.mean()), 5),
            "files": written,
            "warnings": list(removal.warnings),
            "seconds": round(time.perf_counter() - start_s, 3),
            "notes": list(image.notes),
        }

    def _read(self, source: str) -> "Image":
        from zim_plugins.core import read_image

        image = read_image(sys.stdin.buffer if source == STDIN else source)
        for note in image.notes:
            logger.info("%s: %s", source, note)
        try:
            if self.prompt is not None:
                self.prompt.check_inside(image.size)
        except ValueError as error:
            raise Misuse(f"{source}: {error}") from error
        return image

    def _load_inpainter(self) -> "Inpainter":
        from .inpainter import load_inpainter

        if self._inpainter is None:
            self._inpainter = load_inpainter(self.args.backend)
        return self._inpainter

    def _load_predictor(self) -> "Predictor | None":
        if self.args.mask is None and self._predictor is None:
            from zim_plugins.core import load_predictor

            self._predictor = load_predictor(self.args.model, zoom=None if self.args.zoom else False)
        return self._predictor


def _read_mask(path: str, image: "Image") -> Float32[np.ndarray, "h w"]:
    from zim_plugins.core import read_alpha

    alpha = read_alpha(path)
    if alpha.shape != image.size:
        (height, width), (h, w) = image.size, alpha.shape
        raise Misuse(f"--mask {path} is {w}x{h} px, the picture {image.name} is {width}x{height} px")
    return alpha


def _write(removal: "Removal", files: dict[str, Path]) -> None:
    """Write all three pictures, or none of them."""
    from zim_plugins.core import write_image

    arrays = {"alpha": removal.alpha, "hole": removal.hole.astype(np.uint8) * 255, "removed": removal.image}
    done: list[Path] = []
    try:
        for kind, path in files.items():
            done.append(write_image(path, arrays[kind]))
    except ZimError:
        for path in done:
            path.unlink(missing_ok=True)
        raise


def _describe(prompt: "Prompt | None", mask: str | None) -> dict[str, object]:
    """What was removed, as JSON: points as [x, y, label], box as [x1, y1, x2, y2] [px], or the mask's file."""
    if prompt is None:
        return {"mask": mask}
    described: dict[str, object] = {}
    if prompt.points is not None and prompt.labels is not None:
        pairs = zip(prompt.points.tolist(), prompt.labels.tolist(), strict=True)
        described["points"] = [[x, y, label] for (x, y), label in pairs]
    if prompt.box is not None:
        described["box"] = prompt.box.tolist()
    return described


def _start_logging(*, debug: bool) -> None:
    """Send this project's messages, and others' warnings, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("zim_plugins", "inpaint"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)


def _one_line(error: BaseException) -> str:
    """An error's message without its line breaks; its type where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
