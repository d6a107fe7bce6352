"""Steps of gpu_day beyond inference: training, conversion, splats, and zim_tiny in what is left of the time."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from gpu_bench import ROOT, Bench, Row, image

from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim


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

    flops = 3 * b.formula_flops(name, count, decoded=True)  # backward: twice the forward
    if b.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    s = b.seconds(step, 5, 2)
    memory = torch.cuda.max_memory_allocated() / 2**30 if b.device.startswith("cuda") else None
    yield {
        "what": f"training step of {count}, {name}, {side} px, bf16 autocast",
        "seconds": s,
        "share_of_matmul": b.share(flops / s),
        "peak_gib": memory,
    }


def conversion(b: Bench) -> Iterator[Row]:
    """Masks to mattes with the shipped converter."""
    from zim_plugins.label_converter import checkpoint
    from zim_plugins.label_converter.converter import MatteConverter

    weights = Path(checkpoint.__file__).parent / "weights" / "converter_tiny.safetensors"
    converter = MatteConverter.load(weights, b.device)
    rgb = image(b.frame)
    ys, xs = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    count = 4 if b.quick else 64
    places = np.random.default_rng(2).uniform(0.2, 0.8, (count, 2)) * rgb.shape[:2]
    masks = [np.hypot(ys - y, xs - x) < 0.12 * b.frame for y, x in places]
    s = b.seconds(lambda: list(converter.convert(rgb, masks)), 3, 1)
    yield {"what": "conversion, converter_tiny", "masks_per_s": count / s}


def splats(b: Bench) -> Iterator[Row]:
    """A view of a room of Gaussians as blending weights: gsplat on CUDA compared with our own way on a CPU."""
    from splats import cameras, room

    from nerf_seg.field.gaussians.rendering import view_weights

    gaussians, truth = room(3_000 if b.quick else 300_000)
    eye = cameras(1, (48, 64) if b.quick else (240, 320))[0]
    values = np.stack([truth, ~truth], axis=1).astype(np.float32)
    start = time.perf_counter()
    exact = view_weights(gaussians, eye)
    row: Row = {"what": f"splats, a view of {len(truth)} Gaussians on the CPU", "seconds": time.perf_counter() - start}
    yield row | {"shape": list(eye.size)}
    if not b.device.startswith("cuda"):
        return
    from nerf_seg.field.gaussians.gsplat_rendering import gsplat_weights, gsplat_works

    if not gsplat_works():
        yield {"what": "splats, gsplat", "skipped": "gsplat is not installed"}
        return
    fast = gsplat_weights(gaussians.to("cuda"), eye)
    matte = np.random.default_rng(3).random((eye.size[0] * eye.size[1], 1)).astype(np.float32)
    gathered, wanted = fast.gather(matte), exact.gather(matte)
    yield {
        "what": f"splats, a view of {len(truth)} Gaussians through gsplat",
        "blend_s": b.seconds(lambda: fast.blend(values), 5, 1),
        "gather_s": b.seconds(lambda: fast.gather(matte), 5, 1),
        "blend_max": float(np.abs(fast.blend(values) - exact.blend(values)).max()),
        "gather_max_relative": float(np.abs(gathered - wanted).max() / wanted.max()),
    }


def zim_tiny(b: Bench) -> Iterator[Row]:
    """Training of zim_tiny with what is left of the budget, with exact resume; its state stays in the results."""
    if not b.packs:
        yield {"what": "training of zim_tiny", "skipped": "no --packs"}
        return
    out = b.out / "zim_tiny"
    command = [sys.executable, "-m", "zim_plugins.training.packed.train", "--device", b.device, "--out", str(out)]
    command += ["--packs", *(str(path.resolve()) for path in b.packs), "--resume"]
    if b.start is not None and not (out / "state.pt").exists():
        command += ["--start", str(b.start.resolve())]
    if b.quick:
        command += ["--phases", "try", "--steps", "4", "--check-every", "4"]
    else:
        room_s = b.left_s() - 45  # packs are read before, checks and files come after
        if room_s < 30:
            yield {"what": "training of zim_tiny", "skipped": f"{b.left_s():.0f} s are left"}
            return
        command += ["--phases", "fine", "--lr", "3e-4", "--bf16", "--seconds", f"{room_s:.0f}"]
        command += ["--stop-after-seconds", f"{room_s + 25:.0f}", "--check-every", "200"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    row: Row = {"what": "training of zim_tiny", "exit": done.returncode, "last": rows[-3:]}
    yield row | ({"error": done.stderr.strip()[-400:]} if done.returncode else {})
