"""One run of `zim-splat`: from the arguments to the files."""

import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.cli.runtime import DONE, Misuse, one_line
from zim_plugins.core import ZimError, parse_objects, read_alpha, write_image
from zim_plugins.imaging import atomic_write

from ..field.gaussians.camera_files import read_placed_cameras
from ..field.gaussians.files import drawable, read_scene
from ..field.gaussians.formats.splatfacto import TRANSFORM_FILE, find_checkpoint, find_transform
from ..field.gaussians.membership import GaussianMembership
from ..field.gaussians.opening import look_first, open_views, read_photographs
from ..field.gaussians.views import Photograph, SplatViews, match_photographs
from ..field.gaussians.weight_cache import CACHE_FOLDER, WeightCache
from ..segmentation.connected_parts import without_specks
from ..segmentation.contact_sheet import contact_sheet
from ..segmentation.predictors import build_matter
from ..segmentation.reference_prompt import ReferencePrompt, view_index
from ..segmentation.segmenter import Segmenter, SegmenterConfig
from .results import result_paths, unfinished, write_scenes

if TYPE_CHECKING:
    from .cli import Args

logger = logging.getLogger(__name__)

REMEDY = (
    "A scene of `ns-export gaussian-splat` needs --transform dataparser_transforms.json; to go on all the same, give "
    "--any-quality"
)
"""Where the scene does not look like the photographs."""


@dataclass
class Seconds:
    """Duration of each stage [s]."""

    by_stage: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add what the block takes."""
        start_s = time.perf_counter()
        yield
        self.by_stage[stage] += time.perf_counter() - start_s


@dataclass(frozen=True, eq=False)
class Capture:
    """The photographs that were found and could be read."""

    photographs: list[Photograph]
    left_out: dict[str, str]
    """Why, by the camera's name."""
    reference: int
    """Place of the photograph that is pointed at."""


def cut_out(args: "Args") -> int:
    """Do what the arguments ask for; returns the exit code.

    Raises:
        ZimError, ValueError: nothing could be done; the message says why.
    """
    seconds = Seconds()
    with seconds.of("reading"):
        file = read_scene(args.scene)
        gaussians, sound = drawable(file.gaussians(), args.scene)
        results = result_paths(args)
        capture = read_capture(args)
        reference = read_prompt(args, capture)
    predictor = build_matter(args.model, args.device)
    cache = None if args.no_cache else args.cache or _beside(args.scene)
    memory = int(args.memory * 1e9)
    views = open_views(gaussians, capture.photographs, memory, args.renderer, cache, args.cache_gb * 1e9)
    try:
        config = SegmenterConfig(passes=args.passes, iou_threshold=args.iou_threshold, sweeps=0)
        membership = GaussianMembership(len(gaussians), config.build_estimator())
        segmenter = Segmenter(config, membership, predictor, reference, views.names)
        views.order = segmenter.order[: len(views.names)]
        with seconds.of("first look"):
            psnr = look_first(views, views.order, any_quality=args.any_quality, remedy=REMEDY)
        _visit_all(segmenter, views, seconds)
        with seconds.of("files"):
            shares, seen = membership.membership(gaussians.means)
            shares[~sound] = 0
            chosen = shares > args.threshold
            kept = chosen.copy()
            if not args.keep_specks:
                kept[chosen] = without_specks(gaussians.means.numpy()[chosen])
            scene = find_checkpoint(args.scene) or args.scene
            report = {
                "scene": {"file": str(scene), "sha256": _sha256(scene), "format": file.format},
                "gaussians": {
                    "scene": len(gaussians),
                    "object": int(kept.sum()),
                    "specks left out": int(chosen.sum() - kept.sum()),
                    "seen by no view": int((~seen).sum()),
                    "with impossible numbers": int((~sound).sum()),
                },
                "left out": capture.left_out,
                "psnr_db": {name: round(value, 2) for name, value in psnr.items()},
                **segmenter.report(),
                "cache": views.render.report() if isinstance(views.render, WeightCache) else None,
            }
        report["provenance"] = _provenance(args, str(getattr(predictor, "name", args.model)))
        with unfinished(args.out):
            with seconds.of("files"):
                _write_views(args.out, segmenter, views)
                if kept.any():
                    write_scenes(file, shares, kept, results)
            report["seconds"] |= dict(seconds.by_stage)
            _write_json(args.out / "report.json", report)
    finally:
        views.close()
    return _conclude(args, report, results)


def read_capture(args: "Args") -> Capture:
    """Read cameras and photographs; those that cannot be used are left out, and said.

    Raises:
        ZimError, ValueError: no photograph is left, or the one that is pointed at is not.
    """
    cameras = read_placed_cameras(args.cameras, _transform(args))
    found, missing = match_photographs(cameras, args.images)
    left_out = dict(missing)
    names = [path.relative_to(args.images).as_posix() for _, path in found]
    try:
        pointed_at = view_index(args.view, names)
    except ValueError as error:
        for name, reason in missing.items():
            if args.view in (name, Path(name).name, Path(name).stem):
                raise Misuse(f"--view {args.view} has a camera, but {reason}") from error
        raise Misuse(one_line(error)) from error
    wanted = [pair for place, pair in enumerate(found) if place == pointed_at or (place - pointed_at) % args.every == 0]
    photographs, unusable = read_photographs(wanted, args.images, args.size, needed=[found[pointed_at][1]])
    left_out |= unusable
    reference = [photograph.name for photograph in photographs].index(names[pointed_at])
    if left_out:
        name, reason = next(iter(left_out.items()))
        logger.warning("%d of %d cameras are left out: %s: %s", len(left_out), len(cameras), name, reason)
    if len(photographs) < 2:
        raise ZimError("one photograph alone shows no object in 3D: at least two with their cameras are needed")
    return Capture(photographs, left_out, reference)


def _beside(scene: Path) -> Path:
    """Return the folder for a scene's weights: beside its file, or beside a run's config.yml."""
    checkpoint = find_checkpoint(scene)
    if checkpoint is None:
        return scene.parent / CACHE_FOLDER
    # Among checkpoints nerfstudio takes every name for one of its own.
    runs = checkpoint.parent.parent if checkpoint.parent.name == "nerfstudio_models" else checkpoint.parent
    return runs / CACHE_FOLDER


def _transform(args: "Args") -> Path | None:
    """The file that --transform names; of a run of splatfacto the run's own."""
    checkpoint = find_checkpoint(args.scene)
    if args.transform is not None or checkpoint is None:
        return args.transform
    found = find_transform(checkpoint)
    if found is None:
        logger.warning("%s has no %s beside its run: cameras are taken as they are", checkpoint, TRANSFORM_FILE)
    return found


def read_prompt(args: "Args", capture: Capture) -> ReferencePrompt:
    """Return the prompt in the photograph that is pointed at, in shares of its sides.

    Raises:
        ZimError, ValueError: it lies outside the photograph, or the mask is of another size.
    """
    photograph = capture.photographs[capture.reference]
    if args.mask is not None:
        matte = read_alpha(args.mask)
        if matte.shape not in (photograph.original, photograph.camera.size):
            raise Misuse(
                f"--mask {args.mask} is {matte.shape[1]}x{matte.shape[0]}, "
                f"{photograph.name} {photograph.original[1]}x{photograph.original[0]}"
            )
        return ReferencePrompt(view=photograph.name, matte=_reduced(matte, photograph.camera.size))
    try:
        (text,) = parse_objects(args.point, [] if args.box is None else [args.box])
        prompt = text.on(photograph.original)
    except ValueError as error:
        raise Misuse(f"{photograph.name}: {one_line(error)}") from error
    height, width = photograph.original

    def at(x: float, y: float) -> tuple[str, str]:
        return f"{100 * x / width!r}%", f"{100 * y / height!r}%"

    row = prompt.to_json()
    clicks = tuple((*at(x, y), int(label)) for x, y, label in row.get("points", ()))
    box = (*at(*row["box"][:2]), *at(*row["box"][2:])) if "box" in row else None
    return ReferencePrompt(view=photograph.name, points=clicks, box=box)


def _visit_all(segmenter: Segmenter, views: SplatViews, seconds: Seconds) -> None:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    # disable=None: a bar on a terminal only.
    with logging_redirect_tqdm(), tqdm(segmenter.order, unit="visit", disable=None) as bar:
        for index in bar:
            with seconds.of("views"):
                view = views.view(index)
            segmenter.visit(view)


def _write_views(out: Path, segmenter: Segmenter, views: SplatViews) -> None:
    """alpha/ and the contact sheet."""
    rows = segmenter.sheet(views)
    for row in rows:
        name = Path(row.name)
        alone = sum(Path(other.name).with_suffix("") == name.with_suffix("") for other in rows) == 1
        write_image(out / "alpha" / (name.with_suffix(".png") if alone else Path(f"{name}.png")), row.alpha_3d)
    write_image(out / "contact_sheet.png", contact_sheet(rows))


def _conclude(args: "Args", report: dict[str, Any], results: dict[str, Path]) -> int:
    accepted, views, found = report["accepted"], report["views"], report["gaussians"]["object"]
    logger.info("%d of %d views accepted, %d of %d Gaussians", accepted, views, found, report["gaussians"]["scene"])
    if found == 0:
        raise ZimError(
            f"no Gaussian has a membership above {args.threshold:g}, so no scene is written: "
            f"see {args.out / 'contact_sheet.png'}, and point elsewhere"
        )
    if accepted < max(2, views / 2):
        logger.warning("most views disagree with the object: see %s", args.out / "contact_sheet.png")
    print(results["object"])
    return DONE


def _provenance(args: "Args", model: str) -> dict[str, Any]:
    from zim_plugins.evaluation import describe_run

    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(args).items()}
    return describe_run(settings, [{"name": model}], {"name": str(args.images)})


def _reduced(matte: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "height width"]:
    import PIL.Image

    if matte.shape == size:
        return matte
    return np.asarray(PIL.Image.fromarray(matte).resize((size[1], size[0]), PIL.Image.Resampling.BOX)).clip(0, 1)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as stream:
        stream.write(json.dumps(content, indent=1, default=str).encode())
