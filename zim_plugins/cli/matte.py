"""`zim matte`: pictures and a prompt in, mattes and cut-outs out."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from jaxtyping import Float32
from tyro.conf import UseAppendAction, arg

from zim_plugins.cli.images import STDOUT, ImagesArgs, Work, find_sources, run_batch, write_all
from zim_plugins.cli.runtime import Misuse, one_line

if TYPE_CHECKING:
    from zim_plugins.core.predictor import ImagePredictor
    from zim_plugins.core.prompt import Prompt
    from zim_plugins.imaging.image import Image

OUTPUTS = ("alpha", "rgba", "overlay")


@dataclass(frozen=True)
class MatteArgs(ImagesArgs):
    """Cut an object out of pictures by clicks, a box, or both."""

    point: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X,Y[,LABEL]")]] = ()
    """A click in pixels of the upright picture; label 1 (default) is the object, 0 the background."""
    box: Annotated[str | None, arg(metavar="X1,Y1,X2,Y2")] = None
    """A box round the object."""
    out: Annotated[str, arg(metavar="DIR")] = "outputs"
    """Folder for <stem>_alpha.png, _rgba.png and _overlay.png; - writes one picture's cut-out to standard output."""


def main(args: MatteArgs) -> int:
    """Matte every picture."""
    from zim_plugins.core.prompt import parse_prompt

    sources, stems = find_sources(args)
    try:
        prompt = parse_prompt(args.point, args.box)
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    to_stdout = args.out == STDOUT
    if to_stdout and (len(sources) > 1 or args.json):
        raise Misuse("--out - writes one picture to standard output: give one picture, without --json")

    def files(stem: str) -> dict[str, Path]:
        return {} if to_stdout else {kind: Path(args.out) / f"{stem}_{kind}.png" for kind in OUTPUTS}

    def act(predictor: "ImagePredictor | None", image: "Image", files: dict[str, Path]) -> dict[str, object]:
        assert predictor is not None
        predictor.set_image(image.rgb)
        prediction = predictor.predict(prompt)
        write_results(image, prediction.alpha, prompt, files)
        return {"prompt": prompt.to_json(), "score": round(prediction.score, 4)}

    return run_batch(args, sources, stems, Work(files, lambda image: prompt.check_inside(image.size), act))


def write_results(image: "Image", alpha: Float32[np.ndarray, "h w"], prompt: "Prompt", files: dict[str, Path]) -> None:
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
    write_all(files, {"alpha": opacity, "rgba": rgba, "overlay": draw_overlay(image.rgb, alpha, prompt)})
