"""`zim matte`: pictures and a prompt in, mattes and cut-outs out."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from jaxtyping import Float32
from tyro.conf import UseAppendAction, arg

from zim_plugins.cli.images import STDOUT, ImagesArgs, Work, find_sources, recipe_of, run_batch, write_all
from zim_plugins.cli.runtime import Misuse, one_line

if TYPE_CHECKING:
    from zim_plugins.core.predictor import ImagePredictor
    from zim_plugins.core.prompt import Prompt
    from zim_plugins.core.text_boxes import TextDetector
    from zim_plugins.imaging.image import Image

logger = logging.getLogger(__name__)

OUTPUTS = ("alpha", "rgba", "overlay")


@dataclass(frozen=True)
class MatteArgs(ImagesArgs):
    """Cut an object out of pictures by clicks, a box, or both."""

    point: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X,Y[,LABEL]")]] = ()
    """A click in pixels of the upright image, or in shares of it, as 40%,50%; label 1 (default) is the object, 0 the
    background. Repeatable: all clicks name one object."""
    box: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X1,Y1,X2,Y2")]] = ()
    """A box round the object. Repeatable: each box names an object."""
    also: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="OBJECT")]] = ()
    """A further object: clicks and a box divided by semicolons, "x,y;x,y,0" or "x1,y1,x2,y2;x,y"."""
    text: Annotated[str | None, arg(metavar="WORDS")] = None
    """Name of objects, as "the red car": every instance that a detector of transformers finds (extra `models`)."""
    text_best: bool = False
    """Take only the best-scored instance of --text."""
    text_model: Annotated[str | None, arg(metavar="NAME")] = None
    """Grounding DINO, OWLv2 or SAM 3 for --text: folder, or name on the Hugging Face hub."""
    out: Annotated[str, arg(metavar="DIR", aliases=["-o"])] = "outputs"
    """Folder for <stem>_alpha.png, _rgba.png and _overlay.png, which hold all objects together; - writes one
    picture's cut-out to standard output."""


def main(args: MatteArgs) -> int:
    """Matte every picture."""
    from zim_plugins.core.prompt_text import parse_objects

    sources, stems = find_sources(args)
    try:
        objects = parse_objects(args.point, args.box, args.also)
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    if args.text is None and (args.text_best or args.text_model is not None):
        raise Misuse("--text-best and --text-model belong to --text WORDS")
    if not objects and args.text is None:
        raise Misuse(
            "no prompt: give --text WORDS, --point x,y (repeatable; x,y,0 for background) or --box x1,y1,x2,y2"
        )
    to_stdout = args.out == STDOUT
    if to_stdout and (len(sources) > 1 or args.json):
        raise Misuse("--out - writes one picture to standard output: give one picture, without --json")

    def files(stem: str) -> dict[str, Path]:
        return {} if to_stdout else {kind: Path(args.out) / f"{stem}_{kind}.png" for kind in OUTPUTS}

    detector = None if args.text is None else _detector(args)

    def act(predictor: "ImagePredictor | None", image: "Image", files: dict[str, Path]) -> dict[str, object]:
        assert predictor is not None
        prompts = [one.on(image.size) for one in objects]
        if detector is not None and args.text is not None:
            prompts += _named(detector, image, args)
        predictor.set_image(image.rgb)
        predictions = predictor.predict_many(prompts)
        write_results(image, unite([one.alpha for one in predictions]), prompts, files)
        scores = [round(one.score, 4) for one in predictions]
        if len(prompts) == 1:
            return {"prompt": prompts[0].to_json(), "score": scores[0]}
        return {"prompt": {"objects": [one.to_json() for one in prompts]}, "score": min(scores), "scores": scores}

    def check(image: "Image") -> None:
        for one in objects:
            one.on(image.size)

    def recipe(source: str) -> dict[str, object]:
        return recipe_of(args, "matte", [one.to_json() for one in objects])

    return run_batch(args, sources, stems, Work(files, check, act, recipe=recipe))


def _detector(args: MatteArgs) -> "TextDetector":
    """Return what finds the objects of --text; that it cannot be had is said before any image is read."""
    from zim_plugins.core.text_boxes import load_text_detector

    if not (args.text or "").strip():
        raise Misuse("--text is empty: name the object")
    return load_text_detector(args.text_model, device=args.device)


def _named(detector: "TextDetector", image: "Image", args: MatteArgs) -> "list[Prompt]":
    """Return the instances of what --text names as prompts, and log which they are."""
    found = detector.find(image.rgb, args.text or "", which="best" if args.text_best else "all")
    if not found:
        raise ValueError(f"nothing that is {args.text!r} is found: click on it, or give a box")
    for one in found:
        logger.info("%r: box %s, score %.2f", args.text, ",".join(f"{side:.0f}" for side in one.box), one.score)
    return [one.prompt() for one in found]


def unite(alphas: "Sequence[Float32[np.ndarray, 'h w']]") -> Float32[np.ndarray, "h w"]:
    """Return the opacity of several mattes together: 1 - (1 - a)(1 - b)..."""
    union = alphas[0]
    for alpha in alphas[1:]:
        union = union + alpha - union * alpha
    return union


def write_results(
    image: "Image", alpha: Float32[np.ndarray, "h w"], prompts: "Sequence[Prompt]", files: dict[str, Path]
) -> None:
    """Write the matte, the cut-out and the overlay; without `files` the cut-out alone, to standard output."""
    from zim_plugins.core.overlay import draw_overlay
    from zim_plugins.imaging.foreground import foreground_colours
    from zim_plugins.imaging.image import encode_png

    # In 8 bits from here on: floats of a large picture would be what decides the peak of memory.
    colours = foreground_colours(image.rgb, alpha)
    opacity = (alpha * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    rgba = np.dstack([colours, opacity])
    if not files:
        sys.stdout.buffer.write(encode_png(rgba))
        sys.stdout.buffer.flush()
        return
    write_all(files, {"alpha": opacity, "rgba": rgba, "overlay": draw_overlay(image.rgb, alpha, *prompts)})
