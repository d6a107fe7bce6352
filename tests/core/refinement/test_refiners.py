"""Refiners by name, and what predictors hand them."""

from typing import Any

import numpy as np
import pytest

from zim_plugins.core import CheckpointError, Prompt, load_predictor
from zim_plugins.core.refinement.base import Refiner, check_refinement, load_refiner


@pytest.mark.parametrize("words", ["", "colours", "colour:x", "none:1", "vitmatte:", "auto:x"])
def test_words_that_name_nothing(words):
    with pytest.raises(ValueError, match="refine is auto, colour, none"):
        check_refinement(words)
    with pytest.raises(ValueError, match="refine is"):
        load_predictor("zim_tiny", refine=words)


def test_every_refiner_is_one():
    pytest.importorskip("transformers", reason="the extra `models`")
    assert load_refiner("none") is None
    for words in ("colour", "converter"):
        assert isinstance(load_refiner(words), Refiner)
    with pytest.raises(CheckpointError):
        load_refiner("converter:/no/such.safetensors")
    with pytest.raises(CheckpointError, match="no folder"):
        load_refiner("vitmatte:./nowhere")


def test_another_model_is_no_vitmatte(tmp_path):
    pytest.importorskip("transformers", reason="the extra `models`", minversion="5.0")
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="holds a sam2, no vitmatte"):
        load_refiner(f"vitmatte:{tmp_path}")


def test_the_converter_refines_anybodys_mask(scene):
    from zim_plugins.label_converter.checkpoint import CONVERTER_TINY
    from zim_plugins.label_converter.converter import MatteConverter

    image, alpha = scene
    found = load_refiner("converter").refine(image, alpha)  # type: ignore[union-attr]
    expected = MatteConverter.load(CONVERTER_TINY).convert(image, [alpha > 0.5])[0].full(*alpha.shape)
    np.testing.assert_array_equal(found, expected)
    empty = np.zeros_like(alpha)
    assert load_refiner("converter").refine(image, empty) is empty  # type: ignore[union-attr]


def test_a_predictor_hands_over_probabilities_only_where_they_are_asked_for(scene):
    class Recorder:
        def __init__(self, wants: bool) -> None:
            self.wants_uncertainty = wants
            self.seen: Any = None

        def refine(self, image, alpha, prompt=None):
            self.seen = alpha
            return alpha

    class Hard:
        name, frame_px, activation = "hard", 64, "step"
        supports_clicks_and_box = supports_alpha = True

        def encode(self, image):
            return image

        def decode(self, embedding, prompts, *, multimask):
            logits = np.linspace(-3, 3, 32, dtype=np.float32) * np.ones((len(prompts), 1, 32, 1), np.float32)
            return logits, np.ones((len(prompts), 1), np.float32)

    from zim_plugins.core import ImagePredictor

    image, _ = scene
    for wants in (False, True):
        recorder = Recorder(wants)
        predictor = ImagePredictor(Hard(), refinement=recorder)  # type: ignore[arg-type]
        predictor.set_image(image)
        predictor.predict(Prompt.from_point(60, 60))
        assert set(np.unique(recorder.seen)) <= {0.0, 1.0} if not wants else len(np.unique(recorder.seen)) > 10
