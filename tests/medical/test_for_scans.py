"""Adaptations of a model of photographs: both polarities, tight boxes, and what the command line makes of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from medical.cli import Args, tight_boxes
from medical.protocol.for_scans import ForScans
from medical.protocol.polarities import BothPolarities
from medical.protocol.tight_boxes import TightBoxes
from zim_plugins.core import Prediction, Predictor, Prompt, encoding_predictor

BOX = Prompt.from_box(10, 5, 50, 25)
CLICK = Prompt.from_point(20, 15)
CLICKS = Prompt.from_points([(20, 15), (2, 2, 0)])


class Brightness:
    """Answers with the image's brightness, and keeps what it was shown."""

    name, frame_px = "brightness", 384

    def __init__(self) -> None:
        self.shown: list[int] = []

    def set_image(self, image: np.ndarray) -> None:
        self.shown.append(int(image[0, 0, 0]))
        self.image = image

    def predict(self, prompt: Prompt) -> Prediction:
        alpha = self.image[..., 0].astype(np.float32) / 255
        return Prediction(alpha[None], np.array([alpha[0, 0]], np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        return [self.predict(prompt) for prompt in prompts]


def grey(value: int) -> np.ndarray:
    return np.full((30, 60, 3), value, np.uint8)


def test_the_answer_is_the_mean_in_log_odds_of_image_and_negative() -> None:
    model = Brightness()
    both = BothPolarities(model)
    both.set_image(grey(51))
    found = both.predict(BOX)
    assert model.shown == [51, 204]
    np.testing.assert_allclose(found.alpha, 0.5, atol=1e-6)  # odds of 1 : 4 and 4 : 1
    assert found.score == pytest.approx(0.5)
    assert found.alpha.dtype == found.scores.dtype == np.float32


def test_the_negative_is_encoded_once_and_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    both = BothPolarities(Brightness())
    encoded, encode = list[int](), both.predictor.encode
    monkeypatch.setattr(both.predictor, "encode", lambda rgb: (encoded.append(int(rgb[0, 0, 0])), encode(rgb))[1])
    image = both.encode(grey(200))
    assert both.predict(CLICK, encoded=image).score == pytest.approx(200 / 255)
    assert encoded == [200]
    for _ in range(2):
        both.predict_many([BOX, CLICKS], encoded=image)
    assert encoded == [200, 55]


def test_answers_keep_the_order_of_prompts_and_single_clicks_their_own() -> None:
    both = BothPolarities(Brightness())
    both.set_image(grey(51))
    scores = [one.score for one in both.predict_many([CLICK, BOX, CLICK, CLICKS])]
    assert scores == pytest.approx([0.2, 0.5, 0.2, 0.5])


def test_first_passes_are_the_model_s_own() -> None:
    both = BothPolarities(Brightness())
    both.set_image(grey(51))
    assert both.predict_many([BOX], finished=False)[0].score == pytest.approx(0.2)


class Half:
    """Finds the left part of a box surely and the rest of the image by `rest`."""

    name, frame_px = "half", 384

    def __init__(self, rest: float) -> None:
        self.rest = rest

    def set_image(self, image: np.ndarray) -> None:
        self.size = image.shape[:2]

    def predict(self, prompt: Prompt) -> Prediction:
        alpha = np.full(self.size, self.rest, np.float32)
        alpha[5:25, 10:30] = 0.95
        return Prediction(alpha[None], np.ones(1, np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        return [self.predict(prompt) for prompt in prompts]


@pytest.mark.parametrize(("rest", "reached"), [(0.3, True), (0.03, True), (0.01, False), (0.0, False)])
def test_a_box_is_reached_where_the_model_is_not_too_sure_and_nothing_lies_outside(rest: float, reached: bool) -> None:
    tight = TightBoxes(Half(rest))
    tight.set_image(grey(0))
    alpha = tight.predict(BOX).alpha
    assert (alpha[5:25, 10:50].min() >= 0.4999) == reached
    outside = alpha.copy()
    outside[5:25, 10:50] = 0
    assert outside.max() == 0


def test_a_matte_that_reaches_its_box_stays_bit_for_bit() -> None:
    tight = TightBoxes(Half(0.2))
    tight.set_image(grey(0))
    inner = Prompt.from_box(10, 5, 30, 25)
    assert set(np.unique(tight.predict(inner).alpha)) == {np.float32(0), np.float32(0.95)}


@pytest.mark.parametrize("prompt", [CLICK, CLICKS])
def test_clicks_have_no_box_to_reach(prompt: Prompt) -> None:
    tight = TightBoxes(Half(0.2))
    tight.set_image(grey(0))
    assert tight.predict(prompt).alpha[0, 0] == np.float32(0.2)


def test_a_box_beyond_the_image_is_cut_to_it() -> None:
    tight = TightBoxes(Half(0.3))
    tight.set_image(grey(0))
    assert tight.predict(Prompt.from_box(-5, -5, 99, 99)).alpha.min() >= 0.4999


def test_all_three_stack_and_the_record_says_so() -> None:
    adapted, record = ForScans("yes", "yes", "yes").adapted(Brightness())
    assert isinstance(adapted, Predictor) and encoding_predictor(adapted) is adapted
    assert encoding_predictor(adapted).name == "brightness"
    assert record["click_scales"]["min_score"] == 0.65 and record["polarities"] is True and record["tight_boxes"] == 4.0
    adapted.set_image(grey(51))
    assert adapted.predict(BOX).alpha[0, 0] == 0
    nothing = {"click_scales": None, "polarities": False, "tight_boxes": None}
    assert ForScans("auto", "auto", "auto").adapted(Brightness())[1] == nothing  # its frame is not known


def test_without_an_image_the_message_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="set_image"):
        BothPolarities(Brightness()).predict(BOX)


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({}, "auto"),
        ({"box_jitter": 3}, "no"),
        ({"prompts": "modes,text"}, "no"),
        ({"volumes": "propagated"}, "no"),
        ({"volumes": "both"}, "no"),
        ({"tight_boxes": "yes", "box_jitter": 3}, "yes"),
        ({"tight_boxes": "no"}, "no"),
    ],
)
def test_boxes_are_tight_where_they_are_the_reference_s_own(changes: dict[str, object], meant: str) -> None:
    assert tight_boxes(replace(Args(data="D", dataset="folder"), **changes)) == meant  # type: ignore[arg-type]
