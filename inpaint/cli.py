"""`zim-inpaint`: pictures and a prompt in, the same pictures without the object out."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from jaxtyping import Float32
from tyro.conf import UseAppendAction, arg

from zim_plugins.commands.batch import ImagesArgs, Work, find_sources, run_batch, write_all
from zim_plugins.commands.session import Misuse, one_line, run

if TYPE_CHECKING:
    from zim_plugins.core import Image, ImagePredictor, Prompt

    from .inpainter import Inpainter

logger = logging.getLogger(__name__)

OUTPUTS = ("alpha", "hole", "removed")


@dataclass(frozen=True)
class Args(ImagesArgs):
    """Remove an object from pictures by clicks, a box, or both.

    Writes <stem>_removed.png, <stem>_alpha.png (the object's matte) and <stem>_hole.png (white: repainted). Pixels
    outside the hole stay as they are. Coordinates are pixels of the upright picture. Exit codes: 0 done, 1 a picture
    failed (the others are written), 2 misused.
    """

    point: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X,Y[,LABEL]")]] = ()
    """A click; label 1 (default) is the object, 0 the background. Repeatable: all clicks name one object."""
    box: Annotated[str | None, arg(metavar="X1,Y1,X2,Y2")] = None
    """A box round the object."""
    mask: Annotated[str | None, arg(metavar="FILE")] = None
    """The object's matte or mask (grey, or with an alpha channel), at the size of the one picture; no model runs."""
    backend: Annotated[str, arg(metavar="auto|patchmatch|cv2")] = "auto"
    """What fills the hole; auto takes the best one installed."""
    tau: float = 0.02
    """Opacity above which a pixel of the matte belongs to the hole."""
    grow: Annotated[int, arg(metavar="PX")] = 2
    """Radius by which the hole is dilated [px]."""
    no_unmix: bool = False
    """Invent all of the hole, instead of recovering the real background behind hair and soft edges."""


def main(args: Args) -> int:
    """Remove the object from every picture."""
    from .inpainter import Inpainter, choose_backend, load_inpainter

    sources, stems = find_sources(args)
    try:
        prompt = _parse_target(args)
        choose_backend(args.backend)
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    if args.mask is not None and len(sources) > 1:
        raise Misuse(f"--mask {args.mask} belongs to one picture, {len(sources)} were given")
    loaded: list[Inpainter] = []

    def act(predictor: "ImagePredictor | None", image: "Image", files: dict[str, Path]) -> dict[str, object]:
        target = prompt or _read_mask(args.mask or "", image)
        loaded[:] = loaded or [load_inpainter(args.backend)]
        return _remove(args, target, predictor, loaded[0], image, files)

    work = Work(
        files=lambda stem: {kind: Path(args.out) / f"{stem}_{kind}.png" for kind in OUTPUTS},
        check=lambda image: None if prompt is None else prompt.check_inside(image.size),
        act=act,
        needs_model=args.mask is None,
    )
    return run_batch(args, sources, stems, work)


def entrypoint() -> None:
    """Run `zim-inpaint`."""
    args = tyro.cli(Args, prog="zim-inpaint", config=(tyro.conf.FlagCreatePairsOff,))
    raise SystemExit(run(main, args, package="inpaint"))


def _remove(
    args: Args,
    target: "Prompt | Float32[np.ndarray, 'h w']",
    predictor: "ImagePredictor | None",
    inpainter: "Inpainter",
    image: "Image",
    files: dict[str, Path],
) -> dict[str, object]:
    """Take the object out of one picture, write the results, and answer with what the record says of it."""
    from .removal import remove

    removal = remove(
        image.rgb,
        target,
        predictor=predictor,
        inpainter=inpainter,
        tau=args.tau,
        grow_px=args.grow,
        unmix=not args.no_unmix,
    )
    for warning in removal.warnings:
        logger.warning("%s: %s", image.name, warning)
    hole = removal.hole.astype(np.uint8) * 255
    write_all(files, {"alpha": removal.alpha, "hole": hole, "removed": removal.image})
    return {
        "prompt": {"mask": args.mask} if isinstance(target, np.ndarray) else target.to_json(),
        "backend": inpainter.name,
        "unmix": not args.no_unmix,
        "hole_share": round(float(removal.hole.mean()), 5),
        "warnings": list(removal.warnings),
    }


def _parse_target(args: Args) -> "Prompt | None":
    """The prompt, or None where a matte is given instead. Raises: ValueError for what cannot work."""
    from zim_plugins.core import parse_prompt

    if not 0.0 <= args.tau < 1.0:
        raise ValueError(f"--tau is an opacity in [0, 1), got {args.tau:g}")
    if args.grow < 0:
        raise ValueError(f"--grow is a radius of at least 0 px, got {args.grow}")
    if args.mask is None:
        return parse_prompt(args.point, args.box)
    if args.point or args.box is not None:
        raise ValueError("--mask is the matte itself: give it without --point and --box")
    return None


def _read_mask(path: str, image: "Image") -> Float32[np.ndarray, "h w"]:
    from zim_plugins.core import read_alpha

    alpha = read_alpha(path)
    if alpha.shape != image.size:
        (height, width), (h, w) = image.size, alpha.shape
        raise Misuse(f"--mask {path} is {w}x{h} px, the picture {image.name} is {width}x{height} px")
    return alpha
