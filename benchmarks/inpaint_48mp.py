"""A 48-megapixel photograph without its object: time and peak memory beside lama-cleaner's strategies.

    python benchmarks/inpaint_48mp.py DATA [--out FILE.json] [--keep FOLDER]

DATA holds `inpaint/photos`. The photograph is enlarged to 8000 x 6000 px, given grain, and saved as JPEG. Every row is
a process of its own that reads the file, fills the same hole and writes a PNG; time is wall-clock from start to end,
memory the largest resident set of that process. `zim-inpaint --mask` gets the matte that zim_tiny found in the first
row, lama-cleaner that row's hole. All fill by the same TorchScript file, of LaMa's kind (three halvings, blocks with a
Fourier half, random weights) with a tenth of its parameters: its images mean nothing, its time does. lama-cleaner
runs through its own ModelManager with its server's defaults (crop margin 128 px).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from zim_plugins.evaluation.provenance import describe_process

WEIGHTS = Path(__file__).parents[1] / "zim_plugins/core/weights/zim_tiny.safetensors"
PHOTO, BOX = "remove-anything_person.jpg", (2733, 3666, 3627, 5893)
SIZE = 8000, 6000
GRAIN = 3.0
WIDTHS, BLOCKS = (12, 24, 96, 256), 9
"""Channels at strides 1, 2, 4 and 8; most of the work is done at stride 8, as in LaMa."""

LAMA_CLEANER = """
import sys, warnings
warnings.simplefilter("ignore")
import cv2, torch
from loguru import logger
logger.remove()
from lama_cleaner.model_manager import ModelManager
from lama_cleaner.schema import Config
image = cv2.cvtColor(cv2.imread(sys.argv[1]), cv2.COLOR_BGR2RGB)
mask = cv2.imread(sys.argv[2], cv2.IMREAD_GRAYSCALE)
config = Config(ldm_steps=1, hd_strategy=sys.argv[4], hd_strategy_crop_margin=128,
                hd_strategy_crop_trigger_size=800, hd_strategy_resize_limit=1280)
torch._C._jit_override_can_fuse_on_cpu(False)
result = ModelManager(name="lama", device=torch.device("cpu"))(image, mask, config)
cv2.imwrite(sys.argv[3], result)
"""


class FourierBlock(nn.Module):
    """Half of the channels by convolution, half by one in the Fourier domain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.spectral = nn.Conv2d(channels * 2, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho")
        mixed = self.spectral(torch.cat([spectrum.real, spectrum.imag], dim=1))
        real, imaginary = mixed.chunk(2, dim=1)
        wide = torch.fft.irfft2(torch.complex(real, imaginary), s=(x.shape[2], x.shape[3]), norm="ortho")
        return x + torch.relu(torch.cat([self.local(x), wide], dim=1))


class SmallLama(nn.Module):
    """LaMa's signature and shape: (1, 3, h, w) in [0, 1], (1, 1, h, w) in {0, 1} -> (1, 3, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.layers = nn.Sequential(
            *(nn.Conv2d(4, a, 7, padding=3), nn.ReLU(), nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(b, c, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(c, d, 3, stride=2, padding=1), nn.ReLU()),
            *(FourierBlock(d) for _ in range(BLOCKS)),
            *(nn.ConvTranspose2d(d, c, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(c, b, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(b, a, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(a, 3, 7, padding=3), nn.Sigmoid()),
        )

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        painted = self.layers(torch.cat([image * (1 - mask), mask], dim=1))
        return mask * painted + (1 - mask) * image


def main() -> None:
    """Run all rows, print a table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "inpaint_48mp.json")
    parser.add_argument("--keep", type=Path, help="leave the images in this folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        picture, network = folder / "photo.jpg", folder / "small_lama.pt"
        enlarge(args.data / "inpaint" / "photos" / PHOTO, picture)
        parameters = save_network(network)
        rows = run_rows(picture, network, folder)
        same = outside_is_the_same(picture, folder / "box")
    record = {
        "what": "an object out of 48 megapixels: seconds and peak memory of whole processes, beside lama-cleaner's",
        "model": {"zim_tiny": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()},
        "photo": PHOTO,
        "size": SIZE,
        "box": BOX,
        "network_parameters": parameters,
        "rows": rows,
        "outside_the_hole_byte_identical": same,
        **describe_process(packages=("lama-cleaner", "pillow")),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        print(f"{row['name']:42} {row['wall_s']:7.1f} s {row['cpu_s']:7.1f} s of CPU {row['peak_gb']:6.2f} GB")
    print(f"outside the hole byte-identical: {same}")


def run_rows(picture: Path, network: Path, folder: Path) -> list[dict[str, object]]:
    """Each way of filling in a process of its own, in turn."""
    environment = os.environ | {"LAMA_MODEL": str(network), "LAMA_MODEL_URL": str(network)}
    ours = [sys.executable, "-c", "from inpaint.cli import entrypoint; entrypoint()", str(picture)]
    box = ["--box", ",".join(map(str, BOX)), "--out", str(folder / "box"), "--backend"]
    mask = ["--mask", str(folder / "box" / "photo_alpha.png"), "--out", str(folder / "mask"), "--backend"]
    theirs = [sys.executable, "-c", LAMA_CLEANER, str(picture), str(folder / "box" / "photo_hole.png")]
    commands = {
        "zim-inpaint, box (zim_tiny), patchmatch": [*ours, *box, "patchmatch"],
        "zim-inpaint, box (zim_tiny), lama": [*ours, *box, "lama"],
        "zim-inpaint, mask, lama": [*ours, *mask, "lama"],
        "lama-cleaner, Crop": [*theirs, str(folder / "crop.png"), "Crop"],
        "lama-cleaner, Original": [*theirs, str(folder / "original.png"), "Original"],
    }
    return [{"name": name, **measure(command, environment)} for name, command in commands.items()]


def measure(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a command; its wall-clock and CPU time [s] and its largest resident set [GB]."""
    start_s = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start_s
    if status:
        raise SystemExit(f"a run failed with status {status}: {command}")
    return {
        "wall_s": round(wall_s, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
    }


def enlarge(photo: Path, path: Path) -> None:
    """Write the photograph at 48 megapixels, with grain, as JPEG."""
    pixels = np.array(Image.open(photo).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC))
    rng = np.random.default_rng(0)
    for top in range(0, SIZE[1], 500):
        band = pixels[top : top + 500]
        grain = rng.normal(0, GRAIN, (*band.shape[:2], 1)).astype(np.float32)
        band[:] = np.clip(band + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=92)


def save_network(path: Path) -> int:
    """Trace and save the network; answers with its number of parameters."""
    torch.manual_seed(0)
    network = SmallLama().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, (torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))).save(str(path))
    return sum(p.numel() for p in network.parameters())


def outside_is_the_same(picture: Path, folder: Path) -> bool:
    """Whether our result equals the decoded photograph outside the hole."""
    before, after = (np.asarray(Image.open(p)) for p in (picture, folder / "photo_removed.png"))
    hole = np.asarray(Image.open(folder / "photo_hole.png")) > 0
    return bool((before == after).all(axis=2)[~hole].all())


if __name__ == "__main__":
    main()
