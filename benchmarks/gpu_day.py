"""Everything that only a GPU can show, in one command, most important first; results are written as they come.

    python benchmarks/gpu_day.py --out DIR [--budget-s 200] [--device cuda] [--quick]

DIR/gpu_day.jsonl gets one line for each measurement, flushed at once: commit, device, versions, figures. A step whose
package is missing or that fails says so in a line of its own, and the next one runs. Nothing is installed or fetched;
random weights stand in for ViTs that are not at hand. `--device cpu --quick` walks every step with small sizes.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.prompt import Prompt

Row = dict[str, Any]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BYTES_GOAL = {"fp32": 1e-3, "bf16": 2e-2, "fp16": 2e-2}
"""How far mattes may be from those of the CPU in fp32."""


class Bench:
    """Sizes and clocks of one run."""

    def __init__(self, device: str, quick: bool) -> None:
        self.device, self.quick = device, quick
        self.frame = 128 if quick else 1024
        self.vits = ("tiny",) if quick else ("vit_b", "vit_l")
        self.matmul_flops: dict[torch.dtype, float] = {}

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], Any], runs: int = 7, warm: int = 3) -> float:
        """Median time of a call [s], the device waited for."""
        if self.quick:
            runs, warm = 2, 1
        for _ in range(warm):
            call()
        times = []
        for _ in range(runs):
            self.wait()
            start = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def network(self, name: str) -> Zim:
        """A network with seeded random weights, whose mattes differ from pixel to pixel."""
        torch.manual_seed(0)
        zim = Zim(ZIM_CONFIGS[name]).eval().requires_grad_(False)
        for mlp in zim.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(20)
        return zim

    def flops(self, call: Callable[[], Any]) -> float:
        """Floating-point operations of a call."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            call()
        return float(counter.get_total_flops())


def image(side: int) -> np.ndarray:
    """A smooth random image."""
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.uniform(0, 255, (1, 3, 12, 16)).astype(np.float32))
    big = torch.nn.functional.interpolate(small, (side * 3 // 4, side), mode="bicubic").clamp(0, 255)
    return big[0].permute(1, 2, 0).numpy().astype(np.uint8)


def clicks(count: int, side: int) -> list[Prompt]:
    """Seeded clicks on `image(side)`."""
    places = np.random.default_rng(1).uniform((0.05 * side,) * 2, (0.95 * side, 0.7 * side), (count, 2))
    return [Prompt.from_point(*p) for p in places]


def parity(b: Bench) -> Iterator[Row]:
    """Mattes on the device, in every precision, compared with the CPU's in fp32."""
    from zim_plugins.core import load_predictor

    rgb, prompts = image(b.frame), clicks(4, b.frame)
    prompts.append(Prompt.from_box(0.1 * b.frame, 0.1 * b.frame, 0.8 * b.frame, 0.6 * b.frame))
    cases: list[tuple[str, Callable[[str, str], ImagePredictor]]] = [
        ("zim_tiny", lambda device, dtype: load_predictor("zim_tiny", device=device, dtype=dtype, refine="none"))  # type: ignore[arg-type]
    ]
    for name in b.vits:
        zim = b.network(name)

        def make(device: str, dtype: str, zim: Zim = zim, name: str = name) -> ImagePredictor:
            from copy import deepcopy

            backend = ZimTorchBackend(deepcopy(zim), name=name, device=device, dtype=DTYPES[dtype])
            return ImagePredictor(backend)

        cases.append((name, make))
    for name, build in cases:
        reference = build("cpu", "fp32")
        reference.set_image(rgb)
        wanted = np.stack([p.alpha for p in reference.predict_many(prompts)])
        for dtype in DTYPES:
            for tf32 in (False, True) if dtype == "fp32" and b.device.startswith("cuda") else (False,):
                torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
                try:
                    ours = build(b.device, dtype)
                    ours.set_image(rgb)
                    found = np.stack([p.alpha for p in ours.predict_many(prompts)])
                except Exception as error:
                    yield {"what": f"parity {name} {dtype}", "error": f"{type(error).__name__}: {error}"[:400]}
                    continue
                difference = np.abs(found - wanted)
                yield {
                    "what": f"parity {name} {dtype}" + (" tf32" if tf32 else ""),
                    "max": float(difference.max()),
                    "mean": float(difference.mean()),
                    "spread": float(wanted.std()),
                    "goal": BYTES_GOAL[dtype],
                }
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def gpu_tests(b: Bench) -> Iterator[Row]:
    """`pytest -m gpu`, without the conftest's shape checks where beartype is missing."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-q",
        "--no-header",
        "tests/core",
        "tests/inpaint",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    yield {"what": "pytest -m gpu", "exit": done.returncode, "tail": done.stdout.strip()[-600:]}


def matmul(b: Bench) -> Iterator[Row]:
    """The machine's own rate: a large matrix product in each precision."""
    n = 512 if b.quick else 8192
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        x, y = (torch.randn(n, n, device=b.device).to(dtype) for _ in range(2))
        s = b.seconds(lambda x=x, y=y: x @ y, 9)
        b.matmul_flops[dtype] = 2 * n**3 / s
        yield {"what": f"matrix product {name}", "n": n, "tflops": 2 * n**3 / s / 1e12}


@torch.inference_mode()
def encode(b: Bench) -> Iterator[Row]:
    """Encoders in bf16, eager and compiled, as a share of the matrix product's rate."""
    for name in b.vits:
        zim = b.network(name).to(b.device, torch.bfloat16)
        frame = zim.config.frame_px
        for batch in (1, 8):
            x = torch.randn(batch, 3, frame, frame, device=b.device, dtype=torch.bfloat16)
            flops = b.flops(lambda x=x, zim=zim: zim.encode(x))
            modes = [("eager", zim.encode)]
            if name != "vit_l" and not b.quick:
                modes.append(("compiled", torch.compile(zim.encode)))
            for mode, call in modes:
                try:
                    s = b.seconds(lambda call=call, x=x: call(x))
                except Exception as error:
                    yield {
                        "what": f"encode {batch} {name} bf16 {mode}",
                        "error": f"{type(error).__name__}: {error}"[:400],
                    }
                    continue
                rate = flops / s
                yield {
                    "what": f"encode {batch} {name} bf16 {mode}",
                    "seconds": s,
                    "tflops": rate / 1e12,
                    "share_of_matmul": rate / b.matmul_flops[torch.bfloat16],
                }


def decode(b: Bench) -> Iterator[Row]:
    """Clicks on an encoded image, and a whole image to a matte."""
    from zim_plugins.core import load_predictor

    rgb = image(b.frame)
    makers: list[tuple[str, Callable[[], ImagePredictor]]] = []
    for name in b.vits[:1]:
        zim = b.network(name)
        makers.append(
            (
                f"{name} bf16",
                lambda zim=zim: ImagePredictor(
                    ZimTorchBackend(zim, name="random", device=b.device, dtype=torch.bfloat16)
                ),
            )
        )
    makers.append(("zim_tiny fp32", lambda: load_predictor("zim_tiny", device=b.device)))
    for name, make in makers:
        predictor = make()
        predictor.set_image(rgb)
        for count in (1, 16) if b.quick else (1, 16, 1024):
            prompts = clicks(count, b.frame)
            runs = 5 if count < 1024 else 2
            yield {
                "what": f"{count} clicks to logits, {name}",
                "seconds": b.seconds(lambda p=predictor, q=prompts: p.predict_logits(q), runs, 1),
            }
            if count < 1024:
                yield {
                    "what": f"{count} clicks to mattes, {name}",
                    "seconds": b.seconds(lambda p=predictor, q=prompts: p.predict_many(q), runs, 1),
                }

        def whole(p: ImagePredictor = predictor) -> None:
            p.set_image(rgb)
            p.predict(clicks(1, b.frame)[0])

        yield {"what": f"image and click to matte, {name}", "seconds": b.seconds(whole, 7, 2)}


@torch.inference_mode()
def decoders(b: Bench) -> Iterator[Row]:
    """ZIM's hierarchical pixel decoder compared with SAM's, one click; then recorded as a CUDA graph."""
    name = b.vits[0]
    zim = b.network(name).to(b.device, torch.bfloat16)
    zim.prompt_encoder.float()
    side = zim.config.frame_px
    coords = torch.tensor([[[side * 0.3, side * 0.4], [0.0, 0.0]]], device=b.device)
    labels = torch.tensor([[1, -1]], device=b.device)
    features = zim.prepare(zim.encode(torch.randn(1, 3, side, side, device=b.device, dtype=torch.bfloat16)))
    row: Row = {
        "what": f"decoder alone, 1 click, {name} bf16",
        "seconds": b.seconds(lambda: zim.decode(features, coords, labels)),
    }
    if name != "tiny":
        sam = Zim(replace(zim.config, pixel_decoder="sam", masked_attention="none")).eval().to(b.device, torch.bfloat16)
        sam.prompt_encoder.float()
        plain = features._replace(projected=None)
        row["sam_seconds"] = b.seconds(lambda: sam.decode(plain, coords, labels))
        row["over_sam_ms"] = 1e3 * (row["seconds"] - row["sam_seconds"])
    yield row
    if b.device.startswith("cuda"):
        from zim_plugins.core.backends.cuda_graphs import GraphedDecode

        graphed = GraphedDecode(zim.decode, (1,))
        yield {
            "what": f"decoder as a CUDA graph, 1 click, {name} bf16",
            "seconds": b.seconds(lambda: graphed(features, coords, labels, None)),
        }
        eager, _ = zim.decode(features, coords, labels)
        again, _ = graphed(features, coords, labels, None)
        yield {
            "what": "CUDA graph, largest difference of logits",
            "max": float((eager.float() - again.float()).abs().max()),
        }


def training(b: Bench) -> Iterator[Row]:
    """A training step of the ViT in bf16 autocast, as a share of the matrix product's rate, and its memory."""
    from zim_plugins.training.losses import LossWeights, matte_loss

    name = b.vits[0]
    torch.manual_seed(0)
    zim = Zim(ZIM_CONFIGS[name]).to(b.device).train()
    side, count = zim.config.frame_px, 1 if b.quick else 4
    optimiser = torch.optim.AdamW(zim.parameters(), 1e-5)
    images = torch.randn(count, 3, side, side, device=b.device)
    coords = torch.rand(count, 2, 2, device=b.device) * side
    labels = torch.tensor([[1, -1]] * count, device=b.device)
    target = torch.rand(count, side, side, device=b.device)
    valid, edge = torch.ones_like(target), torch.ones(count, device=b.device)

    def forward() -> torch.Tensor:
        with torch.autocast(b.device.split(":")[0], torch.bfloat16):
            logits, scores = zim.decode(zim.encode(images), coords, labels)
        return matte_loss(logits, scores, target, valid, edge, LossWeights())[0]

    def step() -> None:
        forward().backward()
        optimiser.step()
        optimiser.zero_grad()

    flops = 3 * b.flops(forward)
    if b.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    s = b.seconds(step, 5, 2)
    memory = torch.cuda.max_memory_allocated() / 2**30 if b.device.startswith("cuda") else None
    yield {
        "what": f"training step of {count}, {name}, {side} px, bf16 autocast",
        "seconds": s,
        "share_of_matmul": flops / s / b.matmul_flops[torch.bfloat16],
        "peak_gib": memory,
    }


def conversion(b: Bench) -> Iterator[Row]:
    """Masks to mattes with the shipped converter."""
    from zim_plugins.label_converter import checkpoint
    from zim_plugins.label_converter.convert import MatteConverter

    weights = Path(checkpoint.__file__).parent / "weights" / "converter_tiny.safetensors"
    converter = MatteConverter.load(weights, b.device)
    rgb = image(b.frame)
    ys, xs = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    count = 4 if b.quick else 64
    places = np.random.default_rng(2).uniform(0.2, 0.8, (count, 2)) * rgb.shape[:2]
    masks = [np.hypot(ys - y, xs - x) < 0.12 * b.frame for y, x in places]
    s = b.seconds(lambda: list(converter.convert(rgb, masks)), 3, 1)
    yield {"what": "conversion, converter_tiny", "masks_per_s": count / s}


STEPS = (parity, matmul, encode, decode, decoders, training, conversion, gpu_tests)


def main() -> None:
    """Run all steps within the budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget-s", type=float, default=200)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.device, args.quick)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.machine()
    base = {"commit": commit, "device": where, "torch": torch.__version__, "python": platform.python_version()}
    began = time.perf_counter()
    failed = 0
    with (args.out / "gpu_day.jsonl").open("a") as file:

        def write(row: Row) -> None:
            row = {"at_s": round(time.perf_counter() - began, 1)} | row | base
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(json.dumps({k: v for k, v in row.items() if k not in base}), flush=True)

        for step in STEPS:
            if time.perf_counter() - began > args.budget_s:
                write({"what": step.__name__, "skipped": "the budget is spent"})
                continue
            try:
                for row in step(bench):
                    failed += "error" in row
                    write(row)
            except Exception as error:  # the next step is to run whatever happens
                failed += 1
                write({"what": step.__name__, "error": f"{type(error).__name__}: {error}"[:500]})
            if args.device.startswith("cuda"):
                torch.cuda.empty_cache()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
