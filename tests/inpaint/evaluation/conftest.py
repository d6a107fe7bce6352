"""Small sources for composites, a filler that needs nothing, and a tiny CLIP."""

import json
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from inpaint.evaluation.composites import half_of
from inpaint.inpainters.registry import load_inpainter


def write_cutout(path: Path, rng: np.random.Generator, *, size: int = 48) -> None:
    """A soft disk of one colour."""
    ys, xs = np.mgrid[:size, :size] + 0.5
    alpha = np.clip((size * 0.4 - np.hypot(xs - size / 2, ys - size / 2)) / 8 + 0.5, 0, 1)
    rgba = np.empty((size, size, 4), np.uint8)
    rgba[..., :3] = rng.integers(0, 255, 3)
    rgba[..., 3] = np.rint(alpha * 255)
    PIL.Image.fromarray(rgba).save(path)


def write_photo(path: Path, rng: np.random.Generator, size: tuple[int, int] = (90, 120)) -> None:
    """Smooth colours with grain, (H, W) as `size`."""
    coarse = PIL.Image.fromarray(rng.integers(60, 200, (4, 5, 3)).astype(np.uint8))
    smooth = np.asarray(coarse.resize(size[::-1], PIL.Image.Resampling.BICUBIC), dtype=np.float64)
    PIL.Image.fromarray(np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)).save(path)


def names_of_half(half: str, stem: str, count: int) -> list[str]:
    """File names without suffix that belong to one half."""
    return [n for n in (f"{stem}{k}" for k in range(100)) if half_of(n) == half][:count]


@pytest.fixture
def sources(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder with seven cut-outs and two photographs of the half that is reported."""
    for folder in ("cutouts", "photos"):
        (tmp_path / folder).mkdir()
    for name in names_of_half("report", "c", 7):
        write_cutout(tmp_path / "cutouts" / f"{name}.png", rng)
    for name in names_of_half("report", "p", 2):
        write_photo(tmp_path / "photos" / f"{name}.png", rng)
    return tmp_path


@pytest.fixture
def filler() -> str:
    """The name of a filler that is installed and quick."""
    pytest.importorskip("cv2")
    load_inpainter("cv2")
    return "cv2"


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 16 channels with random weights, its tokenizer and its image processor."""
    transformers = pytest.importorskip("transformers")

    target = tmp_path_factory.mktemp("clip")
    words = sorted({*"abcdefghijklmnopqrstuvwxyz", *(c + "</w>" for c in "abcdefghijklmnopqrstuvwxyz")})
    words += ["<|startoftext|>", "<|endoftext|>"]
    (target / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (target / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(target / "vocab.json"), str(target / "merges.txt"))
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(target)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    end = len(words) - 1
    config = transformers.CLIPConfig(
        text_config=small | {"vocab_size": len(words), "bos_token_id": end - 1, "eos_token_id": end},
        vision_config=small | {"image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(target)
    return target


class SmallNetwork(torch.nn.Module):
    """Called as the Inception file is: mean colour and mean square of each channel."""

    def forward(self, images: torch.Tensor, return_features: bool = True) -> torch.Tensor:
        values = images.float() / 255
        return torch.cat([values.mean((2, 3)), (values**2).mean((2, 3))], dim=1)


@pytest.fixture
def tiny_network(tmp_path: Path) -> Path:
    path = tmp_path / "inception.pt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit")
        torch.jit.script(SmallNetwork()).save(str(path))
    return path
