"""`zim matte`: images and a prompt in, mattes and cut-outs out."""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from zim_plugins.cli.images import STDOUT, ImagesArgs, Work, find_sources, recipe_of, run_batch
from zim_plugins.cli.runtime import Misuse, one_line

if TYPE_CHECKING:
    from zim_plugins.cli.matting.rendering import Answer, Output
    from zim_plugins.cli.matting.targets import Target
    from zim_plugins.core.encoding import Predictor
    from zim_plugins.core.prompt import Prompt
    from zim_plugins.core.text_boxes import CallableDetector, TextDetector
    from zim_plugins.imaging.image import Image

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MatteArgs(ImagesArgs):
    """Cut an object out of images by clicks, a box, a mask, strokes, or without any: the salient object.

    Writes <name>_alpha.png, _rgba.png and _overlay.png, which hold all objects of an image together. Names mirror the
    tree of the inputs; the hidden folder .zim-records beside the results says what each was made from. Exit codes: 0
    done, 1 an image failed (the others are written), 2 misused, 130 interrupted.
    """

    point: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X,Y[,LABEL]")]] = ()
    """A click in pixels of the upright image, or in shares of it, as 40%,50%; label 1 (default) is the object, 0 the
    background. Repeatable: all clicks name one object."""
    box: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X1,Y1,X2,Y2")]] = ()
    """A box round the object. Repeatable: each box names an object."""
    also: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="OBJECT")]] = ()
    """A further object: clicks and a box divided by semicolons, "x,y;x,y,0" or "x1,y1,x2,y2;x,y"."""
    mask: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="FILE|FOLDER")]] = ()
    """A coarse matte or mask to refine: a file for one image, or a folder with one for each (x.* or x_mask.* for
    x.jpg). With clicks or a box it names one object with them. Repeatable: each names an object."""
    scribble: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="FILE|FOLDER")]] = ()
    """Strokes at the image's size: white or green on the object, red on the background; otherwise as --mask."""
    text: Annotated[str | None, arg(metavar="WORDS")] = None
    """Name of objects, as "the red car": every instance that a detector of transformers finds (extra `models`)."""
    text_best: bool = False
    """Take only the best-scored instance of --text."""
    text_model: Annotated[str | None, arg(metavar="NAME")] = None
    """Grounding DINO, OWLv2 or SAM 3 for --text: folder, name on the Hugging Face hub, or FILE.py:FUNCTION."""
    all: bool = False
    """Matte all objects of an image together, found by a grid of clicks."""
    list: Annotated[str | None, arg(metavar="FILE")] = None
    """Images with their objects instead of IMAGE: .csv, .json or .jsonl with image, points, box, mask, scribble, also;
    several rows of an image are several objects."""
    frames: Annotated[str | None, arg(metavar="RANGE")] = None
    """Frames 0-99, 1001-1100x5, 3,7 or all, of shot.####.exr or shot.%%04d.png, of a folder of numbered files, or of a
    file of several pages (counted from 0)."""
    outputs: Annotated[str, arg(metavar="KIND,...")] = "alpha,rgba,overlay"
    """Which of alpha, rgba (the cut-out with clean colours), overlay, trimap and labelme (outlines of the objects as
    labelme's JSON, which names the image by its place) to write."""
    format: Literal["auto", "png", "tiff", "exr", "webp"] = "auto"
    """Of matte and cut-out; auto is EXR for OpenEXR images, PNG for others. Overlay and trimap are PNG, or WebP."""
    depth: Literal["auto", "8", "16", "32"] = "auto"
    """Bits per channel; auto is the image's own. EXR and 32 bits of TIFF are floating point; EXR is linear light."""
    premultiplied: bool = False
    """Multiply the cut-out's colours by its opacity, as EXR has them by default."""
    straight: bool = False
    """Do not, in EXR either."""
    jobs: Annotated[int, arg(metavar="N")] = 1
    """Images worked on at once, each in a process with a model of its own."""
    rle: bool = False
    """Add each object's mask (opacity above one half) to the records of --json, as COCO's run lengths."""
    polygons: bool = False
    """The same as polygons; those of --coco too."""
    coco: Annotated[str | None, arg(metavar="FILE.json")] = None
    """Write one COCO data set of all images' objects, besides the results."""
    out: Annotated[str, arg(metavar="DIR|FILE", aliases=["-o"])] = "outputs"
    """Folder for the results; for one image also a file, such as cat.png, for its cut-out or for the one kind that
    --outputs names; - writes that to standard output."""


Objects = dict[str, "tuple[Target, ...]"]
"""By image."""


def main(args: MatteArgs) -> int:
    """Matte every image."""
    from zim_plugins.cli.matting.targets import Target

    try:
        output = output_of(args)
        args, objects, sources, names = take_objects(args)
        if args.jobs < 1:
            raise ValueError(f"--jobs is a number of processes of at least 1, got {args.jobs}")
        output.check_sources(sources)
        _check_single(args, sources)
        _check_exchange(args)
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    if args.text is None and (args.text_best or args.text_model is not None):
        raise Misuse("--text-best and --text-model belong to --text WORDS")
    if args.all and (args.text is not None or any(targets != (Target(),) for targets in objects.values())):
        raise Misuse("--all takes every object: leave out --point, --box, --mask and the like")
    make = partial(make_work, args, output, objects, dict(zip(names, sources, strict=True)))
    if args.jobs > 1 and len(sources) > 1:
        if STDOUT in sources:
            raise Misuse("standard input is one process's: leave out --jobs, or -")
        from zim_plugins.cli.processes import run_in_processes

        batch = partial(run_in_processes, args, sources, names, make, jobs=args.jobs, package="zim_plugins")
        return _collected(args, batch)
    detector = None
    if args.text is not None:  # that it cannot be had is said before any image is read
        from zim_plugins.cli.matting.words import load_detector

        detector = load_detector(args.text, args.text_model, args.device)
    return _collected(args, partial(run_batch, args, sources, names, make(detector)))


def _collected(args: MatteArgs, batch: Callable[..., int]) -> int:
    """Run a batch and write its COCO file."""
    if args.coco is None:
        return batch()
    from zim_plugins.cli.matting.exchange import CocoFile

    file = CocoFile(args.coco)
    code = batch(collect=file.collect)
    file.write()
    logger.info("%d images in %s", len(file.images), args.coco)
    return code


def _check_exchange(args: MatteArgs) -> None:
    """Raise ValueError for outlines that would go nowhere, and for a COCO file that would lack images."""
    if args.rle and not args.json:
        raise ValueError("--rle adds to the records of --json: give that, too")
    if args.polygons and not (args.json or args.coco is not None):
        raise ValueError("--polygons adds to the records of --json, or to --coco: give one of them, too")
    if args.coco is None:
        return
    from zim_plugins.imaging.results import check_writable

    if args.resume or args.no_overwrite:
        raise ValueError("--coco needs every image: leave out --resume and --no-overwrite")
    if not args.coco.lower().endswith(".json"):
        raise ValueError(f"--coco {args.coco}: a COCO file is a .json file")
    if Path(args.coco).exists() and not args.overwrite:
        raise ValueError(f"--coco {args.coco} is there: choose another name, or --overwrite")
    check_writable(Path(args.coco).parent)


def output_of(args: MatteArgs) -> "Output":
    """Return what is written and how. Raises ValueError where options contradict each other."""
    from zim_plugins.cli.matting.rendering import FORMATS, LABEL, Output

    kinds = tuple(dict.fromkeys(kind.strip() for kind in args.outputs.split(",") if kind.strip()))
    if args.premultiplied and args.straight:
        raise ValueError("--premultiplied and --straight contradict each other: give one of them")
    chosen: str = args.format
    is_default = args.outputs == MatteArgs.outputs
    if names_a_file(args.out) or args.out == STDOUT:
        if not is_default and len(kinds) != 1:
            raise ValueError(f"--out {args.out} is one file: give --outputs one kind, or name a folder")
        is_json = _is_json(args.out)
        kinds = kinds if not is_default else ("labelme",) if is_json else ("rgba",)
        if names_a_file(args.out) and is_json != (kinds == ("labelme",)):
            raise ValueError(f"cannot write {kinds[0]} as --out {args.out}: labelme is .json, others are images")
    if names_a_file(args.out) and not _is_json(args.out):
        named = FORMATS.get(Path(args.out).suffix.lower())
        if named is None:
            raise ValueError(f"cannot write --out {args.out}: results are {', '.join(FORMATS)}")
        if chosen not in ("auto", named):
            raise ValueError(f"--out {args.out} names a format of its own: leave out --format {chosen}")
        chosen = named
    premultiplied = True if args.premultiplied else False if args.straight else None
    output = Output(kinds, chosen, args.depth, premultiplied, (args.text or "").strip() or LABEL)
    output.check()
    return output


def names_a_file(out: str) -> bool:
    """Return whether `--out` names a result's file, not a folder: by its suffix, unless a folder is called so."""
    from zim_plugins.imaging.formats import is_image

    return out != STDOUT and (is_image(out) or _is_json(out)) and not Path(out).is_dir()


def _is_json(out: str) -> bool:
    return Path(out).suffix.lower() == ".json"


def _check_single(args: MatteArgs, sources: Sequence[str]) -> None:
    if args.out == STDOUT and (len(sources) > 1 or args.json):
        raise ValueError("--out - writes one image to standard output: give one image, without --json")
    if names_a_file(args.out) and len(sources) > 1:
        raise ValueError(f"--out {args.out} is one file, and there are {len(sources)} images: name a folder")


def take_objects(args: MatteArgs) -> tuple[MatteArgs, Objects, list[str], list[str]]:
    """Return the images with their objects and the names of their results.

    Raises:
        ValueError: options or a list that cannot work.
    """
    from zim_plugins.cli.matting.lists import read_list
    from zim_plugins.cli.matting.targets import Target, files_for

    pointed = args.point or args.box or args.also or args.mask or args.scribble or args.text
    if args.list is not None:
        if args.images or pointed or args.frames:
            raise ValueError(f"the list {args.list} names images and objects: give it alone")
        rows = read_list(args.list)
        sources, names = find_sources(replace(args, images=tuple(rows)), exact=True)
        return args, {source: rows[source] for source in sources}, sources, names
    if args.frames is not None and args.images:
        from zim_plugins.cli.matting.frames import expand_frames, parse_frames

        chosen = expand_frames(args.images, parse_frames(args.frames))
        args = replace(args, images=tuple(chosen))
    from zim_plugins.core.prompt_text import parse_objects

    texts = parse_objects(args.point, args.box, args.also)
    sources, names = find_sources(args)
    masks = [files_for(given, sources, names, "--mask") for given in args.mask]
    scribbles = [files_for(given, sources, names, "--scribble") for given in args.scribble]
    count = max(len(masks), len(scribbles))
    if len(masks) > 1 and len(scribbles) > 1:
        raise ValueError("several masks and several scribbles: which belong together? Name them in a --list")
    if count and (args.point or args.box) and (count > 1 or len(args.box) > 1):
        raise ValueError("several files, or several boxes: which belong together? Name them in a --list")
    objects: Objects = {}
    for index, source in enumerate(sources):
        named = [Target(text) for text in texts]
        filed = [_filed(masks, scribbles, number, index, source) for number in range(count)]
        if filed and (args.point or args.box):  # clicks or a box name the same object
            filed[0] = replace(filed[0], text=named.pop(0).text)
        objects[source] = tuple([*filed, *named]) or (() if args.text is not None else (Target(),))
    return args, objects, sources, names


def _filed(
    masks: "Sequence[Sequence[str | None]]",
    scribbles: "Sequence[Sequence[str | None]]",
    number: int,
    index: int,
    source: str,
) -> "Target":
    """Return the object that the files of one number name in one image."""
    from zim_plugins.cli.matting.targets import Target

    mask = masks[number][index] if number < len(masks) else None
    scribble = scribbles[number][index] if number < len(scribbles) else None
    missing = ""
    if (mask is None and number < len(masks)) or (scribble is None and number < len(scribbles)):
        missing = f"no file for {source} in the folder of --{'mask' if mask is None else 'scribble'}"
    return Target(mask=mask, scribble=scribble, missing=missing)


def make_work(
    args: MatteArgs,
    output: "Output",
    objects: Objects,
    sources: dict[str, str],
    detector: "TextDetector | CallableDetector | None" = None,
) -> Work:
    """Return what is done with each image, in the process that does it; the detector is loaded when it is needed."""
    from zim_plugins.imaging.masks import mask_path
    from zim_plugins.imaging.raster import read_original

    def read(source: Any, **how: Any) -> "Image":
        image = read_original(source, **how)
        return replace(image, notes=tuple(note for note in image.notes if " written as " not in note))

    def files(name: str) -> dict[str, Path]:
        if args.out == STDOUT:
            return {}
        if names_a_file(args.out):
            return {output.kinds[0]: Path(args.out)}
        return {kind: Path(args.out) / f"{name}_{kind}{output.suffix(sources[name], kind)}" for kind in output.kinds}

    def check(image: "Image") -> None:
        for target in objects[image.name]:
            target.prompt(image.size)

    def act(predictor: "Predictor | None", image: "Image", files: dict[str, Path]) -> dict[str, object]:
        from zim_plugins.cli.matting.rendering import write_results
        from zim_plugins.imaging.raster import Original

        assert predictor is not None and isinstance(image, Original)
        named = _named(image) if args.text is not None else []
        answer = _matte(predictor, image, objects[image.name], named, args, output)
        if not files:
            _to_stdout(image, answer, output)
            return answer.said
        notes = write_results(files, image, answer, output)
        for note in notes:
            logger.info("%s: %s", image.name, note)
        return {**answer.said, "notes": [*image.notes, *notes]}

    detectors = [detector] if detector is not None else []

    def _named(image: "Image") -> "list[Prompt]":
        from zim_plugins.cli.matting.words import find_named, load_detector

        words = args.text or ""
        detectors[:] = detectors or [load_detector(words, args.text_model, args.device)]
        return find_named(detectors[0], image, words, only_best=args.text_best)

    def recipe(source: str) -> dict[str, object]:
        prompt: Any = "all" if args.all else [target.to_json() for target in objects[source]]
        return recipe_of(args, "matte", prompt)

    named = [file for targets in objects.values() for one in targets for file in (one.mask, one.scribble) if file]
    single = names_a_file(args.out)
    return Work(
        files,
        check,
        act,
        read=read,
        recipe=recipe,
        place=(lambda name: Path(args.out).with_suffix("")) if single else None,
        also_read=tuple([*map(mask_path, named), *([args.list] if args.list else [])]),
    )


def _matte(
    predictor: "Predictor",
    image: "Image",
    targets: "Sequence[Target]",
    named: "Sequence[Prompt]",
    args: MatteArgs,
    output: "Output",
) -> "Answer":
    """Matte the objects of an image."""
    from zim_plugins.cli.matting.exchange import describe
    from zim_plugins.cli.matting.rendering import Answer

    ways = {"rle": args.rle, "polygons": args.polygons, "coco": args.coco is not None}
    if args.all:
        from zim_plugins.cli.matting.whole import WholeMattes, unite_cropped
        from zim_plugins.core.automatic import matte_everything
        from zim_plugins.core.overlay import draw_objects

        found = matte_everything(predictor, image.rgb)
        if not found:
            logger.warning("%s: no object is sure enough", image.name)
        described = [{"box": list(one.box), "score": round(one.score, 4)} for one in found]
        alphas = WholeMattes(found)
        more = describe(alphas, [row["score"] for row in described], **ways)
        overlay = draw_objects(image.rgb, found) if "overlay" in output.kinds else None
        said = {"prompt": "all", "objects": described, **more}
        return Answer(unite_cropped(found, image.size), said, (), alphas, overlay)
    from zim_plugins.core.prediction import unite

    prompts = [*(target.prompt(image.size) for target in targets), *named]
    predictor.set_image(image.rgb)
    predictions = predictor.predict_many(prompts)
    scores = [round(one.score, 4) for one in predictions]
    rows = [_said(prompt, target) for prompt, target in zip(prompts, targets, strict=False)]
    rows += [prompt.to_json() for prompt in named]
    said: dict[str, object] = {"prompt": rows[0], "score": scores[0]}
    if len(prompts) > 1:
        said = {"prompt": {"objects": rows}, "score": min(scores), "scores": scores}
    alphas = [one.alpha for one in predictions]
    return Answer(unite(alphas), {**said, **describe(alphas, scores, **ways)}, prompts, alphas)


def _said(prompt: "Prompt", target: "Target") -> dict[str, object]:
    files = {"mask": target.mask, "scribble": target.scribble}
    return {**prompt.to_json(), **{key: path for key, path in files.items() if path is not None}}


def _to_stdout(image: Any, answer: "Answer", output: "Output") -> None:
    from zim_plugins.cli.matting.rendering import encode_result

    sys.stdout.buffer.write(encode_result(image, answer, output))
    sys.stdout.buffer.flush()
