"""Prompts, scenes and batches: what is drawn is usable and repeatable."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zim_plugins.training.samples.compositing import SceneMix, make_scene
from zim_plugins.training.samples.library import CLICK_BENCHMARK_IDS, Library, held_out, load_library
from zim_plugins.training.samples.prompts import PromptSampling, deepest_point, sample_prompt, tight_box
from zim_plugins.training.samples.source import SampleSource


def square(size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[10:31, 20:41] = True
    return mask


def test_box_and_deepest_point_of_a_square() -> None:
    np.testing.assert_array_equal(tight_box(square()), [20, 10, 41, 31])
    assert deepest_point(square()) == (30.5, 20.5)
    full = np.ones((5, 9), bool)  # the image's border is a border of the object too
    assert deepest_point(full)[1] == 2.5
    with pytest.raises(ValueError, match="empty"):
        tight_box(np.zeros((3, 3), bool))


def test_prompts_point_at_the_object() -> None:
    alpha = square().astype(np.float32)
    kinds = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        prompt = sample_prompt(alpha, rng, PromptSampling())
        kinds.add((prompt.box is not None, prompt.points is not None))
        prompt.check_inside(alpha.shape)
        if prompt.points is not None and prompt.labels is not None:
            x, y = prompt.points.astype(int).T
            np.testing.assert_array_equal(alpha[y, x] > 0.5, prompt.labels == 1)
        if prompt.box is not None:
            assert np.abs(prompt.box - tight_box(square())).max() <= 2.1 + 1e-9  # 10 % of 21 px
    assert kinds == {(True, False), (True, True), (False, True)}


def test_scenes_fit_the_frame_and_hold_an_object(library: Library) -> None:
    for seed in range(60):
        scene = make_scene(library, 64, SceneMix(), np.random.default_rng(seed))
        assert scene.rgb.dtype == np.uint8
        assert max(scene.rgb.shape[:2]) == 64
        for alpha in scene.alphas:
            assert alpha.shape == scene.rgb.shape[:2]
            assert 0 <= alpha.min() <= alpha.max() <= 1
            assert (alpha > 0.5).any()


def test_a_step_s_batch_is_always_the_same(library: Library) -> None:
    source = SampleSource(library, 64, 3, seed=5)
    first, again = source.batch(7), source.batch(7)
    for field in ("images", "targets", "coords", "labels", "edge", "valid"):
        assert torch.equal(getattr(first, field), getattr(again, field))
    assert not torch.equal(first.images, source.batch(8).images)
    streamed = list(source.batches(6, 9))
    assert len(streamed) == 3
    assert torch.equal(streamed[1].images, first.images)


def test_the_thread_s_error_reaches_the_consumer() -> None:
    with pytest.raises((ValueError, IndexError)):
        next(iter(SampleSource(Library(), 64, 1).batches(0, 1)))


def test_real_data_leaves_the_click_benchmarks_out(test_data) -> None:
    train, kept = load_library(test_data, "train"), load_library(test_data, "held_out")
    names = {p.name for p in train.photos}
    assert len(names) > 400
    assert not names & CLICK_BENCHMARK_IDS
    assert not names & {p.name for p in kept.photos}
    assert not {c.name for c in train.cutouts} & {c.name for c in kept.cutouts}
    clicks = test_data / "segmentation/interactive_eval"
    scored = {p.stem for name in ("berkeley", "grabcut") for p in (clicks / name / "images").iterdir()}
    assert not names & (scored - {"124080"})


def test_the_split_depends_on_the_name_alone() -> None:
    assert held_out("000000281693", 8) == held_out("000000281693", 8)
    share = np.mean([held_out(str(i), 8) for i in range(4000)])
    assert 0.1 < share < 0.15


def test_an_empty_folder_is_refused(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="matting/"):
        load_library(tmp_path, "train")


def test_converted_mattes_take_the_place_of_drawn_masks(tmp_path: Path) -> None:
    root, name = tmp_path / "data", "cup_1_7"
    objects = root / "segmentation/objects/coco_mval"
    for folder in (objects / "images", objects / "masks", tmp_path / "mattes"):
        folder.mkdir(parents=True)
    Image.new("RGB", (40, 30), (9, 9, 9)).save(objects / "images/7.png")
    mask = Image.fromarray(255 * square((30, 40)).astype(np.uint8))
    mask.save(objects / f"masks/{name}.png")
    mask.point(lambda v: v * 100 // 255).save(tmp_path / f"mattes/{name}.png")
    split = "held_out" if held_out("7", 8) else "train"
    drawn, converted = (load_library(root, split, mattes).photos[0] for mattes in (None, tmp_path / "mattes"))
    assert (drawn.masks[0].max(), drawn.converted) == (255, False)
    assert (converted.masks[0].max(), converted.converted) == (100, True)
    assert "1 object masks (1 of them converted" in load_library(root, split, tmp_path / "mattes").describe()
