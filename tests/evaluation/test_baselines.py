"""GrabCut behind the Predictor protocol."""

import numpy as np
import pytest

from zim_plugins.core.predictor import Predictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.evaluation.metrics import iou

pytest.importorskip("cv2")

from zim_plugins.evaluation.baselines import GrabCut


def ball(size: tuple[int, int] = (120, 160)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[: size[0], : size[1]]
    mask = np.hypot(xs - 80, ys - 60) < 30
    rgb = np.where(mask[..., None], (200, 40, 30), (20, 60, 180)) + rng.normal(0, 12, (*size, 3))
    return rgb.clip(0, 255).astype(np.uint8), mask


@pytest.mark.parametrize("prompt", [Prompt.from_box(45, 25, 116, 96), Prompt.from_points([(80, 60), (10, 10, 0)])])
def test_a_ball_is_found_from_a_box_and_from_clicks(prompt: Prompt) -> None:
    rgb, mask = ball()
    model = GrabCut()
    assert isinstance(model, Predictor)
    model.set_image(rgb)
    first, again = model.predict_many([prompt, prompt])
    assert iou(first.mask(), mask) > 0.97
    assert set(np.unique(first.alpha)) == {0, 1}
    np.testing.assert_array_equal(first.alpha, again.alpha)


def test_a_box_of_the_whole_image_and_one_of_a_pixel() -> None:
    rgb, _ = ball()
    model = GrabCut()
    model.set_image(rgb)
    assert model.predict(Prompt.from_box(0, 0, 160, 120)).alpha.shape == (120, 160)
    assert model.predict(Prompt.from_box(40.1, 40.1, 40.4, 40.4)).alpha.shape == (120, 160)


def test_the_answer_has_the_size_of_a_large_image() -> None:
    rgb, mask = ball()
    model = GrabCut()
    model.set_image(np.kron(rgb, np.ones((6, 6, 1), dtype=np.uint8)))
    large = model.predict(Prompt.from_box(270, 150, 696, 576)).mask()
    assert iou(large, np.kron(mask, np.ones((6, 6))) > 0) > 0.97


def test_a_prompt_outside_is_refused() -> None:
    model = GrabCut()
    with pytest.raises(ValueError, match="set_image"):
        model.predict(Prompt.from_point(1, 1))
    model.set_image(ball()[0])
    with pytest.raises(ValueError, match="outside"):
        model.predict(Prompt.from_box(500, 500, 600, 600))
