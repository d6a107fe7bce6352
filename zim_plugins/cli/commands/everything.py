"""`zim everything`: images in, a matte of each of their objects out."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from zim_plugins.cli.images import STDOUT, ImagesArgs, Work, find_sources, recipe_of, run_batch
from zim_plugins.cli.runtime import Misuse

if TYPE_CHECKING:
    from zim_plugins.core.encoding import Predictor
    from zim_plugins.imaging.image import Image


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EverythingArgs(ImagesArgs):
    """Matte every object of images, found by a grid of clicks."""

    points_per_side: int | None = None
    """The grid holds its square of clicks; by default 32, for zim_tiny 10. More find smaller things and take longer."""
    min_score: float | None = None
    """Least score that the model gives itself; by default 0.88, for zim_tiny, whose scores are lower, 0.4."""
    min_stability: float | None = None
    """Least IoU between the mattes cut a little above and below one half; by default 0.9, for zim_tiny 0.8."""
    out: Annotated[str, arg(metavar="DIR", aliases=["-o"])] = "outputs"
    """Folder for <stem>_objects.png, which shows them all, and <stem>_objects/000_alpha.png and so on."""


def main(args: EverythingArgs) -> int:
    """Find and write the objects of every image."""
    from zim_plugins.core.automatic import EverythingConfig

    sources, stems = find_sources(args)
    if args.out == STDOUT:
        raise Misuse("the objects of an image are several files: name a folder with --out")
    try:
        config = EverythingConfig(
            points_per_side=args.points_per_side, min_score=args.min_score, min_stability=args.min_stability
        )
    except ValueError as error:
        raise Misuse(str(error)) from error

    def files(stem: str) -> dict[str, Path]:
        overlay = Path(args.out) / f"{stem}_objects.png"
        return {"overlay": overlay} | {path.name: path for path in _mattes(overlay.with_suffix(""))}

    def act(predictor: "Predictor | None", image: "Image", files: dict[str, Path]) -> dict[str, object]:
        from zim_plugins.core.automatic import matte_everything
        from zim_plugins.core.overlay import draw_objects
        from zim_plugins.imaging.image import write_image

        assert predictor is not None
        objects = matte_everything(predictor, image.rgb, config)
        if not objects:
            logger.warning("no object is sure enough: lower --min-score or --min-stability")
        overlay, folder = files["overlay"], files["overlay"].with_suffix("")
        drawn = draw_objects(image.rgb, objects)
        described = []
        for index, found in enumerate(objects):
            path = write_image(folder / f"{index:03d}_alpha.png", found.full())
            described.append(
                {"file": str(path), "box": list(found.box), "point": list(found.point), "score": round(found.score, 4)}
            )
        for stale in _mattes(folder)[len(objects) :]:  # of an earlier run that found more
            stale.unlink()
        write_image(overlay, drawn)
        written = [overlay, *(described_one["file"] for described_one in described)]
        return {"objects": described, "files": {"overlay": str(overlay), "folder": str(folder)}, "written": written}

    def recipe(source: str) -> dict[str, object]:
        return recipe_of(args, "everything", None)

    return run_batch(args, sources, stems, Work(files, lambda image: None, act, recipe=recipe, is_whole=True))


def _mattes(folder: Path) -> list[Path]:
    """Mattes that are there, which are ours to replace where the record says so."""
    return sorted(folder.glob("[0-9][0-9][0-9]_alpha.png"))
