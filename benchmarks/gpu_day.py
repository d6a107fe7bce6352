"""Everything that only a GPU can show, in one command, most important first; results are written as they come.

    python benchmarks/gpu_day.py --out DIR [--budget-s 200] [--device cuda] [--quick] [--steps decode,training]
        [--packs A.zip B.zip --start average.pt]     # what is left of the budget trains zim_tiny, DIR/zim_tiny/state.pt

DIR/gpu_day.jsonl gets one line for each measurement, flushed at once: commit, device, versions, figures. A step whose
package is missing or that fails says so in a line of its own, and the next one runs; a step that outlasts the budget is
interrupted. Nothing is installed or fetched; random weights stand in for ViTs that are not at hand. `--device cpu
--quick` walks every step with small sizes. The exit status is 1 if a step failed, or a test on the device.
"""

import argparse
import importlib
import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu_bench import ROOT, Bench, Row, clicks, image
from gpu_training import conversion, splats, training, zim_tiny

from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.modeling.zim import Zim
from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.evaluation.provenance import source_commit

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MATTE_GOAL = {"fp32": 1e-3, "bf16": 2e-2, "fp16": 2e-2}
"""How far mattes may be from those of the CPU in fp32."""


class BudgetSpent(BaseException):
    """Interrupts a step at the end of the budget; no step's own `except Exception` may hold it up."""


def interrupt(signal_number: int, frame: FrameType | None) -> None:
    """End the step in progress."""
    raise BudgetSpent


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
            return ImagePredictor(ZimTorchBackend(deepcopy(zim), name=name, device=device, dtype=DTYPES[dtype]))

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
                    "goal": MATTE_GOAL[dtype],
                    "met": bool(difference.max() <= MATTE_GOAL[dtype]),
                    "mattes": list(found.shape),
                }
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def gpu_tests(b: Bench) -> Iterator[Row]:
    """`pytest -m gpu`; the conftest checks shapes with beartype and cannot do without."""
    for needed in ("pytest", "beartype", "jaxtyping"):
        try:
            importlib.import_module(needed)
        except ImportError:
            yield {"what": "pytest -m gpu", "skipped": f"{needed} is not installed"}
            return
    command = [sys.executable, *"-m pytest -m gpu -q --no-header -p no:cacheprovider tests/core tests/inpaint".split()]
    limit = max(5.0, min(800.0 if b.quick else 100.0, b.left_s()))  # a dry run's machine may be busy
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        yield {"what": "pytest -m gpu", "error": f"not done in {limit:.0f} s", "tail": str(error.output)[-600:]}
        return
    row: Row = {"what": "pytest -m gpu", "exit": done.returncode, "tail": (done.stdout + done.stderr).strip()[-600:]}
    if done.returncode:
        row["error"] = f"pytest ended with {done.returncode}"
    elif b.device.startswith("cuda") and " passed" not in done.stdout:
        row["error"] = "no test ran on the device"
    yield row


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
    """Encoders in bf16, as a share of the matrix product's rate; images are encoded 1, 4 and 8 at once."""
    for name in b.vits:
        zim = b.network(name).to(b.device, torch.bfloat16)
        for batch in (1, 4, 8):
            yield _encoded(b, name, zim, zim.encode, batch, "eager")


@torch.inference_mode()
def encode_compiled(b: Bench) -> Iterator[Row]:
    """The same compiled, one image and eight; late, since compiling takes up to a minute for each."""
    for name in b.vits[:1]:
        zim = b.network(name).to(b.device, torch.bfloat16)
        for batch in (1,) if b.quick else (1, 8):
            torch._dynamo.reset()
            compiled = zim.encode if b.quick else torch.compile(zim.encode, dynamic=False)
            yield _encoded(b, name, zim, compiled, batch, "not compiled: quick" if b.quick else "compiled")


def _encoded(b: Bench, name: str, zim: Zim, call: Callable[[torch.Tensor], Any], batch: int, mode: str) -> Row:
    frame = zim.config.frame_px
    x = torch.randn(batch, 3, frame, frame, device=b.device, dtype=torch.bfloat16)
    row: Row = {"what": f"encode {batch} {name} bf16 {mode}", "shape": list(x.shape)}
    try:
        row["seconds"] = b.seconds(lambda: call(x))
    except Exception as error:
        return row | {"error": f"{type(error).__name__}: {error}"[:400]}
    rate = b.formula_flops(name, batch) / row["seconds"]
    return row | {"tflops": rate / 1e12, "share_of_matmul": b.share(rate), "images_per_s": batch / row["seconds"]}


def decode(b: Bench) -> Iterator[Row]:
    """Clicks on an encoded image, and a whole image to a matte."""
    from zim_plugins.core import load_predictor

    rgb = image(b.frame)
    vit = b.vits[0]
    backend = ZimTorchBackend(b.network(vit), name="random", device=b.device, dtype=torch.bfloat16)
    predictors = {f"{vit} bf16": ImagePredictor(backend), "zim_tiny fp32": load_predictor("zim_tiny", device=b.device)}
    for name, predictor in predictors.items():
        predictor.set_image(rgb)
        for count in (1, 16) if b.quick else (1, 16, 1024):
            asked, runs = clicks(count, b.frame), 5 if count < 1024 else 2
            calls = {"logits": predictor.predict_logits} | ({"mattes": predictor.predict_many} if count < 1024 else {})
            for answer, call in calls.items():
                s = b.seconds(lambda c=call, q=asked: c(q), runs, 1)
                yield {"what": f"{count} clicks to {answer}, {name}", "seconds": s}

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
        from cuda_graphs import GraphedDecode

        graphed = GraphedDecode(zim.decode, (1,))
        yield {
            "what": f"decoder as a CUDA graph, 1 click, {name} bf16",
            "seconds": b.seconds(lambda: graphed(features, coords, labels, None)),
        }
        eager, again = zim.decode(features, coords, labels)[0], graphed(features, coords, labels, None)[0]
        yield {"what": "CUDA graph, largest difference of logits", "max": float((eager - again).float().abs().max())}


STEPS = (parity, matmul, encode, decode, decoders, training, conversion, gpu_tests, encode_compiled, splats, zim_tiny)
"""Most important first; the last takes what is left."""


def main() -> None:
    """Run all steps within the budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget-s", type=float, default=200)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--packs", type=Path, nargs="+", help="data of zim_tiny, as training.packed.pack writes it")
    parser.add_argument("--start", type=Path, help="state.pt or average.pt whose average training starts from")
    parser.add_argument("--steps", default=",".join(step.__name__ for step in STEPS), help="some of them, in any order")
    args = parser.parse_args()
    by_name = {step.__name__: step for step in STEPS}
    chosen = args.steps.split(",")
    if unknown := [name for name in chosen if name not in by_name]:
        parser.error(f"no step is called {', '.join(unknown)}: choose from {', '.join(by_name)}")
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    bench = Bench(args.device, args.quick, args.budget_s, args.out.resolve(), args.packs, args.start)
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.machine()
    base = {"commit": source_commit(), "device": where, "torch": torch.__version__, "python": platform.python_version()}
    signal.signal(signal.SIGALRM, interrupt)
    failed = 0
    with (args.out / "gpu_day.jsonl").open("a") as file:

        def write(row: Row) -> None:
            row = {"at_s": round(time.perf_counter() - began, 1)} | row | base
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(json.dumps({k: v for k, v in row.items() if k not in base}), flush=True)

        for step in (by_name[name] for name in chosen):
            if bench.left_s() <= 0:
                write({"what": step.__name__, "skipped": "the budget is spent"})
                continue
            try:
                signal.setitimer(signal.ITIMER_REAL, bench.left_s())
                for row in step(bench):
                    failed += "error" in row
                    write(row)
            except BudgetSpent:
                write({"what": step.__name__, "skipped": "interrupted: the budget is spent"})
            except Exception as error:  # the next step is to run whatever happens
                failed += 1
                write({"what": step.__name__, "error": f"{type(error).__name__}: {error}"[:500]})
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if args.device.startswith("cuda"):
                torch.cuda.empty_cache()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
