"""The simulated user: where it clicks, when it stops, and how its clicks are counted."""

import numpy as np
import pytest

from zim_plugins.core.prediction import Prediction
from zim_plugins.core.prompt import Prompt
from zim_plugins.evaluation.metrics import iou
from zim_plugins.evaluation.simulated_user import Clicker, click_ious, number_of_clicks, split_click_mask
from zim_plugins.training.samples.prompts import deepest_point


class Brush:
    """Paints a disk at each foreground click and wipes one at each background click; each smaller than the last."""

    def __init__(self, radius_px: float) -> None:
        self.radius_px = radius_px
        self.prompts: list[Prompt] = []

    def set_image(self, image: np.ndarray) -> None:
        self.size = image.shape[:2]

    def predict(self, prompt: Prompt) -> Prediction:
        self.prompts.append(prompt)
        ys, xs = np.mgrid[: self.size[0], : self.size[1]] + 0.5
        alpha = np.zeros(self.size, dtype=np.float32)
        assert prompt.points is not None and prompt.labels is not None
        for k, ((x, y), label) in enumerate(zip(prompt.points, prompt.labels, strict=True)):
            alpha[np.hypot(xs - x, ys - y) < self.radius_px * 0.85**k] = label
        return Prediction(alphas=alpha[None], scores=np.ones(1, dtype=np.float32))

    def predict_many(self, prompts):
        return [self.predict(p) for p in prompts]


def brush(size: tuple[int, int], radius_px: float = 15.0) -> Brush:
    painter = Brush(radius_px)
    painter.set_image(np.zeros((*size, 3), dtype=np.uint8))
    return painter


def depth_twin(wrong: np.ndarray) -> np.ndarray:
    """Distance to the nearest pixel that is not wrong, or lies outside the image."""
    padded = np.pad(wrong, 1)
    right = np.argwhere(~padded)
    depth = np.zeros(padded.shape)
    for y, x in np.argwhere(padded):
        depth[y, x] = np.sqrt(((right - (y, x)) ** 2).sum(1).min())
    return depth[1:-1, 1:-1]


def test_the_first_click_is_the_deepest_point() -> None:
    target = np.zeros((40, 60), dtype=bool)
    target[8:30, 5:50] = True
    clicker = Clicker(target)
    assert clicker.next_click(np.zeros_like(target))
    assert clicker.clicks == [(*deepest_point(target), 1)]


@pytest.mark.parametrize("seed", range(4))
def test_each_click_is_at_the_deepest_error_of_either_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, mask = (np.kron(rng.random((5, 6)) < 0.5, np.ones((3, 3))) > 0 for _ in range(2))
    clicker = Clicker(target)
    while len(clicker.clicks) < 5 and clicker.next_click(mask):
        missed, excess = depth_twin(target & ~mask), depth_twin(mask & ~target)
        for x, y, _ in clicker.clicks[:-1]:
            missed[int(y), int(x)] = excess[int(y), int(x)] = 0
        x, y, label = clicker.clicks[-1]
        assert label == int(missed.max() > excess.max())
        assert (missed if label else excess)[int(y), int(x)] == pytest.approx(max(missed.max(), excess.max()))
    assert len({c[:2] for c in clicker.clicks}) == len(clicker.clicks)


def test_ignored_pixels_are_neither_clicked_nor_scored() -> None:
    target, valid = np.zeros((40, 40), dtype=bool), np.ones((40, 40), dtype=bool)
    target[10:30, 10:30] = True
    valid[:, 20:] = False
    clicker = Clicker(target, valid)
    mask = target.copy()
    mask[:, 22:] ^= True  # wrong where nobody looks
    assert not clicker.next_click(mask)
    assert iou(mask, target, valid) == 1
    mask[12:14, 12:14] = False
    assert clicker.next_click(mask)
    x, y, label = clicker.clicks[0]
    assert (12 <= x <= 14, 12 <= y <= 14, label) == (True, True, 1)


def test_a_user_with_a_brush_gets_there() -> None:
    ys, xs = np.mgrid[:60, :90]
    target = ((xs - 40) / 30) ** 2 + ((ys - 30) / 14) ** 2 < 1
    painter = brush(target.shape)
    ious = click_ious(painter, target)
    assert ious[0] < 0.6
    assert max(ious) > 0.85
    assert len(ious) <= 20
    assert {0, 1} == set(np.concatenate([p.labels for p in painter.prompts if p.labels is not None]).tolist())
    clicks = number_of_clicks(ious, 0.85)
    assert ious[clicks - 1] >= 0.85
    assert all(value < 0.85 for value in ious[: clicks - 1])
    assert click_ious(brush(target.shape), target, enough=0.85) == ious[:clicks]


def test_a_perfect_answer_ends_the_clicking() -> None:
    target = np.zeros((30, 30), dtype=bool)
    ys, xs = np.mgrid[:30, :30] + 0.5
    target[np.hypot(xs - 15.5, ys - 15.5) < 9] = True
    assert click_ious(brush(target.shape, 9.0), target) == [1.0]


def test_a_deaf_model_costs_all_clicks_on_new_places() -> None:
    class Deaf(Brush):
        def predict(self, prompt: Prompt) -> Prediction:
            self.prompts.append(prompt)
            return Prediction(np.zeros((1, *self.size), dtype=np.float32), np.ones(1, dtype=np.float32))

    deaf = Deaf(1.0)
    deaf.set_image(np.zeros((30, 40, 3), dtype=np.uint8))
    target = np.zeros((30, 40), dtype=bool)
    target[5:20, 5:30] = True
    ious = click_ious(deaf, target)
    assert ious == [0.0] * 20
    assert number_of_clicks(ious, 0.85) == 20
    points = deaf.prompts[-1].points
    assert points is not None and len(np.unique(points, axis=0)) == 20


def test_the_earlier_answer_is_fed_back_on_demand() -> None:
    target = np.zeros((60, 90), dtype=bool)
    target[10:40, 10:70] = True
    painter = brush(target.shape)
    click_ious(painter, target, max_clicks=3, feed_back=True)
    assert [p.alpha is not None for p in painter.prompts] == [False, True, True]


def test_number_of_clicks() -> None:
    assert number_of_clicks([0.5, 0.86, 0.8, 0.95], 0.85) == 2
    assert number_of_clicks([0.5, 0.86, 0.8, 0.95], 0.9) == 4
    assert number_of_clicks([0.5], 0.9) == 20
    assert number_of_clicks([0.9], 0.9) == 1


def test_grabcut_masks_carry_128_for_what_is_not_scored() -> None:
    grey = np.array([[0, 128, 255]], dtype=np.uint8)
    target, valid = split_click_mask(grey, ignored=128)
    assert target.tolist() == [[False, False, True]]
    assert valid is not None and valid.tolist() == [[True, False, True]]
    assert split_click_mask(grey)[1] is None


def test_nothing_to_click_on() -> None:
    with pytest.raises(ValueError, match="empty object"):
        Clicker(np.zeros((4, 4), dtype=bool))
