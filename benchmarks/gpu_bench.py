"""Sizes, clocks and inputs that the steps of gpu_day share."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zim_plugins.bench.row import count_flops
from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim
from zim_plugins.core.prompt import Prompt

Row = dict[str, Any]
ROOT = Path(__file__).parents[1]


class Bench:
    """Sizes and clocks of one run."""

    def __init__(
        self,
        device: str,
        quick: bool,
        budget_s: float = 200,
        out: Path = Path("outputs"),
        packs: list[Path] | None = None,
        start: Path | None = None,
    ) -> None:
        self.device, self.quick = device, quick
        self.out, self.packs, self.start = out, packs or [], start
        self.until = time.perf_counter() + budget_s
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

    def left_s(self) -> float:
        """What is left of the budget [s]."""
        return self.until - time.perf_counter()

    def formula_flops(self, name: str, batch: int, *, decoded: bool = False) -> float:
        """Operations of the formula, forward: the wider heads of a fused kernel are a way of computing, not work."""
        with torch.device("meta"):
            zim = Zim(ZIM_CONFIGS[name]).eval()
            frames = torch.zeros(batch, 3, zim.config.frame_px, zim.config.frame_px)
            coords, labels = torch.zeros(batch, 2, 2), torch.zeros(batch, 2, dtype=torch.long)
        return count_flops(lambda: zim.decode(zim.encode(frames), coords, labels) if decoded else zim.encode(frames))

    def share(self, rate: float) -> float | None:
        """Share of the matrix product's rate in bf16; None where that was not measured in this run."""
        own = self.matmul_flops.get(torch.bfloat16)
        return None if own is None else rate / own


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
