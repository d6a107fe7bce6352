"""How fast masks become mattes, stage by stage, and how near that is to what the machine can do.

    python benchmarks/convert.py DATA --converter FILE [--out FILE.json]
    python benchmarks/convert.py DATA --random hiera_bp --frames 1024 --limit 1 --max-per-image 4 [--out FILE.json]

DATA is a shard of SA-1B, or a folder of them. The stages are those of `zim convert --from sa1b`, one worker, one after
the other: read the files and check what they say, decode the JPEG, decode the run-length masks, the network, crops and
blending round it, PNG, and the tar on the disk. `--random` builds an untrained network by name: speed does not depend
on weights, the bytes of the mattes do.

Each stage has wall seconds and processor seconds (of all threads); on a machine that does other work the second are the
ones to go by, and the shares below are made of them. The floor of the network is its own floating-point operations at
the rate of a large matrix product here, and its layers' outputs, written and read once, at the rate of a large copy
here; what a fused network needs not write makes the second an upper bound of a floor.
"""

import argparse
import copy
import io
import json
import os
import resource
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zim_plugins.data.conversion.shard_job import MASKS_AT_ONCE, Selection, tight_crop
from zim_plugins.data.faults import FaultLog
from zim_plugins.data.readers.sa1b import ShardImage, find_shards, read_shard
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.imaging import atomic_write
from zim_plugins.imaging.files import file_digest
from zim_plugins.imaging.image import encode_png
from zim_plugins.label_converter.checkpoint import load_converter
from zim_plugins.label_converter.converter import ConvertSettings, MatteConverter
from zim_plugins.label_converter.network import CONVERTER_CONFIGS, ConverterNetwork

STAGES = ("read and parse", "decode JPEG", "decode RLE", "network", "crop and blend", "encode PNG", "write")
MATMUL_SIDE, COPY_BYTES, REPEATS = 2048, 256 << 20, 5
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Clock:
    """Wall and processor seconds by stage."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self.wall: Counter[str] = Counter()
        self.cpu: Counter[str] = Counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        wall, cpu = self._now()
        yield
        wall_after, cpu_after = self._now()
        self.wall[name] += wall_after - wall  # pyright: ignore[reportArgumentType]
        self.cpu[name] += cpu_after - cpu  # pyright: ignore[reportArgumentType]

    def _now(self) -> tuple[float, float]:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


class ClockedNetwork:
    """A network that notes when it runs, and on how many views of which side."""

    def __init__(self, network: ConverterNetwork, clock: Clock) -> None:
        self.network, self.clock = network, clock
        self.views: Counter[int] = Counter()

    def matte(self, image: Tensor, mask: Tensor) -> Tensor:
        self.views[image.shape[-1]] += image.shape[0]
        with self.clock.stage("network"):
            return self.network.matte(image, mask)


def main() -> None:
    """Measure, print, write the record."""
    args = parse()
    torch.set_num_threads(args.threads)
    clock = Clock(args.device)
    network, what = load_network(args)
    clocked = ClockedNetwork(network.to(args.device), clock)
    settings = ConvertSettings(frames_px=tuple(args.frames)) if args.frames else ConvertSettings.for_network(network)
    converter = MatteConverter(clocked, args.device, DTYPES[args.dtype], settings)
    with torch.inference_mode():
        zeros = torch.zeros(1, 4, 256, 256, device=args.device)
        network.matte(zeros[:, :3], zeros[:, 3:])  # what only the first pass costs
    load, resident_before = os.getloadavg(), peak_memory_mb()
    counts, sizes = convert(args, converter, clock)
    peak = {"process_mb": peak_memory_mb(), "process_before_mb": resident_before}
    if clock.cuda:
        peak["device_mb"] = torch.cuda.max_memory_allocated() / 2**20
    record = {
        "what": "masks of SA-1B's format to mattes, one worker, stage by stage",
        "model": what,
        "data": {"folder": args.data.name, "photographs": counts["images"], "masks": counts["masks"]},
        "settings": {"frames_px": settings.frames_px, "dtype": args.dtype, "threads": args.threads},
        **describe_process("cuda" if clock.cuda else "cpu"),
        "load_average_before": round(load[0], 2),
        **rates(counts, clock),
        "peak_memory": peak,
        "views": dict(sorted(clocked.views.items())),
        "floor": floor(network, clocked, args, clock),
        "output": sizes,
    }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--converter", type=Path, help="a label converter, .safetensors")
    source.add_argument("--random", choices=sorted(CONVERTER_CONFIGS), help="an untrained one")
    parser.add_argument("--frames", type=int, nargs="+", help="sides of the network's input [px]")
    parser.add_argument("--limit", type=int, help="photographs at most")
    parser.add_argument("--max-per-image", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32", choices=DTYPES)
    parser.add_argument("--threads", type=int, default=1, help="of torch; a worker of `zim convert` has one")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def load_network(args: argparse.Namespace) -> tuple[ConverterNetwork, dict[str, Any]]:
    if args.random:
        torch.manual_seed(0)
        network, what = ConverterNetwork(CONVERTER_CONFIGS[args.random]).eval(), {"name": args.random, "random": True}
    else:
        network, metadata = load_converter(args.converter)
        what = {"name": args.converter.name, "sha256": file_digest(args.converter), "metadata": metadata}
    return network, what | {"parameters": sum(p.numel() for p in network.parameters())}


def convert(args: argparse.Namespace, converter: MatteConverter, clock: Clock) -> tuple[Counter[str], dict[str, Any]]:
    """All stages of a conversion; answers with counts, and with what the mattes take on the disk."""
    counts, faults = Counter[str](), FaultLog()
    selection = Selection(max_per_image=args.max_per_image)
    png, crop_px, soft_px, records = [], [], [], []
    with tempfile.TemporaryDirectory() as folder, atomic_write(Path(folder) / "mattes.tar", durable=True) as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            images = (image for shard in find_shards(args.data) for image in read_shard(shard, faults))
            for image in islice(_clocked(images, clock), args.limit):
                with clock.stage("decode JPEG"):
                    rgb = image.read_image()
                counts["images"] += 1
                counts["image_px"] += rgb.shape[0] * rgb.shape[1]
                counts["image_bytes"] += len(image.content)
                selected = selection.select(image.annotations, Counter())
                for first in range(0, len(selected), MASKS_AT_ONCE):
                    some = selected[first : first + MASKS_AT_ONCE]
                    with clock.stage("decode RLE"):
                        masks = [annotation.mask.decode() for annotation in some]
                    with clock.stage("convert"):
                        mattes = converter.convert(rgb, masks)
                    with clock.stage("encode PNG"):
                        crops = [tight_crop(m, mask.shape)[0] for m, mask in zip(mattes, masks, strict=True)]
                        contents = [encode_png(crop) for crop in crops if crop.size]
                    with clock.stage("write"):
                        for content in contents:
                            info = tarfile.TarInfo(f"{counts['mattes']}.png")
                            info.size = len(content)
                            tar.addfile(info, io.BytesIO(content))
                            counts["mattes"] += 1
                    counts["masks"] += len(masks)
                    records += [annotation.record for annotation in some]
                    png += [len(content) for content in contents]
                    crop_px += [crop.size for crop in crops if crop.size]
                    counts["empty_mattes"] += len(crops) - len(contents)
                    soft_px += [int(((crop > 1) & (crop < 254)).sum()) for crop in crops if crop.size]
        with clock.stage("write"):
            stream.flush()
            os.fsync(stream.fileno())
    for seconds in (clock.wall, clock.cpu):
        seconds["crop and blend"] = seconds.pop("convert") - seconds["network"]  # pyright: ignore
    sizes = {
        "mattes": counts["mattes"],
        "empty_mattes": counts["empty_mattes"],
        "mattes_without_soft_pixels": sum(n == 0 for n in soft_px),
        "png_bytes_mean": float(np.mean(png)),
        "png_bytes_median": float(np.median(png)),
        "png_bytes_a_pixel_of_crop": sum(png) / sum(crop_px),
        "crop_px_mean": float(np.mean(crop_px)),
        "soft_share_of_crop": sum(soft_px) / sum(crop_px),
        "json_bytes_a_mask": sum(len(json.dumps(dict(r), separators=(",", ":"))) for r in records) / len(records),
        "tar_overhead_bytes_a_matte": 512 + 256,
    }
    return counts, sizes


def _clocked(images: Iterator[ShardImage], clock: Clock) -> Iterator[ShardImage]:
    while True:
        with clock.stage("read and parse"):
            image = next(images, None)
        if image is None:
            return
        yield image


def rates(counts: Counter[str], clock: Clock) -> dict[str, Any]:
    """Photographs and masks a second, and each stage's part."""
    total_wall, total_cpu = (sum(seconds[name] for name in STAGES) for seconds in (clock.wall, clock.cpu))
    stages = {
        name: {
            "seconds": clock.wall[name],
            "cpu_seconds": clock.cpu[name],
            "share_of_cpu": clock.cpu[name] / total_cpu,
            "cpu_ms_a_mask": 1e3 * clock.cpu[name] / counts["masks"],
        }
        for name in STAGES
    }
    return {
        "masks_per_second": counts["masks"] / total_wall,
        "masks_per_cpu_second": counts["masks"] / total_cpu,
        "images_per_second": counts["images"] / total_wall,
        "images_per_cpu_second": counts["images"] / total_cpu,
        "megapixels_decoded_per_cpu_second": counts["image_px"] / 1e6 / clock.cpu["decode JPEG"],
        "stages": stages,
    }


def floor(network: ConverterNetwork, clocked: ClockedNetwork, args: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """The network's operations and bytes against what the machine does of either in a second."""
    flops, moved = Counter[int](), Counter[int]()
    for side in clocked.views:
        flops[side], moved[side] = count_operations(network, side)
    total_flops = sum(flops[side] * n for side, n in clocked.views.items())
    total_bytes = sum(moved[side] * n for side, n in clocked.views.items()) * (1 if args.dtype == "fp32" else 0.5)
    matmul, copy = matmul_rate(args.device, DTYPES[args.dtype]), copy_rate(args.device)
    seconds = clock.wall["network"] if clock.cuda else clock.cpu["network"] / args.threads
    bound = max(total_flops / matmul, total_bytes / copy)
    return {
        "gflop_a_view": {side: round(n / 1e9, 2) for side, n in sorted(flops.items())},
        "gflop_a_mask": total_flops / 1e9 / sum(clocked.views.values()),
        "matmul_gflop_per_second": matmul / 1e9,
        "copy_gb_per_second": copy / 1e9,
        "network_gflop_per_second": total_flops / 1e9 / seconds,
        "share_of_matmul_rate": total_flops / matmul / seconds,
        "share_of_copy_rate": total_bytes / copy / seconds,
        "share_of_floor": bound / seconds,
    }


def count_operations(network: ConverterNetwork, side: int) -> tuple[int, int]:
    """Floating-point operations of one view (two for a multiplication with addition), and bytes of its layers."""
    moved = 0

    def note(_: nn.Module, __: object, output: object) -> None:
        nonlocal moved
        if isinstance(output, Tensor):
            moved += 2 * output.numel() * 4

    shapes = copy.deepcopy(network).to("meta")  # nothing is computed
    for module in shapes.modules():
        if not any(module.children()):
            module.register_forward_hook(note)
    zeros = torch.zeros(1, 4, side, side, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        shapes.matte(zeros[:, :3], zeros[:, 3:])
    return counter.get_total_flops(), moved


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product; the best of some."""
    a = torch.randn(MATMUL_SIDE, MATMUL_SIDE, device=device, dtype=dtype)
    return 2 * MATMUL_SIDE**3 / best_seconds(lambda: a @ a, device)


def copy_rate(device: str) -> float:
    """Bytes a second, read and written, of a large copy; the best of some."""
    a = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * COPY_BYTES / best_seconds(lambda: b.copy_(a), device)


def best_seconds(call: Any, device: str) -> float:
    clock = Clock(device)
    call()
    seconds = []
    for _ in range(REPEATS):
        with clock.stage("call"):
            call()
        seconds.append((clock.wall if clock.cuda else clock.cpu).pop("call") / (1 if clock.cuda else _threads()))
    return min(seconds)


def _threads() -> int:
    return torch.get_num_threads()


def peak_memory_mb() -> float:
    """Most memory that this process has had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
