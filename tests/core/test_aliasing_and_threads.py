"""Arrays given stay the caller's, arrays handed out are the caller's; one image a thread, or none remembered."""

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.conftest import soft_disk
from tests.core.test_predictor import BrightnessBackend, disk_photo
from zim_plugins.core import ImagePredictor, Prediction, Prompt, SharedAcrossThreads, Zoom, load_predictor
from zim_plugins.core.refinement.colour import ColourRefinement

SIZE = (96, 128)


class Buffered(BrightnessBackend):
    """A backend that keeps what it answers with, as one that reuses its buffers does."""

    def decode(self, embedding, prompts, *, multimask):
        logits, scores = super().decode(embedding, prompts, multimask=multimask)
        self.logits, self.scores = logits, scores
        return logits, scores


def predictors() -> dict[str, Callable[[], ImagePredictor]]:
    return {
        "plain": lambda: ImagePredictor(Buffered(64)),
        "frame of the image's size": lambda: ImagePredictor(Buffered(128)),
        "zoomed and refined": lambda: ImagePredictor(Buffered(64), zoom=Zoom(), refinement=ColourRefinement()),
        "zim_tiny": lambda: load_predictor("zim_tiny", device="cpu"),
    }


@pytest.fixture(params=predictors())
def predictor(request) -> ImagePredictor:
    return predictors()[request.param]()


PROMPT = Prompt.from_box(40, 20, 80, 60)


def test_the_image_may_be_changed_after_it_was_set(predictor):
    image = disk_photo(SIZE, (40, 20, 80, 60))
    predictor.set_image(image)
    expected = predictor.predict(PROMPT).alpha.copy()
    image[:] = 127
    np.testing.assert_array_equal(predictor.predict(PROMPT).alpha, expected)
    encoded = predictor.encode(image := disk_photo(SIZE, (40, 20, 80, 60)))
    image[:] = 127
    np.testing.assert_array_equal(predictor.predict(PROMPT, encoded=encoded).alpha, expected)
    with pytest.raises(ValueError, match="read-only"):
        encoded.rgb[:] = 0


def test_answers_may_be_changed(predictor):
    predictor.set_image(disk_photo(SIZE, (40, 20, 80, 60)))
    for multimask in (False, True):
        expected = copy.deepcopy(predictor.predict(PROMPT, multimask=multimask))
        first = predictor.predict(PROMPT, multimask=multimask)
        first.alphas[:], first.scores[:] = 0.5, -1
        logits, scores = predictor.predict_logits([PROMPT], multimask=multimask)
        logits[:], scores[:] = 0, -1
        again = predictor.predict(PROMPT, multimask=multimask)
        np.testing.assert_array_equal(again.alphas, expected.alphas)
        np.testing.assert_array_equal(again.scores, expected.scores)


def test_prompts_and_predictions_are_copies():
    points, labels, box = np.array([[5.0, 6.0]]), np.array([1]), np.array([1.0, 2, 30, 40])
    alpha = soft_disk((50, 60), (20, 20), 9)
    prompt = Prompt(points=points, labels=labels, box=box, alpha=alpha)
    kept = copy.deepcopy(prompt)
    for array in (points, labels, box, alpha):
        array[:] = 0
    for name in ("points", "labels", "box", "alpha"):
        np.testing.assert_array_equal(getattr(prompt, name), getattr(kept, name))
    merged = prompt.merged(Prompt.from_point(9, 9))
    merged.points[:], merged.box[:], merged.alpha[:] = 0, 1, 0
    for name in ("points", "labels", "box", "alpha"):
        np.testing.assert_array_equal(getattr(prompt, name), getattr(kept, name))
    alphas, scores = np.full((1, 4, 5), 0.25, np.float32), np.array([0.5], np.float32)
    prediction = Prediction(alphas, scores)
    alphas[:], scores[:] = 1, 1
    assert prediction.alpha.max() == 0.25 and prediction.score == 0.5


def test_a_prediction_is_made_of_opacities():
    with pytest.raises(ValueError, match="sigmoid"):
        Prediction(np.full((1, 4, 5), 3, np.float32), np.ones(1, np.float32))
    with pytest.raises(ValueError, match="opacities"):
        Prediction(np.full((1, 4, 5), np.nan, np.float32), np.ones(1, np.float32))


def test_an_image_that_cannot_be_set_leaves_none():
    predictor = ImagePredictor(BrightnessBackend())
    predictor.set_image(disk_photo(SIZE, (40, 20, 80, 60)))
    with pytest.raises(ValueError, match="divide by 255"):
        predictor.set_image(np.full((*SIZE, 3), 200.0))
    with pytest.raises(ValueError, match="set_image"):
        predictor.predict(PROMPT)


def test_an_encoding_belongs_to_its_model():
    one, other = ImagePredictor(BrightnessBackend()), ImagePredictor(BrightnessBackend())
    encoded = one.encode(disk_photo(SIZE, (40, 20, 80, 60)))
    with pytest.raises(ValueError, match="another model"):
        other.predict(PROMPT, encoded=encoded)
    assert ImagePredictor(one.backend, zoom=Zoom()).predict(PROMPT, encoded=encoded).alpha.shape == SIZE


@pytest.mark.parametrize("name", ["zoomed and refined", "zim_tiny"])
def test_encodings_are_safe_in_threads(name):
    predictor = predictors()[name]()
    images = [disk_photo(SIZE, (x, 20, x + 40, 60)) for x in range(0, 80, 10)]
    prompts = [Prompt.from_box(x, 20, x + 40, 60) for x in range(0, 80, 10)]

    def matte(i: int) -> np.ndarray:
        return predictor.predict(prompts[i], encoded=predictor.encode(images[i])).alpha

    expected = [matte(i) for i in range(len(images))]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(matte, range(len(images))), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


def in_thread(call: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


class Slow(BrightnessBackend):
    """Stands still within encode until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def encode(self, image):
        self.entered.set()
        assert self.go_on.wait(10)
        return super().encode(image)


def test_two_threads_at_once_are_refused():
    backend = Slow()
    predictor = ImagePredictor(backend)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(predictor.set_image, disk_photo(SIZE, (40, 20, 80, 60)))
        assert backend.entered.wait(10)
        for call in (
            lambda: predictor.predict(PROMPT),
            lambda: predictor.set_image(disk_photo(SIZE, (0, 0, 9, 9))),
            lambda: predictor.predict_logits([PROMPT]),
            predictor.reset_image,
        ):
            with pytest.raises(SharedAcrossThreads, match="encode"):
                call()
        backend.go_on.set()
        first.result()
    assert predictor.predict(PROMPT).alpha.shape == SIZE  # handed over


def test_nobody_gets_the_image_of_another_thread():
    predictor = ImagePredictor(BrightnessBackend())
    predictor.set_image(disk_photo(SIZE, (40, 20, 80, 60)))
    assert in_thread(lambda: predictor.predict(PROMPT)).alpha.shape == SIZE  # handed over
    in_thread(lambda: predictor.set_image(disk_photo(SIZE, (0, 0, 9, 9))))
    with pytest.raises(SharedAcrossThreads, match="has set its own image"):
        predictor.predict(PROMPT)
    predictor.set_image(disk_photo(SIZE, (40, 20, 80, 60)))
    assert predictor.predict(PROMPT).alpha.shape == SIZE


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_have_a_thread_of_their_own(copied):
    predictor = ImagePredictor(BrightnessBackend())
    predictor.set_image(disk_photo(SIZE, (40, 20, 80, 60)))
    expected = predictor.predict(PROMPT).alpha
    other = copied(predictor)
    in_thread(lambda: other.set_image(disk_photo(SIZE, (0, 0, 9, 9))))
    np.testing.assert_array_equal(predictor.predict(PROMPT).alpha, expected)
