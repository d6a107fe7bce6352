"""Runs `zim-inpaint`: reads orders, calls fillers, writes results."""

import dataclasses
import io
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zim_plugins.cli.file_names import refuse_impossible_names
from zim_plugins.cli.images import STDOUT, Work, find_sources, recipe_of, run_batch, write_all
from zim_plugins.cli.runtime import DONE, Misuse, one_line
from zim_plugins.core import CheckpointError

from .arguments import CutoutArgs, FillArgs, HoleArgs, PainterArgs, RemoveArgs, ReplaceArgs, TaskArgs
from .files import Results, leave_out, masks_for, spare_inputs
from .orders import Order, read_list, read_objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from zim_plugins.core import Image, Predictor, PromptText

    from ..inpainters.base import FillSettings, Inpainter
    from .tasks import Images

logger = logging.getLogger(__name__)

Orders = dict[str, Order]
"""By image."""


def main(args: TaskArgs) -> int:
    """Work on every image."""
    if args.download is not None:
        return _download(args.download)
    try:
        sources, stems, orders = take_orders(args)
        results = Results.of(args, sources, stems)
        _check(args, sources, orders)
        spare_inputs(results, args, orders)
    except ValueError as error:
        raise Misuse(one_line(error)) from error
    make = partial(make_work, args, orders, results)
    try:
        if args.jobs > 1 and len(sources) > 1:
            from zim_plugins.cli.processes import run_in_processes

            return run_in_processes(args, sources, stems, make, jobs=args.jobs, package="inpaint")
        return run_batch(args, sources, stems, make())
    except CheckpointError as error:  # weights, which no image can do without
        if args.debug:
            raise
        raise Misuse(one_line(error)) from error


def take_orders(args: TaskArgs) -> tuple[list[str], list[str], Orders]:
    """The images, the stems of their results, and what is to be done with each.

    Raises:
        Misuse: a file's name is empty or too long.
        ValueError: arguments or a list that cannot work.
    """
    refuse_impossible_names(args.images, vars(args))
    prompts = _prompts_of(args)
    text, background = getattr(args, "prompt", None), getattr(args, "background", None)
    if args.list is None:
        sources, stems = leave_out(args, *find_sources(args))
        if not prompts and not args.mask and args.text is None:
            raise ValueError(
                "no prompt: give --point x,y (repeatable; x,y,0 for background), --box x1,y1,x2,y2, --mask or --text"
            )
        words = () if args.text is None else (args.text,)
        order = Order(prompts, (), words, text, background)
        masks = masks_for(args.mask, sources)
        orders = {
            source: dataclasses.replace(order, masks=files, missing=missing)
            for source, (files, missing) in masks.items()
        }
        return sources, stems, orders
    if args.images or prompts or args.mask or args.text is not None:
        raise ValueError(f"the list {args.list} names images and objects: give it alone")
    listed = read_list(args.list)
    sources, stems = find_sources(dataclasses.replace(args, images=tuple(listed)))
    defaults = {"prompt": text, "background": background}
    orders = {}
    for image, order in listed.items():
        missing = {key: value for key, value in defaults.items() if getattr(order, key) is None}
        orders[image] = dataclasses.replace(order, **missing)
    for column in ("prompt", "background"):
        if not hasattr(args, column) and any(getattr(order, column) is not None for order in listed.values()):
            logger.info("the column %s of %s is of other tasks than this one, and not used", column, args.list)
    return sources, stems, orders


def make_work(args: TaskArgs, orders: Orders, results: Results) -> Work:
    """Build the work on each image, in the process that does it."""
    from zim_plugins.core import read_original

    loaded: list[Inpainter] = []
    find = _finder(args, orders)

    def painter() -> "Inpainter":
        from ..inpainters.registry import load_inpainter

        assert isinstance(args, RemoveArgs | FillArgs | ReplaceArgs)
        loaded[:] = loaded or [load_inpainter(args.backend, device=args.device, settings=_settings(args))]
        return loaded[0]

    def recipe(source: str) -> dict[str, object]:
        order = orders[source]
        how: dict[str, object] = recipe_of(args, f"inpaint: {results.kinds[-1]}", order.in_full())
        return how if order.prompts or order.words else how | {"model": None}

    def prepare(image: "Image") -> None:
        if isinstance(args, RemoveArgs | FillArgs) or (
            isinstance(args, ReplaceArgs) and orders[image.name].background is None
        ):
            painter()

    def act(predictor: "Predictor | None", image: "Image", files: dict[str, Path]) -> dict[str, object]:
        from zim_plugins.core import Original

        from ..tasks.matte import matte_of
        from .tasks import act_on

        assert isinstance(image, Original)
        order = orders[image.name]
        order = dataclasses.replace(order, prompts=(*order.prompts, *find(image, order.words)))
        try:
            target, notes = order.target(image)
        except ValueError as error:
            raise _as_misuse(error) from error
        for note in notes:
            logger.info(note)
        said, images = act_on(args, order, image, matte_of(image.rgb, target, predictor), painter)
        written, left_out = _hand_over(files, images, results.suffix(image.name), args.quality)
        said["warnings"] += left_out
        for warning in said["warnings"]:
            logger.warning("%s: %s", image.name, warning)
        record: dict[str, object] = {"prompt": order.to_json(), **said, "notes": [*image.notes, *notes]}
        return record | ({"files": written} if written else {})

    return Work(
        files=results.files,
        check=lambda image: orders[image.name].check(image),
        act=act,
        needs_model=lambda image: bool(orders[image.name].prompts or orders[image.name].words),
        read=read_original,
        prepare=prepare,
        recipe=recipe,
        place=results.place,
    )


def _finder(args: TaskArgs, orders: Orders) -> "Callable[[Image, tuple[str, ...]], tuple[PromptText, ...]]":
    """Return what finds the objects that words name in an image; that its model cannot be had is said at once.

    Raises:
        Misuse: --text is empty, or its options stand without it.
    """
    from zim_plugins.cli.matting.words import find_named, load_detector
    from zim_plugins.core import parse_objects

    named = next((words for order in orders.values() for words in order.words), None)
    if named is None:
        if args.text_best or args.text_model is not None:
            raise Misuse("--text-best and --text-model belong to --text WORDS, or to the column text of --list")
        return lambda image, names: ()
    detector = load_detector(named, args.text_model, args.device)

    def find(image: "Image", names: tuple[str, ...]) -> "tuple[PromptText, ...]":
        boxes = [
            one.box
            for words in names
            for one in find_named(detector, image, words, only_best=args.text_best)
            if one.box is not None
        ]
        return tuple(parse_objects((), [",".join(str(float(side)) for side in box) for box in boxes], ()))

    return find


def _hand_over(
    files: dict[str, Path], images: "Images", suffix: str, quality: int | None
) -> tuple[dict[str, str], list[str]]:
    """Write the files, or the result to standard output; return the files, and what the format could not hold."""
    from zim_plugins.core import write_raster

    kind, result = list(images.items())[-1]
    assert not isinstance(result, np.ndarray)
    result = dataclasses.replace(result, metadata=result.metadata.without_thumbnails())
    if not files:
        stream = io.BytesIO()
        notes = write_raster(stream, result, suffix=suffix or result.suffix, quality=quality)
        sys.stdout.buffer.write(stream.getbuffer())
        sys.stdout.buffer.flush()
        return {}, list(notes)
    if not suffix and kind in files:
        files = files | {kind: files[kind].with_suffix(result.suffix)}
    notes = write_all(files, images | {kind: result}, quality=quality)
    return {kind: str(path) for kind, path in files.items()}, list(notes)


def _prompts_of(args: TaskArgs) -> "tuple[PromptText, ...]":
    from zim_plugins.core import parse_objects

    if (args.point or args.box) and args.mask:
        raise ValueError("--mask is the matte itself: give it without --point and --box, further objects with --also")
    listed = read_objects(args.objects) if args.objects is not None else ()
    return (*parse_objects(args.point, args.box, args.also), *listed)


def _check(args: TaskArgs, sources: list[str], orders: Orders) -> None:
    """Raise ValueError for what cannot work, before anything is loaded."""
    if args.jobs < 1:
        raise ValueError(f"--jobs is a number of processes of at least 1, got {args.jobs}")
    if args.jobs > 1 and len(sources) > 1 and STDOUT in sources:
        raise ValueError("standard input is one process's: leave out --jobs, or -")
    if args.quality is not None and not 1 <= args.quality <= 100:
        raise ValueError(f"--quality is in 1..100, got {args.quality}")
    if args.quality is not None and not _is_lossy(args):
        raise ValueError("--quality is of JPEG and WebP: choose one by --format jpg or webp, or by --out's suffix")
    if isinstance(args, CutoutArgs) and (args.format == "jpg" or Path(args.out).suffix.lower() in (".jpg", ".jpeg")):
        raise ValueError("JPEG has no alpha channel: write a cut-out as png, webp or tif")
    if args.out == STDOUT and (len(sources) > 1 or args.json):
        raise ValueError("--out - writes one image to standard output: give one image, without --json")
    if isinstance(args, RemoveArgs) and args.unmix and args.no_unmix:
        raise ValueError("--unmix and --no-unmix contradict each other: give one of them")
    if isinstance(args, HoleArgs):
        if not 0.0 <= args.tau < 1.0:
            raise ValueError(f"--tau is an opacity in [0, 1), got {args.tau:g}")
        if args.grow is not None and args.grow < 0:
            raise ValueError(f"--grow is a radius of at least 0 px, got {args.grow}")
    for source, order in orders.items():
        if isinstance(args, FillArgs) and order.prompt is None:
            raise ValueError(f"{source}: what shall be there? Give --prompt TEXT")
        if isinstance(args, ReplaceArgs):
            _check_background(source, order)
    if isinstance(args, RemoveArgs | FillArgs | ReplaceArgs):
        from ..inpainters.registry import choose_backend

        choose_backend(args.backend)
        _settings(args)


def _is_lossy(args: TaskArgs) -> bool:
    """Return whether a result may be of a format that has a quality."""
    return args.format in ("same", "jpg", "webp") or Path(args.out).suffix.lower() in (".jpg", ".jpeg", ".webp")


def _check_background(source: str, order: Order) -> None:
    from ..tasks.backgrounds import parse_background

    if (order.background is None) == (order.prompt is None):
        raise ValueError(f"{source}: give --background FILE or COLOUR, or --prompt TEXT, one of them")
    if order.background is not None:
        parse_background(order.background)


def _settings(args: PainterArgs) -> "FillSettings":
    from ..inpainters.base import FillSettings

    return FillSettings(
        seed=args.seed,
        negative_prompt=args.negative_prompt,
        steps=args.steps,
        strength=args.strength,
        guidance=args.guidance,
    )


def _as_misuse(error: ValueError) -> Exception:
    from zim_plugins.core import ImageError

    return error if isinstance(error, ImageError) else Misuse(one_line(error))


def _download(name: str) -> int:
    from ..inpainters.weights import download_model

    try:
        print(download_model(name))
    except ValueError as error:
        raise _as_misuse(error) from error
    return DONE
