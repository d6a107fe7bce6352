"""`zim-splat`: the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.runtime import CommandArgs, Misuse, one_line, run


@dataclass(frozen=True, kw_only=True)
class Args(CommandArgs):
    """Cut an object out of a scene of 3D Gaussians: point at it in one photograph.

    Writes into --out, in the scene's own format and coordinates: object, rest (the scene without the object) and
    membership (the scene with opacities times membership, in .ply also as a property); membership.npy, alpha/ (the
    object's matte in every view), contact_sheet.png to look at, and report.json.

    Exit codes: 0 done, 1 failed, 2 misused.
    """

    scene: Positional[Annotated[Path, arg(metavar="SCENE")]]
    """The scene: .ply as Inria's code, nerfstudio and gsplat write it, SuperSplat's compressed .ply, .splat or .spz;
    or a run of nerfstudio's splatfacto, by its config.yml."""
    cameras: Annotated[Path, arg(metavar="PATH")]
    """transforms.json (nerfstudio, instant-ngp, Blender), the folder of a COLMAP model, or Inria's cameras.json."""
    images: Annotated[Path, arg(metavar="DIR")]
    """Folder of the photographs."""
    view: Annotated[str | None, arg(metavar="NAME")] = None
    """File name, or its stem, of the photograph that the prompt is given in; the first by default."""
    point: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="X,Y[,LABEL]")]] = ()
    """A click in pixels of the photograph, or in shares of it, as 40%,50%; label 1 (default) is the object, 0 the
    background. Repeatable."""
    box: Annotated[str | None, arg(metavar="X1,Y1,X2,Y2")] = None
    """A box round the object."""
    mask: Annotated[Path | None, arg(metavar="FILE")] = None
    """The object's mask or matte in that photograph, instead of clicks and box; it is taken as it is."""
    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])] = Path("outputs")
    """Folder for the results; it must not hold results of an earlier run, unless --overwrite is given."""
    overwrite: bool = False
    """Replace the results of an earlier run in --out."""
    transform: Annotated[Path | None, arg(metavar="FILE")] = None
    """nerfstudio's dataparser_transforms.json: for scenes that `ns-export gaussian-splat` wrote, which lie in the
    coordinates of training and not of transforms.json. Of a run of splatfacto its own is taken."""
    threshold: float = 0.5
    """Membership above which a Gaussian is the object's."""
    keep_specks: bool = False
    """Keep small parts of the object that hang together with nothing."""
    size: Annotated[int, arg(metavar="PX")] = 480
    """Longer side that photographs are worked at; larger ones are reduced to it."""
    passes: Annotated[int, arg(metavar="N")] = 2
    """Visits of each view; from the second on, prompts come from what all views said before."""
    iou_threshold: float = 0.5
    """Views whose matte agrees less with the object so far (soft IoU) are left out."""
    every: Annotated[int, arg(metavar="N")] = 1
    """Take every N-th photograph only; the one that is pointed at is always taken."""
    model: Annotated[str, arg(metavar="NAME")] = "auto"
    """Model for the mattes: a name or path as in `zim matte --model`, or oracle:DIR for mattes from a folder."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """Of the model for the mattes: auto, cpu, cuda, cuda:1, mps."""
    renderer: Literal["auto", "cpu", "gsplat"] = "auto"
    """What renders the Gaussians: this package's own way on the CPU, or gsplat on CUDA (auto: where both are there)."""
    memory: Annotated[float, arg(metavar="GB")] = 4.0
    """Blending weights that are kept between visits of a view, at most; the rest is computed anew."""
    cache: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder in which blending weights are kept for further objects in the scene; by default zim_splat_views beside the
    scene."""
    no_cache: bool = False
    """Keep nothing on disk, and use nothing that is kept."""
    cache_gb: Annotated[float, arg(metavar="GB")] = 20.0
    """All weights in that folder, at most; those used longest ago make room for others."""
    any_quality: bool = False
    """Go on although the scene does not look like the photographs from the given cameras."""


def main(args: Args) -> int:
    """Check what was asked for, then do it."""
    from .run import cut_out

    for option, path in (("", args.scene), ("--cameras ", args.cameras), ("--images ", args.images)):
        if not path.exists():
            raise Misuse(f"{option}{path} does not exist")
    for option, path in (("--transform", args.transform), ("--mask", args.mask)):
        if path is not None and not path.is_file():
            raise Misuse(f"{option} {path}: there is no such file")
    if min(args.size, args.passes, args.every) < 1 or not 0 <= args.memory < 1e6:
        raise Misuse("--size, --passes and --every are at least 1, --memory lies in [0, 1e6)")
    if not 0 <= args.cache_gb < 1e6:
        raise Misuse("--cache-gb lies in [0, 1e6)")
    if args.cache is not None and args.no_cache:
        raise Misuse("--cache and --no-cache contradict each other: leave one out")
    if args.cache is not None and args.cache.exists() and not args.cache.is_dir():
        raise Misuse(f"--cache {args.cache} is a file: name a folder")
    if not 0 < args.threshold < 1 or not 0 <= args.iou_threshold <= 1:
        raise Misuse("--threshold lies between 0 and 1, --iou-threshold in [0, 1]")
    if args.mask is not None and (args.point or args.box):
        raise Misuse("--mask is taken as it is: give it alone, or --point and --box without it")
    if not args.point and args.box is None and args.mask is None:
        raise Misuse("no prompt: give --point x,y (repeatable; x,y,0 for background), --box x1,y1,x2,y2 or --mask FILE")
    if args.point or args.box:
        from zim_plugins.core import parse_objects

        try:
            parse_objects(args.point, [] if args.box is None else [args.box])
        except ValueError as error:
            raise Misuse(one_line(error)) from error
    if args.out.exists() and not args.out.is_dir():
        raise Misuse(f"--out {args.out} is a file: name a folder")
    return cut_out(args)


def entrypoint() -> None:
    """Run `zim-splat`."""
    arguments = parse_arguments(Args, prog="zim-splat")
    raise SystemExit(run(main, arguments, package="nerf_seg"))
