"""`zim convert`: the masks of SA-1B to mattes, shard by shard."""

import logging
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from zim_plugins.commands.session import DONE, FAILED, CommandArgs, Misuse

if TYPE_CHECKING:
    from zim_plugins.data.shards import Convert

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ConvertArgs(CommandArgs):
    """Turn segmentation masks into mattes; run the same command again after a kill, and it does what is left."""

    source: Annotated[Literal["sa1b"], arg(name="from")] = "sa1b"
    """Format of the input: shards of SA-1B, as tars or folders."""
    data: Annotated[Path, arg(metavar="DIR")]
    """Folder with the shards, or one shard."""
    out: Annotated[Path, arg(metavar="DIR")]
    """Folder for shards of mattes, SHARD.tar with SHARD.done.json."""
    converter: Annotated[Path, arg(metavar="FILE")]
    """Label converter, .safetensors, as `zim train converter_tiny` writes it."""
    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or a Ray cluster."""
    address: Annotated[str | None, arg(metavar="HOST:PORT")] = None
    """Of a running Ray cluster; starts one on this machine if left out."""
    workers: Annotated[int, arg(metavar="N")] = field(default_factory=lambda: os.cpu_count() or 1)
    """Shards in work at one time; on GPUs, one or two for each."""
    device: Annotated[str, arg(metavar="auto|cpu|cuda")] = "auto"
    """Where the converter runs."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """What the converter computes in."""
    min_area_px: Annotated[int, arg(metavar="PIXELS")] = 0
    """Leave out smaller masks."""
    min_predicted_iou: Annotated[float, arg(metavar="0..1")] = 0.0
    """Leave out masks whose quality SAM put lower."""
    min_stability_score: Annotated[float, arg(metavar="0..1")] = 0.0
    """Leave out less stable masks."""
    max_per_image: Annotated[int | None, arg(metavar="N")] = None
    """Masks of one photograph at most, taken evenly over their areas."""
    copy_images: bool = False
    """Copy the photographs into the shards of mattes."""


def make_converter(path: Path, device: str, dtype: str, worker: int) -> "Convert":
    """The label converter of one worker; on several GPUs, workers take them in turn."""
    import torch

    from zim_plugins.label_converter.convert import MatteConverter

    if device == "cuda":
        device = f"cuda:{worker % torch.cuda.device_count()}"
    else:
        torch.set_num_threads(1)  # one core a worker: the fastest for many, and the same bytes for any number of them
    return MatteConverter.load(path, device, {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]).convert


def main(args: ConvertArgs) -> int:
    """Convert what is not yet converted."""
    if not args.data.exists():
        raise Misuse(f"--data {args.data} does not exist: name the folder of SA-1B's shards")
    if not args.converter.is_file():
        raise Misuse(f"--converter {args.converter} is no file: name the .safetensors of a trained label converter")
    if args.workers < 1:
        raise Misuse(f"--workers is at least 1, got {args.workers}")
    if args.address is not None and args.engine != "ray":
        raise Misuse("--address is for --engine ray")

    from zim_plugins.core.build import resolve_device
    from zim_plugins.data.engine import convert_dataset
    from zim_plugins.data.shards import Selection, file_sha256
    from zim_plugins.label_converter.checkpoint import load_converter

    device = resolve_device(args.device)
    load_converter(args.converter)  # a fault of the file is told once, here, and not by every worker
    summary = convert_dataset(
        args.data,
        args.out,
        partial(make_converter, args.converter.resolve(), device, args.dtype),
        engine=args.engine,
        workers=args.workers,
        selection=Selection(
            args.min_area_px, args.min_predicted_iou, args.min_stability_score, max_per_image=args.max_per_image
        ),
        copy_images=args.copy_images,
        converter={"name": args.converter.name, "sha256": file_sha256(args.converter), "dtype": args.dtype},
        address=args.address,
        gpus_per_worker=1.0 if device == "cuda" else 0.0,
    )
    logger.info("shards: %s", _words(summary.shards))
    if summary.counts:
        logger.info("now: %s", _words(summary.counts))
    if summary.faults:
        logger.warning("passed over: %s; the manifests name them", _words(summary.faults))
    if summary.shards["elsewhere"]:
        logger.info("another run holds %d shards: run again when it is through", summary.shards["elsewhere"])
    print(args.out)
    return FAILED if summary.failures else DONE


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items()) if n)
