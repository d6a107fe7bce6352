"""A predictor of three methods goes everywhere: the stateless face, and each adapter's public function."""

from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from tests.conftest import soft_disk
from zim_plugins.core import (
    EncodingPredictor,
    EverythingConfig,
    ImagePredictor,
    Prediction,
    Predictor,
    Prompt,
    UnsupportedPrompt,
    encoding_predictor,
    load_predictor,
    matte_everything,
)


class Minimal:
    """Nothing but the protocol's three methods: the object is what is redder than green."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def set_image(self, image: np.ndarray) -> None:
        self.shown.append(image.shape[:2])
        self.alpha = (image[..., 0] > image[..., 1] + 40).astype(np.float32)

    def predict(self, prompt: Prompt) -> Prediction:
        prompt.check_inside(self.alpha.shape)
        return Prediction(self.alpha[None], np.full(1, 0.95, np.float32))

    def predict_many(self, prompts: list[Prompt]) -> list[Prediction]:
        return [self.predict(prompt) for prompt in prompts]


def scene(height: int = 60, width: int = 80) -> np.ndarray:
    """A red disk on grey."""
    disk = soft_disk((height, width), (width / 2, height / 2), height / 4, 1e-6)[..., None]
    return (disk * (220, 20, 20) + (1 - disk) * 128).astype(np.uint8)


CLICK = Prompt.from_point(40, 30)


def test_only_three_methods_are_asked_of_a_predictor() -> None:
    own = Minimal()
    assert isinstance(own, Predictor) and not isinstance(own, EncodingPredictor)
    model = encoding_predictor(own)
    assert isinstance(model, EncodingPredictor) and encoding_predictor(model) is model
    assert (model.name, model.frame_px, model.encodings) == ("Minimal", None, 0)
    ours = load_predictor("zim_tiny", device="cpu")
    assert encoding_predictor(ours) is ours and ours.frame_px == ours.backend.frame_px
    with pytest.raises(TypeError, match="which str lacks"):
        getattr(encoding_predictor, "__wrapped__", encoding_predictor)("zim_tiny")  # under the tests' own checks


def test_images_are_kept_apart_and_set_again_only_where_needed() -> None:
    own = Minimal()
    model = encoding_predictor(own)
    red, grey = model.encode(scene()), model.encode(np.full((30, 50, 3), 128, np.uint8))
    with pytest.raises(ValueError, match="no image is set"):
        model.predict(CLICK)
    model.set_image(scene(90, 120))
    inside = Prompt.from_point(20, 10)
    sums = [float(model.predict(inside, encoded=e).alpha.sum()) for e in (red, red, grey, None, red)]
    assert sums[0] == sums[1] == sums[4] > 0 == sums[2] and sums[3] > sums[0]
    assert own.shown == [(60, 80), (30, 50), (90, 120), (60, 80), (30, 50), (90, 120), (60, 80)]
    assert model.encodings == 7
    with pytest.raises(ValueError, match="encoded by another model, Minimal"):
        encoding_predictor(Minimal()).predict(inside, encoded=red)
    with pytest.raises(UnsupportedPrompt, match="one candidate only"):
        model.predict(inside, multimask=True, encoded=red)
    assert model.predict_many([], encoded=red) == []


def test_threads_share_the_face() -> None:
    model = encoding_predictor(Minimal())
    images = [model.encode(scene(40 + 10 * i, 80)) for i in range(4)]
    shapes: dict[int, set[tuple[int, ...]]] = {i: set() for i in range(4)}

    def ask(i: int) -> None:
        for _ in range(20):
            shapes[i].add(model.predict(Prompt.from_point(40, 20), encoded=images[i]).alpha.shape)

    threads = [Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shapes == {i: {(40 + 10 * i, 80)} for i in range(4)}


def test_encodings_are_counted_with_their_crops() -> None:
    ours = load_predictor("zim_tiny", device="cpu")
    image = np.zeros((500, 700, 3), np.uint8)
    image[100:200, 100:200] = 255
    encoded = ours.encode(image)
    assert ours.encodings == 1
    ours.predict(Prompt.from_box(100, 100, 200, 200), encoded=encoded)
    assert ours.encodings == 2  # the object's crop
    ours.predict_many([Prompt.from_box(100, 100, 200, 200)], finished=False, encoded=encoded)
    assert ours.encodings == 2
    ours.predict(Prompt.from_box(100, 100, 160, 160), encoded=encoded)
    assert ours.encodings == 4  # two crops of what a small box holds


def test_coarse_answers_enlarge_to_the_mattes() -> None:
    ours = load_predictor("zim_tiny", device="cpu", zoom=False, refine="none")
    encoded = ours.encode(scene(60, 90))
    answers = ours.predict_coarse([CLICK], encoded=encoded)
    assert answers.are_logits and answers.maps.shape[2] < answers.maps.shape[3]
    np.testing.assert_array_equal(answers.enlarge(0, 0), ours.predict(CLICK, encoded=encoded).alpha)


def test_everything_matte_and_removal_by_three_methods() -> None:
    from inpaint import remove

    (found,) = matte_everything(Minimal(), scene(), EverythingConfig(points_per_side=4))
    assert found.box == (25, 15, 55, 45) and found.score == pytest.approx(0.95)
    reduced = matte_everything(Minimal(), scene(240, 320), EverythingConfig(points_per_side=4, ranking_px=100))
    assert [one.size for one in reduced] == [(240, 320)]
    pytest.importorskip("cv2")
    from inpaint import load_inpainter

    done = remove(scene(), CLICK, predictor=Minimal(), inpainter=load_inpainter("cv2"))
    assert np.abs(done.image.astype(int) - 128).max() < 12


def test_the_command_s_path_by_three_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zim_plugins.cli.commands.matte import MatteArgs, main
    from zim_plugins.core import load, read_alpha, write_image

    write_image(tmp_path / "red.png", scene())
    monkeypatch.setattr(load, "load_predictor", lambda *args, **kwargs: Minimal())
    args = MatteArgs(images=(str(tmp_path / "red.png"),), point=("40,30",), model="own", out=str(tmp_path / "out"))
    assert main(args) == 0
    assert read_alpha(tmp_path / "out" / "red_alpha.png").sum() == pytest.approx(np.pi * 15**2, rel=0.05)


def test_imagepredictor_is_asked_for_nowhere() -> None:
    root = Path(__file__).parents[2]
    for package in ("zim_plugins", "inpaint", "medical", "nerf_seg"):
        for path in (root / package).rglob("*.py"):
            assert f"isinstance(model, {ImagePredictor.__name__}" not in (text := path.read_text()), path
            assert ", ImagePredictor)" not in text, path
