"""The options of `zim-inpaint`, task by task."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from zim_plugins.cli.images import ImagesArgs


@dataclass(frozen=True)
class TaskArgs(ImagesArgs):
    """Options of every task."""

    point: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X,Y[,LABEL]")]] = ()
    """A click in pixels, or in shares of the image, as 40%,50%; label 1 (default) is the object, 0 the background.
    Repeatable: all clicks name one object."""
    box: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X1,Y1,X2,Y2")]] = ()
    """A box round the object. Repeatable: each box names an object."""
    also: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="OBJECT")]] = ()
    """A further object, such as a shadow: clicks and a box divided by semicolons, "x,y;x,y,0" or "x1,y1,x2,y2"."""
    objects: Annotated[str | None, arg(metavar="FILE.json")] = None
    """Further objects from a file: [{"points": [[x, y, label]], "box": [x1, y1, x2, y2]}, ...]."""
    mask: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="FILE|FOLDER")]] = ()
    """The object's matte or mask (grey, or with an alpha channel), at the size of the image; one file serves all
    images, a folder holds masks by the images' names (a.* or a_mask.* for a.jpg). FILE#2 is the second object of a file
    that numbers them. Repeatable: each names an object."""
    text: Annotated[str | None, arg(metavar="WORDS")] = None
    """Name of objects, as "the red car": every instance that a detector of transformers finds (extra `models`)."""
    text_best: bool = False
    """Take only the best-scored instance of --text."""
    text_model: Annotated[str | None, arg(metavar="NAME")] = None
    """Grounding DINO, OWLv2 or SAM 3 for --text: folder, name on the Hugging Face hub, or FILE.py:FUNCTION."""
    list: Annotated[str | None, arg(metavar="FILE")] = None
    """Images with their objects, instead of IMAGE: .csv, .json or .jsonl with image, points, box, mask, text, also,
    objects, prompt, background; rows of one image name several objects of it."""
    out: Annotated[str, arg(metavar="DIR|FILE", aliases=["-o"])] = "outputs"
    """Folder for the results; for one image also the result's own file, such as res.png; - writes one image's result to
    standard output."""
    format: Literal["auto", "same", "png", "jpg", "webp", "tif"] = "auto"
    """Format of the result: auto is PNG, and TIFF for CMYK and floating point; same is the image's own. JPEG compresses
    every pixel anew. Mattes and holes are PNG."""
    quality: Annotated[int | None, arg(metavar="1..100")] = None
    """Quality of JPEG and WebP. By default a JPEG is compressed as its source was, else at 95; WebP loses nothing."""
    jobs: Annotated[int, arg(metavar="N")] = 1
    """Images worked on at once, each in a process with a model of its own."""
    download: Annotated[str | None, arg(metavar="NAME")] = None
    """Fetch a filler's weights (lama, sd15, sd2, sdxl, flux-fill), say where they lie, and do nothing else."""


@dataclass(frozen=True)
class HoleArgs(TaskArgs):
    """Options of tasks that repaint the object."""

    tau: float = 0.02
    """Opacity above which a pixel of the matte belongs to the hole."""
    grow: Annotated[int | None, arg(metavar="PX")] = None
    """Radius by which the hole is dilated [px]: all of what it grows by is repainted. By default 2; for removals that
    do not un-mix 7, and by a model's matte, or one that does not fit the image, 15 % of the object's size where that is
    more."""


@dataclass(frozen=True)
class PainterArgs:
    """Options of the filler."""

    seed: int = 0
    """Of all that is random."""
    steps: int | None = None
    """Denoising steps of a diffusion model."""
    strength: float | None = None
    """How far a diffusion model leaves what is in the hole, in (0, 1]."""
    guidance: float | None = None
    """Weight of a diffusion model's prompt."""
    negative_prompt: str = ""
    """What a diffusion model shall not paint."""


@dataclass(frozen=True)
class RemoveArgs(PainterArgs, HoleArgs):
    """Remove objects from images by clicks, boxes or masks.

    The other tasks: zim-inpaint fill | replace | cutout IMAGE... (each with --help).

    Writes <stem>_removed.png, <stem>_alpha.png (the objects' matte) and <stem>_hole.png (white: repainted). Pixels
    outside the hole stay as they are, in the image's own mode, depth and colour profile; CMYK and floating-point
    images are written as .tif, other formats by --format or by a file's name for --out. Coordinates are pixels of the
    upright image. Exit codes: 0 done, 1 an image failed (the others are written), 2 misused, 130 interrupted.
    """

    backend: Annotated[str, arg(metavar="NAME")] = "auto"
    """What fills the hole: auto, lama, lama-cleaner, patchmatch, cv2, http://HOST:PORT of a lama-cleaner or IOPaint
    server, FILE.pt (TorchScript of LaMa's kind), sd15, sd2, sdxl, flux-fill, FOLDER of a diffusers pipeline, or two, as
    in lama+sdxl."""
    unmix: bool = False
    """Recover the real background behind hair and soft edges by any matte; by default that of --mask, where it fits the
    image."""
    no_unmix: bool = False
    """Invent all of the hole, also by --mask."""
    effects: bool = False
    """Take along what looks like the object's shadow; else a warning says where it lies."""


@dataclass(frozen=True)
class FillArgs(PainterArgs, HoleArgs):
    """Paint something else in the objects' place, as a text says.

    Writes <stem>_filled.png, <stem>_alpha.png and <stem>_hole.png; otherwise as the task `remove`.
    """

    prompt: str | None = None
    """What shall be there."""
    backend: Annotated[str, arg(metavar="NAME")] = "sd15"
    """A diffusion model: sd15, sd2, sdxl, flux-fill, FOLDER of a diffusers pipeline, http://HOST:PORT of a server, or
    lama+ one of them."""
    feather: Annotated[int, arg(metavar="PX")] = 0
    """Width of a rim round the hole that changes the less the farther out it lies [px]; needs a model that takes soft
    maps."""


@dataclass(frozen=True)
class ReplaceArgs(PainterArgs, TaskArgs):
    """Keep the objects, with colours free of the old background's, and lay them over a new one.

    Writes <stem>_replaced.png and <stem>_alpha.png.
    """

    background: Annotated[str | None, arg(metavar="FILE|COLOUR")] = None
    """An image, scaled to cover and cut to its middle, or a colour: "#4080ff", "64,128,255", "navy"."""
    prompt: str | None = None
    """What a diffusion model shall paint there instead."""
    backend: Annotated[str, arg(metavar="NAME")] = "sd15"
    """The diffusion model, for --prompt; names as for the task `fill`."""


@dataclass(frozen=True)
class CutoutArgs(TaskArgs):
    """Cut the objects out, with colours free of the background's.

    Writes <stem>_cutout.png (straight alpha) and <stem>_alpha.png.
    """
