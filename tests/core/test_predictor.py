"""Geometry over any backend: frame, coordinates, zoom, refusals."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from zim_plugins.core.load import SMALL_MODEL_ZOOM, load_predictor
from zim_plugins.core.predictor import ImagePredictor, Predictor, Zoom, zoom_crop
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.transforms import (
    frame_size,
    image_to_frame,
    logits_to_alphas,
    points_to_frame,
    prompt_to_frame,
    support_box,
)
from zim_plugins.errors import UnsupportedPrompt


class BrightnessBackend:
    """Answers with the frame's own brightness as the object: what is white in the image is opaque."""

    name = "brightness"
    activation = "sigmoid"

    def __init__(self, frame_px: int = 64, *, clicks_and_box: bool = True, alpha: bool = True) -> None:
        self.frame_px = frame_px
        self.supports_clicks_and_box = clicks_and_box
        self.supports_alpha = alpha
        self.encoded: list[tuple[int, int]] = []
        self.asked: list[Prompt] = []

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.encoded.append(image.shape[:2])
        padded = np.zeros((self.frame_px, self.frame_px), np.float32)
        padded[: image.shape[0], : image.shape[1]] = image.mean(2) / 255
        return padded

    def decode(
        self, embedding: np.ndarray, prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        self.asked += prompts
        candidates = 4 if multimask else 1
        logits = np.repeat((embedding[None] - 0.5) * 40, candidates, 0)[None].repeat(len(prompts), 0)
        return logits.astype(np.float32), np.tile(np.linspace(0.5, 0.9, candidates), (len(prompts), 1)).astype(
            np.float32
        )


def disk_photo(size: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    rgb = np.zeros((*size, 3), np.uint8)
    rgb[box[1] : box[3], box[0] : box[2]] = 255
    return rgb


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (3, 2000), (1, 1), (64, 64)])
def test_points_keep_their_place_in_the_frame(size: tuple[int, int]) -> None:
    points = np.array([[0.0, 0.0], [size[1], size[0]], [size[1] / 3, size[0] / 7]])
    there = points_to_frame(points, size, 256)
    assert there.max() <= 256
    height, width = frame_size(size, 256)
    np.testing.assert_allclose(there / (width, height), points / (size[1], size[0]), atol=1e-9)
    assert min(frame_size(size, 256)) >= 1
    assert max(frame_size(size, 256)) == 256


def test_the_longest_side_fills_the_frame() -> None:
    assert image_to_frame(np.zeros((100, 50, 3), np.uint8), 64).shape == (64, 32, 3)


def test_boxes_are_clipped_and_mattes_padded_in_the_frame() -> None:
    prompt = Prompt(box=np.array([-10.0, 5, 500, 40]), alpha=np.ones((50, 100), np.float32))
    framed = prompt_to_frame(prompt, (50, 100), 64)
    np.testing.assert_allclose(framed.box, [0, 3.2, 64, 25.6])
    assert framed.alpha is not None
    assert framed.alpha[:32].min() == 1
    assert framed.alpha[32:].max() == 0


def test_alphas_have_the_image_s_size_and_hard_models_answer_zero_or_one() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (2, 16, 16)).astype(np.float32)
    soft = logits_to_alphas(logits, (30, 50), 64)
    hard = logits_to_alphas(logits, (30, 50), 64, "step")
    assert soft.shape == hard.shape == (2, 30, 50)
    assert 0 < soft.min() < soft.max() < 1
    assert set(np.unique(hard)) == {0.0, 1.0}
    np.testing.assert_array_equal(hard, soft > 0.5)


def test_an_image_predictor_is_a_predictor_and_answers_where_the_object_is() -> None:
    predictor = ImagePredictor(BrightnessBackend())
    assert isinstance(predictor, Predictor)
    predictor.set_image(disk_photo((48, 64), (20, 10, 40, 30)))
    prediction = predictor.predict(Prompt.from_point(30, 20))
    assert prediction.alphas.shape == (1, 48, 64)
    np.testing.assert_array_equal(prediction.mask(), disk_photo((48, 64), (20, 10, 40, 30))[..., 0] > 0)


def test_all_candidates_come_back_on_request_and_the_best_is_chosen_by_score() -> None:
    predictor = ImagePredictor(BrightnessBackend())
    predictor.set_image(disk_photo((48, 64), (20, 10, 40, 30)))
    prediction = predictor.predict(Prompt.from_point(30, 20), multimask=True)
    assert len(prediction.alphas) == 4
    assert prediction.best == 3


def test_many_prompts_cost_one_encoding() -> None:
    backend = BrightnessBackend()
    predictor = ImagePredictor(backend)
    predictor.set_image(disk_photo((48, 64), (20, 10, 40, 30)))
    assert len(predictor.predict_many([Prompt.from_point(5, 5), Prompt.from_box(1, 1, 9, 9)])) == 2
    assert backend.encoded == [(48, 64)]


def test_zoom_looks_again_at_the_object_and_sharpens_its_edge() -> None:
    box = (401, 203, 455, 249)
    rgb = disk_photo((600, 800), box)
    truth = rgb[..., 0] / 255
    errors = {}
    for zoom in (None, Zoom()):
        backend = BrightnessBackend(64)
        predictor = ImagePredictor(backend, zoom=zoom)
        predictor.set_image(rgb)
        errors[zoom] = np.abs(predictor.predict(Prompt.from_point(430, 220)).alpha - truth).mean()
        assert len(backend.encoded) == (1 if zoom is None else 2)
    assert errors[Zoom()] < 0.4 * errors[None]


def test_the_second_pass_sees_clicks_in_the_crop_s_own_pixels_and_the_first_matte() -> None:
    backend = BrightnessBackend(64)
    predictor = ImagePredictor(backend, zoom=Zoom(margin=0.0))
    predictor.set_image(disk_photo((640, 640), (320, 160, 480, 320)))
    predictor.predict(Prompt.from_points([(400, 240), (10, 10, 0)]))
    second = backend.asked[1]
    assert second.alpha is not None
    np.testing.assert_allclose(second.points, [[32, 32]], atol=1.0)  # the far background click is left outside
    np.testing.assert_array_equal(second.labels, [1])


def test_a_backend_without_mattes_gets_the_first_pass_s_extent_as_a_box() -> None:
    backend = BrightnessBackend(64, clicks_and_box=False, alpha=False)
    predictor = ImagePredictor(backend, zoom=Zoom())
    predictor.set_image(disk_photo((640, 640), (320, 160, 480, 320)))
    predictor.predict(Prompt.from_point(400, 240))
    assert backend.asked[1].points is None
    assert backend.asked[1].box is not None


def test_no_second_pass_for_small_images_or_large_objects() -> None:
    for size, box in (((48, 64), (5, 5, 15, 15)), ((640, 640), (10, 10, 630, 630))):
        backend = BrightnessBackend(64)
        predictor = ImagePredictor(backend, zoom=Zoom())
        predictor.set_image(disk_photo(size, box))
        predictor.predict(Prompt.from_box(*box))
        assert len(backend.encoded) == 1


class AnyFrame(BrightnessBackend):
    """A backend that runs in other frames, too."""

    def at_frame(self, frame_px: int) -> "AnyFrame":
        other = AnyFrame(frame_px)
        other.encoded, other.asked = self.encoded, self.asked
        return other


@pytest.mark.parametrize(
    ("side", "prompt", "frames"),
    [
        (64, Prompt.from_box(0, 0, 64, 64), [64]),
        (65, Prompt.from_box(0, 0, 65, 65), [64, 96]),
        (65, Prompt.from_point(30, 30), [64]),
    ],
)
def test_boxes_with_more_pixels_than_the_frame_are_looked_at_in_a_larger_one(
    side: int, prompt: Prompt, frames: list[int]
) -> None:
    """What fills the image gains by the larger frame alone; without more pixels than the frame's, by nothing."""
    backend = AnyFrame(64)
    predictor = ImagePredictor(backend, zoom=Zoom(margin=0.0, frame_px=96, frame_margin=0.0))
    predictor.set_image(disk_photo((66, 66), (0, 0, side, side)))
    predictor.predict(prompt)
    assert [max(size) for size in backend.encoded] == frames


def test_the_larger_frame_must_magnify_too() -> None:
    """A frame of 96 px shows a crop of 100 px of 120 at 1.8 times what the first pass had, of 72 px at 1.35 times."""
    for frame_px, passes in ((96, 2), (72, 1)):
        backend = AnyFrame(64)
        zoom = Zoom(margin=0.0, min_gain=1.5, frame_px=frame_px, frame_margin=0.0)
        predictor = ImagePredictor(backend, zoom=zoom)
        predictor.set_image(disk_photo((120, 120), (10, 10, 110, 110)))
        alpha = predictor.predict(Prompt.from_box(10, 10, 110, 110)).alpha
        assert len(backend.encoded) == passes
        assert alpha[60, 60] > 0.99 and alpha[2, 2] < 0.01


SMALL = Zoom(margin=0.3, min_gain=4 / 3, small_px=64)


@pytest.mark.parametrize(
    ("prompt", "crops"),
    [
        (Prompt.from_box(200, 150, 260, 190), [96, 132]),
        (Prompt.from_box(200, 150, 260, 213.9), [104, 141.5]),
        (Prompt.from_box(200, 150, 260, 214), [104]),  # as long as small_px: no longer small
        (Prompt.from_box(200, 150, 264, 160), [104]),
        (Prompt.from_point(230, 170), [96]),
        (Prompt(box=np.array([200.0, 150, 260, 190]), alpha=np.ones((400, 500), np.float32)), [96]),
    ],
)
def test_what_a_small_box_holds_is_looked_at_twice_without_the_first_matte(prompt: Prompt, crops: list[int]) -> None:
    backend = BrightnessBackend(64)
    predictor = ImagePredictor(backend, zoom=SMALL)
    predictor.set_image(disk_photo((400, 500), (200, 150, 260, 190)))
    predictor.predict(prompt)
    assert len(backend.encoded) == 1 + len(crops)
    for look, crop_px in zip(backend.asked[1:], crops, strict=True):
        assert (look.alpha is None) == (len(crops) == 2)
        assert (look.box is None) == (prompt.box is None)
        if look.box is not None and prompt.box is not None:
            larger = (look.box[2:] - look.box[:2]).max() / (prompt.box[2:] - prompt.box[:2]).max()
            assert 64 / larger == pytest.approx(crop_px, abs=1.5)


@pytest.mark.parametrize("box", [(310, 170, 320, 180), (300, 170, 400, 178)])
@pytest.mark.parametrize("frame_px", [None, 96])
def test_a_box_in_which_the_first_pass_finds_nothing_is_looked_into(box: tuple, frame_px: int | None) -> None:
    """What is smaller than a pixel of the frame is missed there, whatever the box's size; a click has no crop then."""
    rgb = disk_photo((1300, 1300), box)
    alphas = []
    for prompt in (Prompt.from_box(*box), Prompt.from_point(box[0] + 5, box[1] + 5)):
        predictor = ImagePredictor(AnyFrame(64), zoom=replace(SMALL, frame_px=frame_px))
        predictor.set_image(rgb)
        alphas.append(predictor.predict(prompt).alpha)
        asked = predictor.backend.asked  # pyright: ignore
        assert all(look.alpha is None for look in asked)
    truth = rgb[..., 0] > 127
    assert ((alphas[0] > 0.5) & truth).sum() / ((alphas[0] > 0.5) | truth).sum() > 0.7
    assert not (alphas[1] > 0.3).any()


def test_the_answer_for_a_small_box_is_the_mean_of_both_looks() -> None:
    box = (200, 150, 260, 190)
    alphas = []
    for zoom in (SMALL, Zoom(margin=0.3), Zoom(margin=0.6)):
        predictor = ImagePredictor(BrightnessBackend(64), zoom=zoom)
        predictor.set_image(disk_photo((400, 500), box))
        alphas.append(predictor.predict(Prompt.from_box(*box)).alpha)
    assert np.abs(alphas[1] - alphas[2]).max() > 0.1
    np.testing.assert_allclose(alphas[0], (alphas[1] + alphas[2]) / 2, atol=1e-6)


@pytest.mark.parametrize(("side", "looks"), [(160, 2), (132, 1), (100, 0)])
def test_a_look_that_magnifies_too_little_is_left_out(side: int, looks: int) -> None:
    """Of a box of 50 px, room of 0.3 shows 80 px at most and room of 0.6 shows 110."""
    box = (25, 35, 75, 55)
    backend = BrightnessBackend(64)
    predictor = ImagePredictor(backend, zoom=SMALL)
    predictor.set_image(disk_photo((side, side), box))
    found = predictor.predict(Prompt.from_box(*box))
    assert len(backend.encoded) == 1 + looks
    assert found.alpha.shape == (side, side) and found.alpha[45, 50] > 0.9


def test_larger_boxes_and_clicks_answer_bit_for_bit_as_without_the_rule_for_small_ones() -> None:
    predictor = load_predictor("zim_tiny", device="cpu")
    assert predictor.zoom is not None and predictor.zoom.small_px == 64
    encoded = predictor.encode(disk_photo((300, 500), (150, 100, 240, 160)))
    prompts = [Prompt.from_box(150, 100, 214, 160), Prompt.from_box(140, 90, 250, 170), Prompt.from_point(190, 130)]
    with_rule = [p.alpha for p in predictor.predict_many(prompts, encoded=encoded)]
    predictor.zoom = replace(predictor.zoom, small_px=None)
    without = [p.alpha for p in predictor.predict_many(prompts, encoded=encoded)]
    for one, other in zip(with_rule, without, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_served_is_refused_with_the_reason() -> None:
    predictor = ImagePredictor(BrightnessBackend(clicks_and_box=False, alpha=False))
    with pytest.raises(ValueError, match="set_image"):
        predictor.predict(Prompt.from_point(1, 1))
    predictor.set_image(disk_photo((48, 64), (20, 10, 40, 30)))
    with pytest.raises(ValueError, match=r"70,5 is outside the image, which is 64x48"):
        predictor.predict(Prompt.from_point(70, 5))
    both = Prompt(points=np.array([[5.0, 5.0]]), labels=np.array([1]), box=np.array([1.0, 1, 9, 9]))
    with pytest.raises(UnsupportedPrompt, match="not both"):
        predictor.predict(both)
    with pytest.raises(UnsupportedPrompt, match="coarse matte"):
        predictor.predict(Prompt(alpha=np.ones((48, 64), np.float32)))
    with pytest.raises(ValueError, match="uint8"):
        predictor.set_image(np.zeros((0, 4, 3), np.uint8))


def test_support_box_is_the_outer_edge() -> None:
    alpha = np.zeros((5, 7), np.float32)
    alpha[2, 3:5] = 0.9
    np.testing.assert_array_equal(support_box(alpha, 0.5), [3, 2, 5, 3])
    assert support_box(alpha, 0.95) is None


@pytest.mark.parametrize(("zoom", "room"), [(Zoom(), 20), (SMALL_MODEL_ZOOM, 30), (Zoom(margin=0.0), 0)])
def test_the_crop_leaves_room_of_a_share_of_the_longer_side(zoom: Zoom, room: int) -> None:
    alpha = np.zeros((400, 500), np.float32)
    alpha[150:200, 200:300] = 1  # 100 px long
    crop = zoom_crop(alpha, Prompt.from_point(250, 175), zoom)
    assert crop == (200 - room, 150 - room, 300 + room, 200 + room)


@pytest.mark.parametrize(("opacity", "extent"), [(0.29, 60), (0.31, 50)])
def test_the_extent_is_what_is_more_opaque_than_three_tenths(opacity: float, extent: int) -> None:
    alpha = np.zeros((200, 200), np.float32)
    alpha[50:100, 60:100] = 1
    alpha[50:100, 50:60] = opacity
    assert zoom_crop(alpha, Prompt.from_point(80, 80), Zoom(margin=0.0))[0] == extent
