"""Images of progress, and TensorBoard."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from zim_plugins.core.prompt import Prompt
from zim_plugins.core.tokens import prompt_tokens
from zim_plugins.errors import MissingExtra
from zim_plugins.label_converter.network import standardised
from zim_plugins.training.progress_images import from_standardised, prompt_of_tokens, strip
from zim_plugins.training.tensorboard import TensorBoard


def test_a_standardised_image_comes_back(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(from_standardised(torch.from_numpy(standardised(rgb))), rgb)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt.from_box(1, 2, 9, 8),
        Prompt.from_point(3, 4),
        Prompt(points=np.array([[3.0, 4], [5, 6]]), labels=np.array([1, 0]), box=np.array([1.0, 2, 9, 8])),
    ],
)
def test_tokens_become_the_prompt_they_came_from(prompt: Prompt) -> None:
    coords, labels = prompt_tokens(prompt)
    back = prompt_of_tokens(torch.from_numpy(coords), torch.from_numpy(labels))
    for field in ("points", "labels", "box"):
        before, after = getattr(prompt, field), getattr(back, field)
        assert (before is None and after is None) or np.array_equal(before, after)


def test_a_strip_holds_prompt_matte_and_target() -> None:
    alpha = np.zeros((20, 30), np.float32)
    alpha[5:15, 5:15] = 0.5
    shown = strip(np.full((20, 30, 3), 200, np.uint8), (alpha, 1 - alpha), Prompt.from_box(5, 5, 15, 15))
    assert shown.shape == (20, 90, 3)
    assert (shown[5, 8] == (255, 210, 0)).all()  # the box
    assert (shown[10, 40], shown[10, 70], shown[0, 70]) == (pytest.approx(128), pytest.approx(128), pytest.approx(255))


def test_curves_and_images_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path)
    for step in (1, 2):
        board.scalars(step, {"loss": 1 / step}, "train")
    board.images(2, [np.full((8, 24, 3), 7, np.uint8)])
    board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]
    (shown,) = events.Images("held_out/0")
    assert (shown.width, shown.height) == (24, 8)


def test_without_tensorboard_the_remedy_is_told(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zim-plugins\[train\]'"):
        TensorBoard(tmp_path)
