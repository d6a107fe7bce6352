"""Batches of the converter: repeatable, composites spoilt, segmentation samples untouched; training on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from zim_plugins.label_converter.network import ConverterConfig
from zim_plugins.label_converter.recipes import CONVERTER_RECIPES
from zim_plugins.label_converter.samples.batches import ConverterSampling, ConverterSource
from zim_plugins.label_converter.task import ConverterSettings, ConverterTask
from zim_plugins.training.loop import Trainer
from zim_plugins.training.recipe import Recipe, Stage
from zim_plugins.training.samples.library import Library


def test_a_step_s_batch_is_always_the_same(library: Library) -> None:
    source = ConverterSource(library, 64, 3, seed=5)
    first, streamed = source.batch(7), list(source.batches(6, 9))
    assert len(streamed) == 3
    for field in ("images", "masks", "targets", "valid", "selective"):
        assert torch.equal(getattr(first, field), getattr(streamed[1], field))
    assert not torch.equal(first.images, streamed[0].images)
    assert first.images.shape == (3, 3, 64, 64)
    assert first.masks.shape == first.targets.shape == first.valid.shape == (3, 1, 64, 64)


def test_selective_samples_return_their_label(library: Library) -> None:
    batch = ConverterSource(library, 64, 40, sampling=ConverterSampling(sga=False)).batch(0)
    stl = batch.selective
    assert 10 < stl.sum() < 30
    assert torch.equal(batch.masks[stl], batch.targets[stl])
    spoilt = (batch.masks[~stl] != (batch.targets[~stl] > 0.5).float()).flatten(1).any(1)
    assert spoilt.float().mean() > 0.5
    assert set(batch.masks.unique().tolist()) == {0.0, 1.0}
    assert not ((batch.masks + batch.targets) * (1 - batch.valid)).any()


def test_the_switches_of_the_ablation(library: Library) -> None:
    both = ConverterSampling()
    assert not ConverterSource(library, 64, 20, sampling=replace(both, stl=False)).batch(0).selective.any()
    with_sga = ConverterSource(library, 64, 20, sampling=both).batch(0)
    without = ConverterSource(library, 64, 20, sampling=replace(both, sga=False)).batch(0)
    assert torch.equal(with_sga.images, without.images)  # the image is untouched
    cut = (with_sga.masks != without.masks).flatten(1).any(1)
    assert 0.2 < cut.float().mean() < 0.8
    assert ((with_sga.masks <= without.masks) & (with_sga.targets <= without.targets)).all()


def test_stl_may_come_in_later(library: Library) -> None:
    source = ConverterSource(library, 64, 12, sampling=ConverterSampling(stl_from=3))
    assert not source.batch(2).selective.any()
    assert source.batch(3).selective.any()


def test_a_library_that_does_not_serve_is_refused(library: Library) -> None:
    with pytest.raises(ValueError, match="photographs"):
        ConverterSource(Library(), 64, 1)
    bare = Library([replace(p, masks=(), segments=()) for p in library.photos], library.cutouts, library.backgrounds)
    with pytest.raises(ValueError, match="STL"):
        ConverterSource(bare, 64, 1)
    assert ConverterSource(bare, 64, 1, sampling=ConverterSampling(stl=False)).batch(0).masks.any()


def test_training_lowers_the_loss_and_resumes_exactly(
    library: Library, small_config: ConverterConfig, tmp_path
) -> None:
    recipe = Recipe("test", ConverterSettings(small_config), (Stage(48, 4, 30),), lr=3e-3, warmup_steps=5)
    task = recipe.settings.task(library, library, recipe.seed)
    whole = Trainer(recipe, task, tmp_path / "whole", check_batches=2)
    before = whole.check(48)
    whole.run()
    after = whole.check(48)
    assert before is not None and after is not None
    assert after["held_out_mse"] < 0.7 * before["held_out_mse"]
    assert (tmp_path / "whole/best.safetensors").is_file()
    first = Trainer(recipe, task, tmp_path / "parts", check_batches=2)
    first.run(2)
    second = Trainer(recipe, task, tmp_path / "parts", check_batches=2)
    assert second.resume()
    second.run(2)
    undisturbed = Trainer(recipe, task, tmp_path / "undisturbed", check_batches=2)
    undisturbed.run(4)
    for a, b in zip(second.model.parameters(), undisturbed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_recipes() -> None:
    paper = CONVERTER_RECIPES["converter_hiera_bp"]
    assert (paper.steps, paper.lr, paper.stages[0].batch_size, paper.stages[0].frame_px) == (500_000, 1e-3, 16, 1024)
    for name, recipe in CONVERTER_RECIPES.items():
        assert recipe.name == name
        assert all(stage.frame_px % 32 == 0 for stage in recipe.stages)
    task = CONVERTER_RECIPES["converter_tiny"].settings.task(Library(), None, 0)
    assert isinstance(task, ConverterTask)
    groups = task.parameter_groups(model := task.build(), 1e-3, 0.05)
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert {g["weight_decay"] for g in groups} == {0.05, 0.0}
    assert np.all([p.ndim < 2 for p in groups[1]["params"]])
