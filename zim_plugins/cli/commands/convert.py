"""`zim convert`: masks to mattes, of SA-1B shard by shard, of other data sets image by image."""

import logging
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from zim_plugins.cli.runtime import DONE, FAILED, CommandArgs, Misuse

if TYPE_CHECKING:
    from zim_plugins.data.conversion.engine import Summary
    from zim_plugins.data.conversion.shard_job import Convert

logger = logging.getLogger(__name__)
SHOWN_FAULTS = 50
"""Faults listed in full; the manifest lists up to 1000."""


@dataclass(frozen=True, kw_only=True)
class ConvertArgs(CommandArgs):
    """Turn segmentation masks into mattes; run the same command again after a kill, and it does what is left."""

    source: Annotated[str, arg(name="from", metavar="NAME")] = "sa1b"
    """Layout of the input: sa1b, coco, ade20k, bsds500, objects, plain...; an unknown name lists all."""
    data: Annotated[Path, arg(metavar="DIR")]
    """Folder of the data set; of SA-1B the folder with the shards, or one shard."""
    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])]
    """Folder for the results: of SA-1B SHARD.tar with SHARD.done.json; of other sets mattes/NAME.png, index.jsonl and
    manifest.json."""
    converter: Annotated[Path | None, arg(metavar="FILE")] = None
    """Label converter, .safetensors, as `zim train converter` writes it; the shipped converter_tiny if left out."""
    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or a Ray cluster."""
    address: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """Of a running Ray cluster; starts one on this machine if left out."""
    workers: Annotated[int, arg(metavar="N")] = field(default_factory=lambda: os.cpu_count() or 1)
    """Shards, or images, in work at one time; on GPUs several for each, as one core feeds each worker."""
    device: Annotated[str, arg(metavar="auto|cpu|cuda")] = "auto"
    """Where the converter runs."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """What the converter computes in."""
    split: Annotated[tuple[str, ...], arg(metavar="SPLIT")] = ()
    """Splits to convert; all that are there if none is named. Not of SA-1B."""
    min_area_px: Annotated[int, arg(metavar="PIXELS")] = 0
    """Leave out smaller masks."""
    min_area_share: Annotated[float, arg(metavar="0..1")] = 0.0
    """Leave out masks that are a smaller share of their image."""
    min_predicted_iou: Annotated[float, arg(metavar="0..1")] = 0.0
    """Leave out masks whose quality SAM put lower; only of SA-1B."""
    min_stability_score: Annotated[float, arg(metavar="0..1")] = 0.0
    """Leave out less stable masks; only of SA-1B."""
    max_per_image: Annotated[int | None, arg(metavar="N")] = None
    """Masks of one photograph at most, taken evenly over their areas."""
    copy_images: bool = False
    """Copy the photographs into the shards of mattes, or to images/ beside mattes/."""


def make_converter(path: Path, device: str, dtype: str, worker: int) -> "Convert":
    """The label converter of one worker; on several GPUs, workers take them in turn."""
    import torch

    from zim_plugins.label_converter.converter import MatteConverter

    if device == "cuda":
        device = f"cuda:{worker % torch.cuda.device_count()}"
    else:
        torch.set_num_threads(1)  # one core a worker: the fastest for many, and the same bytes for any number of them
    return MatteConverter.load(path, device, {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]).convert


def main(args: ConvertArgs) -> int:
    """Convert what is not yet converted."""
    _refuse_misuse(args)

    from zim_plugins.core.load import resolve_device
    from zim_plugins.data.conversion.engine import convert_dataset
    from zim_plugins.data.conversion.matte_folder import convert_folder
    from zim_plugins.data.conversion.shard_job import Selection
    from zim_plugins.imaging.files import file_digest
    from zim_plugins.label_converter.checkpoint import CONVERTER_TINY, load_converter

    device = resolve_device(args.device)
    weights = CONVERTER_TINY if args.converter is None else args.converter
    load_converter(weights)  # a fault of the file is told once, here, and not by every worker
    maker = partial(make_converter, weights.resolve(), device, args.dtype)
    options: dict[str, Any] = {
        "engine": args.engine,
        "workers": args.workers,
        "selection": Selection(
            args.min_area_px,
            args.min_predicted_iou,
            args.min_stability_score,
            max_per_image=args.max_per_image,
            min_area_share=args.min_area_share,
        ),
        "copy_images": args.copy_images,
        "converter": {"name": weights.name, "sha256": file_digest(weights), "dtype": args.dtype},
        "address": args.address,
        "gpus_per_worker": 1.0 if device == "cuda" else 0.0,
    }
    if args.source == "sa1b":
        summary = convert_dataset(args.data, args.out, maker, **options)
        _tell(summary, "shards")
        if summary.faults:
            logger.warning("passed over: %s; the manifests name them", _words(summary.faults))
        faulty = False
    else:
        summary, manifest = convert_folder(args.source, args.data, args.out, maker, splits=args.split, **options)
        _tell(summary, "images")
        faulty = manifest is not None and _tell_faults(manifest)
    print(args.out)
    return FAILED if summary.failures or faulty else DONE


def _refuse_misuse(args: ConvertArgs) -> None:
    if not args.data.exists():
        raise Misuse(f"--data {args.data} does not exist: name the folder of the data set")
    if args.converter is not None and not args.converter.is_file():
        raise Misuse(f"--converter {args.converter} is no file: name the .safetensors of a trained label converter")
    if args.workers < 1:
        raise Misuse(f"--workers is at least 1, got {args.workers}")
    if args.address is not None and args.engine != "ray":
        raise Misuse("--address is for --engine ray")
    if args.source == "sa1b":
        if args.split:
            raise Misuse("--split is not for sa1b: name one shard, or a folder of shards, as --data")
        return

    from zim_plugins.data.faults import DataError
    from zim_plugins.data.readers.registry import require_dataset

    if args.min_predicted_iou or args.min_stability_score:
        raise Misuse(f"--min-predicted-iou and --min-stability-score are for sa1b: {args.source} has no such scores")
    try:
        for split in (None, *args.split):
            require_dataset(args.source, split)
    except DataError as error:
        raise Misuse(str(error)) from error


def _tell(summary: "Summary", units: str) -> None:
    logger.info("%s: %s", units, _words(summary.shards))
    if summary.counts:
        logger.info("now: %s", _words(summary.counts))
    if summary.shards["elsewhere"]:
        logger.info("another run holds %d %s: run again when it is through", summary.shards["elsewhere"], units)


def _tell_faults(manifest: dict[str, Any]) -> bool:
    """Report what was passed over of a folder; return whether there was anything."""
    for fault in manifest["faults"][:SHOWN_FAULTS]:
        logger.warning("%s", fault)
    kinds = manifest["counts"]["faults"]
    if kinds:
        logger.warning("passed over: %s; manifest.json names them", _words(kinds))
    return bool(kinds)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items()) if n)
