import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("nerfstudio", reason="nerfstudio is not installed: pip install 'zim-plugins[nerf]'")

from nerf_seg.field import patches as obstacles

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    """Each test begins without the changes; afterwards they are as `nerf_seg.config` left them."""
    before = bool(obstacles._undo)
    obstacles.restore()
    yield
    obstacles.restore()
    if before:
        obstacles.clear()


class Harmful:
    def __reduce__(self) -> tuple:
        return os.getcwd, ()


def test_checkpoints_with_numpy_scalars_load_and_other_code_does_not(tmp_path: Path) -> None:
    torch.save({"lr": np.float64(0.5), "step": np.int64(3)}, tmp_path / "step.ckpt")
    torch.save({"pipeline": Harmful()}, tmp_path / "harmful.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "step.ckpt")
    with obstacles.cleared():
        assert torch.load(tmp_path / "step.ckpt") == {"lr": 0.5, "step": 3}
        with pytest.raises(pickle.UnpicklingError, match="getcwd"):
            torch.load(tmp_path / "harmful.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "step.ckpt")


class WithNetwork(torch.nn.Module):
    def __init__(self, normalize: bool) -> None:
        super().__init__()
        self.net = torch.nn.Linear(2, 1)


class WithoutNetwork(torch.nn.Module):
    def __init__(self, normalize: bool) -> None:
        raise OSError("<urlopen error>")


class Model(torch.nn.Module):
    """Builds LPIPS as nerfstudio's models do."""

    def __init__(self) -> None:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        super().__init__()
        self.field = torch.nn.Linear(1, 1)
        self.lpips = LearnedPerceptualImagePatchSimilarity(normalize=True)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """One built where AlexNet can be had, one where it cannot."""
    from torchmetrics.image import lpip

    built = {}
    for where, network in (("online", WithNetwork), ("offline", WithoutNetwork)):
        monkeypatch.setattr(lpip, "LearnedPerceptualImagePatchSimilarity", network)
        with obstacles.cleared():
            built[where] = Model()
        assert lpip.LearnedPerceptualImagePatchSimilarity is network
    return built


def test_lpips_without_its_network_is_nan(models: dict[str, Model]) -> None:
    assert math.isnan(models["offline"].lpips(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)))
    assert isinstance(models["online"].lpips, WithNetwork)


@pytest.mark.parametrize(("source", "target"), [("online", "offline"), ("offline", "online")])
def test_checkpoints_pass_between_machines_with_and_without_it(
    models: dict[str, Model], source: str, target: str
) -> None:
    models[target].load_state_dict(models[source].state_dict(), strict=True)
    assert torch.equal(models[target].field.weight, models[source].field.weight)
    with pytest.raises(RuntimeError, match="field"):
        models[target].load_state_dict({}, strict=True)


def test_a_block_within_changes_leaves_them(tmp_path: Path) -> None:
    torch.save({"lr": np.float64(0.5)}, tmp_path / "step.ckpt")
    with obstacles.cleared():
        with obstacles.cleared():
            pass
        assert torch.load(tmp_path / "step.ckpt") == {"lr": 0.5}
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "step.ckpt")
