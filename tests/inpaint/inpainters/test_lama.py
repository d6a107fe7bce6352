"""LaMa by our loader and by lama-cleaner's class: one file, one result; and what becomes of the file."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from inpaint.inpainters.lama import LamaInpainter
from inpaint.inpainters.lama_cleaner_package import LamaCleanerInpainter
from inpaint.inpainters.weights import BIG_LAMA_MD5, download_model, lama_file, require_lama
from tests.inpaint.tiny_models import save_lama
from zim_plugins.core import CheckpointError


@pytest.fixture
def lama_pt(tmp_path: Path) -> Path:
    return save_lama(tmp_path / "big-lama.pt")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAMA_MODEL", "LAMA_MODEL_URL", "LAMA_MODEL_MD5", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def photo(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    hole = np.zeros(size, bool)
    hole[size[0] // 4 : size[0] // 2, size[1] // 3 :] = True
    return image, hole


@pytest.mark.parametrize("size", [(64, 80), (61, 83), (3, 5)])
def test_lama_cleaners_own_class_gives_the_same_pixels(
    lama_pt: Path, rng: np.random.Generator, size: tuple[int, int]
) -> None:
    pytest.importorskip("lama_cleaner", reason="pip install --no-deps lama-cleaner==1.2.5")
    image, hole = photo(rng, size)
    if size == (3, 5):
        hole[1, 2] = True
    ours = LamaInpainter(lama_pt, device="cpu").fill(image, hole)
    theirs = LamaCleanerInpainter(lama_pt, device="cpu").fill(image, hole)
    assert np.array_equal(ours, theirs)
    assert np.array_equal(ours[~hole], image[~hole])
    assert (ours[hole] != image[hole]).any()


def test_the_network_sees_the_image_padded_not_squeezed(lama_pt: Path, rng: np.random.Generator) -> None:
    image, hole = photo(rng, (61, 83))
    seen = []
    inpainter = LamaInpainter(lama_pt, device="cpu")
    network = inpainter.network

    def note(pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.extend([pixels, mask])
        return network(pixels, mask)

    inpainter.network = note
    inpainter.fill(image, hole)
    assert seen[0].shape == (1, 3, 64, 88) and seen[1].shape == (1, 1, 64, 88)
    assert torch.equal(seen[0][0, :, :61, :83], torch.from_numpy(image).permute(2, 0, 1) / 255)
    assert torch.equal(seen[0][0, :, 61], seen[0][0, :, 60])  # symmetric


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_paints_what_the_cpu_paints(lama_pt: Path, rng: np.random.Generator) -> None:
    image, hole = photo(rng, (61, 83))
    on_cpu, on_cuda = (LamaInpainter(lama_pt, device=device).fill(image, hole) for device in ("cpu", "cuda"))
    assert np.abs(on_cpu.astype(int) - on_cuda).max() <= 1


def test_lama_cleaner_deletes_nothing_of_the_users(tmp_path: Path) -> None:
    pytest.importorskip("lama_cleaner", reason="pip install --no-deps lama-cleaner==1.2.5")
    broken = tmp_path / "big-lama.pt"
    broken.write_bytes(b"no network")
    with pytest.raises(CheckpointError, match=r"could not load .*big-lama\.pt"):
        LamaCleanerInpainter(broken, device="cpu")
    with pytest.raises(CheckpointError, match="no TorchScript"):
        LamaInpainter(broken, device="cpu")
    assert broken.read_bytes() == b"no network"


def test_the_file_is_found_where_lama_cleaner_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert lama_file().path == tmp_path / "hub" / "checkpoints" / "big-lama.pt"
    assert lama_file().md5 == BIG_LAMA_MD5
    monkeypatch.setenv("LAMA_MODEL_URL", "https://example.org/models/anime.pt?download=1")
    assert lama_file().path == tmp_path / "hub" / "checkpoints" / "anime.pt"
    assert lama_file().md5 is None
    monkeypatch.setenv("LAMA_MODEL_URL", "/models/mine.pt")
    assert lama_file().path == Path("/models/mine.pt") and lama_file().url is None
    monkeypatch.setenv("LAMA_MODEL", "/models/first.pt")
    monkeypatch.setenv("LAMA_MODEL_MD5", "ABC")
    assert lama_file().path == Path("/models/first.pt") and lama_file().md5 == "ABC"


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"big-lama\.pt.*--download lama.*LAMA_MODEL"):
        require_lama()
    monkeypatch.setenv("LAMA_MODEL", str(tmp_path / "absent.pt"))
    with pytest.raises(CheckpointError, match=r"absent\.pt"):
        require_lama()


def test_another_file_is_refused_with_both_digests(lama_pt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hashlib.md5(lama_pt.read_bytes()).hexdigest()
    monkeypatch.setenv("LAMA_MODEL", str(lama_pt))
    monkeypatch.setenv("LAMA_MODEL_MD5", "0" * 32)
    with pytest.raises(CheckpointError, match=f"{found}.*{'0' * 32}.*LAMA_MODEL_MD5={found}"):
        LamaInpainter()
    assert lama_pt.is_file()
    monkeypatch.setenv("LAMA_MODEL_MD5", found.upper())
    assert require_lama() == lama_pt


def test_a_download_arrives_whole_and_checked_or_not_at_all(
    tmp_path: Path, lama_pt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(url: str, path: str) -> None:
        Path(path).write_bytes(lama_pt.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    with pytest.raises(CheckpointError, match=BIG_LAMA_MD5):
        download_model("lama")
    assert list((tmp_path / "home").rglob("*lama*")) == []
    monkeypatch.setenv("LAMA_MODEL_MD5", hashlib.md5(lama_pt.read_bytes()).hexdigest())
    assert download_model("lama").read_bytes() == lama_pt.read_bytes()
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    assert download_model("lama").is_file()  # not fetched twice


def test_unknown_weights_are_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"'mat'.*lama, sd15, sd2, sdxl, flux-fill"):
        download_model("mat")
