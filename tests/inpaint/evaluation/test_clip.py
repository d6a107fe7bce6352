"""CLIP scores, with a tiny random CLIP that is written to disk (conftest.py) and read back offline."""

from pathlib import Path

import numpy as np
import pytest

from inpaint.evaluation.clip import CLIP_RANKS, Clip, object_crop

transformers = pytest.importorskip("transformers")

CATEGORIES = ["cat", "dog", "boat", "tree", "cup", "car", "bird"]


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> Clip:
    return Clip(tiny_clip, CATEGORIES)


def images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    source = rng.integers(0, 255, (80, 120, 3)).astype(np.uint8)
    result = source.copy()
    result[20:60, 40:80] = rng.integers(0, 255, 3)
    return source, result, np.array([40.0, 20.0, 80.0, 60.0])


def test_scores_are_those_of_transformers_own_forward_pass(
    clip: Clip, tiny_clip: Path, rng: np.random.Generator
) -> None:
    import PIL.Image
    import torch

    source, result, box = images(rng)
    scores = clip.score(source, result, box, "dog")
    assert scores is not None
    model = transformers.CLIPModel.from_pretrained(tiny_clip).eval()
    processor = transformers.CLIPProcessor.from_pretrained(tiny_clip)
    crops = [PIL.Image.fromarray(crop) for p in (source, result) if (crop := object_crop(p, box)) is not None]
    texts = [f"a photo of a {c}" for c in sorted(CATEGORIES)]
    with torch.inference_mode():
        output = model(**processor(text=texts, images=crops, return_tensors="pt", padding=True))
    similarity = (output.image_embeds @ output.text_embeds.T).numpy()
    chosen = int(similarity[0].argmax())
    for k in CLIP_RANKS:
        assert scores.gone[k] == (chosen not in np.argsort(-similarity[1])[:k])
    expected = 1 - float((output.image_embeds[0] * output.image_embeds[1]).sum())
    assert scores.distance == pytest.approx(expected, abs=1e-5)
    dog = sorted(CATEGORIES).index("dog")
    assert scores.text_drop == pytest.approx(similarity[0, dog] - similarity[1, dog], abs=1e-5)


def test_an_untouched_image_is_at_distance_zero_and_still_holds_its_object(
    clip: Clip, rng: np.random.Generator
) -> None:
    source, _, box = images(rng)
    scores = clip.score(source, source, box, "dog")
    assert scores is not None
    assert scores.distance == pytest.approx(0, abs=1e-6)
    assert not any(scores.gone.values())
    assert scores.text_drop == pytest.approx(0, abs=1e-6)


def test_gone_at_more_ranks_is_harder(clip: Clip, rng: np.random.Generator) -> None:
    for _ in range(8):
        source, result, box = images(rng)
        scores = clip.score(source, result, box)
        assert scores is not None and scores.text_drop is None
        assert scores.gone[1] >= scores.gone[3] >= scores.gone[5]


def test_ranks_that_would_hold_every_class_are_left_out(tiny_clip: Path, rng: np.random.Generator) -> None:
    scores = Clip(tiny_clip, CATEGORIES[:3]).score(*images(rng))
    assert scores is not None and list(scores.gone) == [1]


def test_the_crop_is_taken_from_the_central_square_and_padded_to_a_square() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 90:130] = 255
    crop = object_crop(image, np.array([90.0, 40.0, 130.0, 60.0]))
    assert crop is not None
    assert crop.shape[0] == crop.shape[1] == pytest.approx(40 * 2.56, abs=2)
    side = crop.shape[0]
    assert (crop[0] == 0).all() and (crop[-1] == 0).all()
    assert (crop[side // 2, 5:-5] > 250).all()


def test_an_object_outside_the_central_square_has_no_score(clip: Clip) -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    assert object_crop(image, np.array([0.0, 10.0, 60.0, 40.0])) is None
    assert clip.score(image, image, np.array([0.0, 10.0, 60.0, 40.0])) is None


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="local folder"):
        Clip(tmp_path / "nothing", CATEGORIES)
    with pytest.raises(ValueError, match="holds no CLIP"):
        Clip(tmp_path, CATEGORIES)
