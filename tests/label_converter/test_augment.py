"""SGA takes the same rectangle out of label and matte; STL leaves both as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zim_plugins.label_converter.samples.augment import CutOut, cut_out, draw_rectangle
from zim_plugins.label_converter.samples.selective import selective_pair, without_soft_classes
from zim_plugins.training.samples.library import Library


def object_with_matte() -> tuple[np.ndarray, np.ndarray]:
    alpha = np.zeros((60, 80), np.float32)
    alpha[10:50, 20:70] = 0.3
    alpha[15:45, 25:65] = 1
    return alpha > 0.5, alpha


def test_the_same_rectangle_goes_from_label_and_matte() -> None:
    label, alpha = object_with_matte()
    kept = label.copy(), alpha.copy()
    changed = 0
    for seed in range(200):
        window = draw_rectangle(label, CutOut(), np.random.default_rng(seed))
        new_label, new_alpha = cut_out(label, alpha, CutOut(), np.random.default_rng(seed))
        if window is None:
            assert new_label is label
            assert new_alpha is alpha
            continue
        changed += 1
        assert not new_label[window].any()
        assert not new_alpha[window].any()
        outside = np.ones(label.shape, bool)
        outside[window] = False
        np.testing.assert_array_equal(new_label[outside], label[outside])
        np.testing.assert_array_equal(new_alpha[outside], alpha[outside])
        assert 0.1 * label.sum() <= new_label.sum() < label.sum()
    assert 80 < changed < 120  # p = 0.5
    np.testing.assert_array_equal(label, kept[0])
    np.testing.assert_array_equal(alpha, kept[1])


def test_rectangles_are_scaled_to_the_box() -> None:
    label, _ = object_with_matte()
    settings = CutOut(probability=1, size_share=(0.2, 0.2))
    for seed in range(20):
        window = draw_rectangle(label, settings, np.random.default_rng(seed))
        assert window is not None
        assert (window[0].stop - window[0].start, window[1].stop - window[1].start) == (6, 8)


def test_most_of_an_object_is_never_taken() -> None:
    label, alpha = object_with_matte()
    greedy = CutOut(probability=1, size_share=(3, 3))
    assert cut_out(label, alpha, greedy, np.random.default_rng(0))[0] is label
    empty = np.zeros((5, 5), bool)
    assert draw_rectangle(empty, CutOut(probability=1), np.random.default_rng(0)) is None


def test_a_selective_target_is_its_label() -> None:
    mask = np.random.default_rng(0).random((30, 30)).astype(np.float32)
    label, target = selective_pair(mask)
    np.testing.assert_array_equal(label, mask > 0.5)
    np.testing.assert_array_equal(target, label)
    assert target.dtype == np.float32


def test_soft_classes_are_left_out_of_stl(tmp_path: Path, library: Library) -> None:
    for name in ("potted_plant_00_photo0", "car_01_photo0", "car_00_photo1", "tv_02_photo3"):
        (tmp_path / f"{name}.png").touch()
    assert [p.name for p in without_soft_classes(library, tmp_path).photos] == ["photo1", "photo2", "photo3"]


def test_soft_classes_of_real_data(test_data: Path) -> None:
    masks = test_data / "segmentation/objects/coco_mval/masks"
    names = {p.stem.rsplit("_", 1)[1] for p in masks.glob("*.png")}
    photos = [replace_name(n) for n in sorted(names)]
    kept = {p.name for p in without_soft_classes(Library(photos), masks).photos}
    assert 200 < len(kept) < len(names)
    assert not kept & {p.stem.rsplit("_", 1)[1] for p in masks.glob("dog_*.png")}


def replace_name(name: str):
    from zim_plugins.training.samples.library import Photo

    return Photo(name, np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_the_switch(probability: float) -> None:
    label, alpha = object_with_matte()
    settings = replace(CutOut(), probability=probability)
    changed = [cut_out(label, alpha, settings, np.random.default_rng(s))[0] is not label for s in range(20)]
    assert all(changed) if probability else not any(changed)
