"""Fréchet distance against torchmetrics and known answers, and features from a TorchScript file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inpaint.evaluation.fid import Inception, frechet_distance
from zim_plugins.core import CheckpointError


def test_distance_is_torchmetrics(rng: np.random.Generator) -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    first = rng.normal(size=(60, 5)).astype(np.float32)
    second = (rng.normal(size=(50, 5)) @ rng.normal(size=(5, 5)) + 0.5).astype(np.float32)
    moments = [
        torch.from_numpy(m)
        for rows in (first, second)
        for m in (rows.astype(float).mean(0), np.cov(rows.astype(float), rowvar=False))
    ]
    assert frechet_distance(first, second) == pytest.approx(float(fid._compute_fid(*moments)), rel=1e-6)


def test_known_answers(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(40, 4)).astype(np.float32)
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(rows, rows + np.float32(2)) == pytest.approx(16, rel=1e-5)
    # One dimension: (mu1 - mu2)^2 + (sigma1 - sigma2)^2.
    assert frechet_distance(3 * rows[:, :1], rows[:, :1]) == pytest.approx(
        4 * rows[:, 0].mean() ** 2 + 4 * rows[:, 0].var(ddof=1), rel=1e-4
    )
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(rows[:1], rows)


def test_features_come_from_the_file(tiny_network: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    features = Inception(tiny_network)(image)
    assert features[:3] == pytest.approx(image.mean((0, 1)) / 255, rel=1e-5)


def test_a_file_that_is_missing_or_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"inception-2015-12-05\.pt"):
        Inception(tmp_path / "nothing.pt")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(CheckpointError, match="no TorchScript"):
        Inception(tmp_path / "text.pt")
