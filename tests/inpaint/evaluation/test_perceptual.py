"""LPIPS: reported missing without weights, torchmetrics' value with them (random ones here), nothing fetched."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inpaint.evaluation.perceptual import BACKBONES, Lpips, _crop


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="LPIPS needs"):
        Lpips()


def test_with_weights_it_is_torchmetrics_lpips_of_the_crop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scene
) -> None:
    functional = pytest.importorskip("torchmetrics.functional.image.lpips")
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), checkpoints / BACKBONES["squeeze"])
    lpips, where = Lpips("squeeze"), scene.alpha > 0
    assert lpips(scene.background, scene.background, where) == 0
    found = lpips(scene.image, scene.background, where)
    ys, xs = _crop(where)
    first, second = (
        torch.from_numpy(p[ys, xs].astype(np.float32) / 255).permute(2, 0, 1)[None]
        for p in (scene.image, scene.background)
    )
    expected = functional.learned_perceptual_image_patch_similarity(first, second, net_type="squeeze", normalize=True)
    assert found == pytest.approx(float(expected), abs=1e-5)
    assert found > 0


def test_the_crop_holds_the_object_with_surroundings_and_is_never_tiny() -> None:
    where = np.zeros((200, 300), bool)
    where[100:104, 150:250] = True
    ys, xs = _crop(where)
    assert (xs.start, xs.stop) == (134, 266)
    assert ys.stop - ys.start == 64 and ys.start <= 84 and ys.stop >= 120
