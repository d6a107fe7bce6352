"""The loop: gradients reach what trains, frozen parts stay, and a killed run continues exactly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.tiny_encoder import TinyConfig
from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim, ZimConfig, load_weights
from zim_plugins.errors import CheckpointError
from zim_plugins.training.hooks import add_lora, keep_frozen_in_eval, parameter_groups, set_frozen
from zim_plugins.training.loop import Trainer
from zim_plugins.training.losses import LossWeights, matte_loss
from zim_plugins.training.recipe import Recipe, Stage
from zim_plugins.training.recipes import RECIPES
from zim_plugins.training.samples.library import Library
from zim_plugins.training.task import ZimSettings

SMALL = replace(ZIM_CONFIGS["tiny"], encoder=TinyConfig(dim=48, depth=1, heads=2), mlp_dim=64, fusion_depth=1)
SMALL_VIT = ZimConfig(ViTConfig(32, 2, 2, (1,), frame_px=64, window=2, out_channels=32), frame_px=64, mlp_dim=64)
SETTINGS = ZimSettings(SMALL, second_look=0.5)
RECIPE = Recipe("small", SETTINGS, (Stage(32, 2, 4), Stage(48, 2, 4)), lr=1e-3, warmup_steps=2)


def trainer_of(recipe: Recipe, library: Library, out: Path, *, held_out: Library | None = None, **options) -> Trainer:
    return Trainer(recipe, recipe.settings.task(library, held_out, recipe.seed), out, **options)


def loss_of(zim: Zim, alpha: bool = False) -> torch.Tensor:
    frame = 64
    torch.manual_seed(1)
    coords = torch.tensor([[[20.0, 20], [10, 10], [40, 50]], [[30.0, 30], [5, 5], [60, 60]]])
    labels = torch.tensor([[1, 2, 3], [0, 2, 3]])
    coarse = torch.rand(2, 1, frame, frame) if alpha else None
    logits, scores = zim(torch.randn(2, 3, frame, frame), coords, labels, coarse)
    target = (torch.rand(2, frame, frame) > 0.5).float()
    weights = LossWeights(candidates=1.0, iou=1.0)
    return matte_loss(logits, scores, target, torch.ones_like(target), torch.ones(2), weights)[0]


@pytest.mark.parametrize("config", [SMALL, SMALL_VIT], ids=["tiny", "vit"])
def test_a_loss_on_the_matte_reaches_every_weight(config: ZimConfig) -> None:
    """Over a few kinds of prompt: each candidate must be the best one once, clicks, boxes and mattes must occur."""
    torch.manual_seed(0)
    zim = Zim(config).train()
    for parameter in zim.parameters():
        torch.nn.init.normal_(parameter, mean=0.0 if parameter.ndim > 1 else 0.5, std=0.05)
    coords = torch.tensor([[[20.0, 20], [10, 10], [40, 50], [0, 0]]] * 2)
    labels = torch.tensor([[1, 2, 3, -1], [0, 2, 3, -1]])
    for coarse in (None, torch.rand(2, 1, 64, 64)):
        logits, scores = zim(torch.randn(2, 3, 64, 64), coords, labels, coarse)
        (logits.square().mean() + scores.square().mean()).backward()
    unreached = [n for n, p in zim.named_parameters() if p.grad is None or not p.grad.any()]
    if config.dense_prompts:  # SAM's own mask input gives way to the drawn prompts
        unreached = [n for n in unreached if "mask_downscaling" not in n and "no_mask_embed" not in n]
    # a bias of keys shifts all logits of a softmax alike: its gradient is zero by arithmetic
    unreached = [n for n in unreached if not n.endswith("k_proj.bias")]
    assert unreached == []


@pytest.mark.parametrize("config", [SMALL, SMALL_VIT], ids=["tiny", "vit"])
def test_frozen_parts_stay_bit_identical(config: ZimConfig) -> None:
    torch.manual_seed(0)
    zim = Zim(config)
    set_frozen(zim, ["image_encoder", "mask_decoder.transformer"])
    before = {k: v.clone() for k, v in zim.state_dict().items()}
    optimizer = torch.optim.AdamW(parameter_groups(zim, 1e-2, 0.1), lr=1e-2)
    zim.train()
    keep_frozen_in_eval(zim)
    loss_of(zim).backward()
    optimizer.step()
    after = zim.state_dict()
    frozen = ("image_encoder.", "mask_decoder.transformer.")
    moved = {k for k in after if not torch.equal(before[k], after[k])}
    assert not [k for k in moved if k.startswith(frozen)]
    assert any(k.startswith("mask_decoder.pixel_decoder") for k in moved)
    set_frozen(zim, ["image_encoder"], frozen=False)
    assert all(p.requires_grad for p in zim.image_encoder.parameters())
    with pytest.raises(ValueError, match="image_encoder"):
        set_frozen(zim, ["backbone"])


def test_checkpointing_activations_changes_nothing() -> None:
    torch.manual_seed(0)
    zim = Zim(SMALL_VIT).train()
    loss_of(zim).backward()
    plain = {n: p.grad.clone() for n, p in zim.named_parameters() if p.grad is not None}
    zim.zero_grad()
    zim.image_encoder.gradient_checkpointing = True
    loss_of(zim).backward()
    for name, parameter in zim.named_parameters():
        if name in plain:
            torch.testing.assert_close(parameter.grad, plain[name])


def test_earlier_blocks_learn_more_slowly() -> None:
    groups = parameter_groups(Zim(SMALL_VIT), 1.0, 0.1, layer_decay=0.5)
    rates = {id(p): g["lr"] for g in groups for p in g["params"]}
    zim_rates = sorted({round(r, 6) for r in rates.values()})
    assert zim_rates == [0.125, 0.25, 0.5, 1.0]


class Recorder:
    """A hook that writes down what it sees."""

    def __init__(self) -> None:
        self.before: list[int] = []
        self.losses: dict[int, float] = {}

    def before_step(self, model: torch.nn.Module, step: int) -> None:
        self.before.append(step)

    def after_step(self, model: torch.nn.Module, step: int, terms: dict[str, float]) -> None:
        self.losses[step] = terms["loss"]


def test_a_killed_run_continues_exactly(library: Library, tmp_path: Path) -> None:
    whole, parts = Recorder(), Recorder()
    undisturbed = trainer_of(RECIPE, library, tmp_path / "whole", hooks=[whole])
    undisturbed.run()
    for _ in range(3):  # a new process each time, as far as the trainer can tell
        trainer = trainer_of(RECIPE, library, tmp_path / "parts", hooks=[parts])
        trainer.resume()
        trainer.run(max_steps=3)
    assert whole.losses == parts.losses
    assert whole.before == list(range(8))
    for key, value in undisturbed.average.state_dict().items():
        assert torch.equal(value, trainer.average.state_dict()[key]), key


def test_training_learns_and_the_best_checkpoint_loads(library: Library, tmp_path: Path) -> None:
    settings = ZimSettings(SMALL, loss=LossWeights(bce=1, dice=1))
    recipe = replace(RECIPE, settings=settings, stages=(Stage(32, 4, 60),), lr=3e-3, ema_decay=0.9)
    trainer = trainer_of(recipe, library, tmp_path, held_out=library, check_every=30, check_batches=2)
    before = trainer.check(32)
    trainer.run()
    after = trainer.check(32)
    assert after["held_out_mae"] < 0.6 * before["held_out_mae"]
    zim, metadata = load_weights(tmp_path / "best.safetensors")
    assert zim.config == SMALL
    assert metadata["recipe"] == "small"
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert any("grad" in r for r in records)


def test_another_model_s_run_is_not_overwritten(library: Library, tmp_path: Path) -> None:
    trainer_of(RECIPE, library, tmp_path).save()
    other = replace(RECIPE, settings=ZimSettings(replace(SMALL, mlp_dim=32)))
    with pytest.raises(CheckpointError, match="another folder"):
        trainer_of(other, library, tmp_path).resume()


def test_recipes_know_their_stages() -> None:
    assert RECIPE.steps == 8
    assert RECIPE.stage_at(3) == (RECIPE.stages[0], 4)
    assert RECIPE.stage_at(4) == (RECIPE.stages[1], 8)
    with pytest.raises(ValueError, match="beyond"):
        RECIPE.stage_at(8)
    for recipe in RECIPES.values():
        assert all(s.frame_px % 16 == 0 for s in recipe.stages)


@pytest.mark.filterwarnings("ignore")
def test_lora_trains_adapters_in_a_frozen_encoder() -> None:
    pytest.importorskip("peft")
    torch.manual_seed(0)
    zim = Zim(SMALL_VIT)
    added = add_lora(zim, rank=4)
    assert added == 2 * 4 * (32 + 96)  # two blocks: rank x (inputs + outputs) of each qkv
    trainable = {n for n, p in zim.named_parameters() if p.requires_grad}
    assert all("lora_" in n for n in trainable if n.startswith("image_encoder."))
    assert any(n.startswith("mask_decoder.") for n in trainable)
    before = {n: p.clone() for n, p in zim.named_parameters()}
    optimizer = torch.optim.AdamW(parameter_groups(zim, 1e-2, 0.0), lr=1e-2)
    for _ in range(2):  # the second factor starts at zero, so the first moves in the second step
        loss_of(zim).backward()
        optimizer.step()
    moved = {n for n, p in zim.named_parameters() if not torch.equal(before[n], p)}
    assert all("lora_" in n for n in moved if n.startswith("image_encoder."))
    assert sum("lora_" in n for n in moved) == 4
