"""One click on a scan: the smallest crop is answered that the model believes."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from medical.protocol.click_scales import ClickScaledPredictor, ClickScales, crop_round
from medical.protocol.for_scans import ForScans
from zim_plugins.core import EncodedImage, Prediction, Predictor, Prompt, encoding_predictor

SIZE = (200, 400)
CLICK = Prompt.from_point(120.5, 90.5)


class Seen:
    """Answers with what is white, and with a score that depends on the image's size."""

    name, frame_px = "seen", 384

    def __init__(self, score: Callable[[tuple[int, ...]], float] = lambda size: 0.9) -> None:
        self.score, self.shown = score, list[tuple[int, ...]]()

    def set_image(self, image: np.ndarray) -> None:
        self.shown.append(image.shape[:2])
        self.image = image

    def predict(self, prompt: Prompt) -> Prediction:
        alpha = (self.image[..., 0] > 127).astype(np.float32)
        return Prediction(alpha[None], np.array([self.score(alpha.shape)], np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        return [self.predict(prompt) for prompt in prompts]


def scan(half: int, far: bool = True) -> np.ndarray:
    """A white square of 2 `half` + 1 px round the click, and another far from it."""
    rgb = np.zeros((*SIZE, 3), np.uint8)
    rgb[90 - half : 91 + half, 120 - half : 121 + half] = 255
    if far:
        rgb[150:190, 300:390] = 255
    return rgb


@pytest.mark.parametrize(
    ("half", "crops"),
    [
        (10, [50]),  # a crop of 50 px holds it
        (23, [50]),  # up to one pixel within its rim
        (24, [50, 100]),  # on its rim
        (30, [50, 100]),  # reaches that crop's rim, not the next one's
        (60, [50, 100, 200]),
        (85, [50, 100, 200]),
    ],
)
def test_the_smallest_crop_that_holds_the_object_answers(half: int, crops: list[int]) -> None:
    seen = Seen()
    scaled = ClickScaledPredictor(seen)
    scaled.set_image(scan(half))
    found = scaled.predict(CLICK)
    assert [max(size) for size in seen.shown] == [400, *crops]
    assert found.alpha.shape == SIZE
    np.testing.assert_array_equal(found.mask(), scan(half, far=False)[..., 0] > 127)


def test_an_object_that_no_crop_holds_is_answered_from_the_whole_image() -> None:
    rgb = np.full((*SIZE, 3), 255, np.uint8)
    rgb[:, :2] = 0
    scaled = ClickScaledPredictor(Seen())
    scaled.set_image(rgb)
    np.testing.assert_array_equal(scaled.predict(CLICK).mask(), rgb[..., 0] > 127)


@pytest.mark.parametrize(("score", "crop"), [(0.66, 50), (0.64, 400)])
def test_a_crop_is_believed_from_its_score_on(score: float, crop: int) -> None:
    scaled = ClickScaledPredictor(Seen(lambda size: score))
    scaled.set_image(scan(10))
    assert scaled.predict(CLICK).mask().sum() == (21**2 if crop == 50 else 21**2 + 40 * 90)


def test_an_answer_beside_the_click_is_not_believed() -> None:
    scaled = ClickScaledPredictor(Seen())
    scaled.set_image(scan(10))
    beside = scaled.predict(Prompt.from_point(140, 90))
    assert beside.mask().sum() == 21**2 + 40 * 90


def test_the_image_s_own_edge_is_no_rim() -> None:
    rgb = np.zeros((*SIZE, 3), np.uint8)
    rgb[:20, :30] = 255
    rgb[150:190, 300:390] = 255
    scaled = ClickScaledPredictor(Seen())
    scaled.set_image(rgb)
    for x, y in ((5.0, 5.0), (0.0, 0.0)):
        assert scaled.predict(Prompt.from_point(x, y)).mask().sum() == 20 * 30
    rgb = rgb[::-1, ::-1].copy()
    scaled.set_image(rgb)
    for x, y in ((395.0, 195.0), (400.0, 200.0)):  # the outermost corner counts as inside
        assert scaled.predict(Prompt.from_point(x, y)).mask().sum() == 20 * 30


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt.from_box(100, 70, 140, 110),
        Prompt.from_points([(120, 90, 0)]),
        Prompt(points=np.array([[120.0, 90]]), labels=np.array([1]), box=np.array([100.0, 70, 140, 110])),
        Prompt(points=np.array([[120.0, 90]]), labels=np.array([1]), alpha=np.ones(SIZE, np.float32)),
    ],
)
def test_all_other_prompts_are_answered_as_ever(prompt: Prompt) -> None:
    seen = Seen()
    scaled = ClickScaledPredictor(seen)
    scaled.set_image(scan(10))
    assert scaled.predict(prompt).mask().sum() == 21**2 + 40 * 90
    assert seen.shown == [SIZE]


@pytest.mark.parametrize(
    ("clicks", "crop"),
    [
        ([(120, 90), (121, 91)], 50),
        ([(120, 90), (140, 90, 0)], 50),
        ([(120, 90), (150, 90, 0)], 100),  # the smallest crop does not hold the second
        ([(120, 90), (165, 90, 0)], 100),
        ([(200, 20, 0), (120, 90)], 200),  # crops lie round the first click on the object
        ([(120, 90), (399, 90, 0)], 400),
        ([(120, 90), (125, 90, 0)], 400),  # no crop's answer agrees
        ([(120, 90), (140, 90)], 400),
    ],
)
def test_several_clicks_are_answered_in_the_crop_that_holds_and_agrees_with_them(
    clicks: list[tuple[float, ...]], crop: int
) -> None:
    scaled = ClickScaledPredictor(Seen(lambda size: max(size) / 1000 + 0.6 if max(size) > 50 else 0.9))
    scaled.set_image(scan(10))
    found = scaled.predict(Prompt.from_points(clicks))
    assert found.score == pytest.approx(0.9 if crop == 50 else crop / 1000 + 0.6)
    assert found.mask().sum() == 21**2 + (40 * 90 if crop == 400 else 0)


def test_images_are_told_apart_and_answers_keep_the_order_of_prompts() -> None:
    scaled = ClickScaledPredictor(Seen())
    small, large = scaled.encode(scan(10)), scaled.encode(scan(30))
    assert isinstance(small, EncodedImage)
    box = Prompt.from_box(0, 0, 400, 200)
    areas = [one.mask().sum() for one in scaled.predict_many([box, CLICK, box], encoded=small)]
    assert areas == [21**2 + 3600, 21**2, 21**2 + 3600]
    assert scaled.predict(CLICK, encoded=large).mask().sum() == 61**2
    with pytest.raises(ValueError, match="set_image"):
        scaled.predict(CLICK)
    assert isinstance(scaled, Predictor) and encoding_predictor(scaled) is scaled


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (400.0, 200.0), (200.0, 100.0), (3.0, 199.0)])
@pytest.mark.parametrize("share", [0.01, 0.125, 0.5, 1.0])
def test_crops_lie_in_the_image_and_hold_the_click(x: float, y: float, share: float) -> None:
    x1, y1, x2, y2 = crop_round(x, y, SIZE, share, 24)
    assert 0 <= x1 <= x <= x2 <= 400 and 0 <= y1 <= y <= y2 <= 200
    assert x2 - x1 == min(400, max(24, round(400 * share))) and y2 - y1 == min(200, max(24, round(400 * share)))


def test_images_smaller_than_the_smallest_crop_are_looked_at_once() -> None:
    seen = Seen()
    scaled = ClickScaledPredictor(seen)
    scaled.set_image(np.zeros((20, 24, 3), np.uint8))
    scaled.predict(Prompt.from_point(3, 3))
    assert seen.shown == [(20, 24)]


def test_auto_is_for_small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(frame_px: int | None) -> Predictor:
        model = encoding_predictor(Seen())
        monkeypatch.setattr(model, "frame_px", frame_px)
        return model

    cases = [(384, "auto", True), (1024, "auto", False), (None, "auto", False), (1024, "yes", True), (384, "no", False)]
    for frame_px, words, scaled in cases:
        model = loaded(frame_px)
        found, record = ForScans(click_scales=words).adapted(model)
        assert (found is not model) == scaled == (record["click_scales"] is not None)
    assert ForScans(click_scales="yes").adapted(loaded(384))[1]["click_scales"] == {
        "shares": ClickScales().shares, "min_score": 0.65, "max_rim": 0.05, "least_px": 24
    }  # fmt: skip
