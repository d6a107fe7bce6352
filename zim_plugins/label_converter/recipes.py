"""Recipes of the label converter by name; `dataclasses.replace` makes the variants."""

from dataclasses import replace

from zim_plugins.label_converter.hiera import HieraConfig
from zim_plugins.label_converter.losses import ConverterLossWeights
from zim_plugins.label_converter.network import CONVERTER_CONFIGS, ConverterConfig
from zim_plugins.label_converter.samples.batches import ConverterSampling
from zim_plugins.label_converter.task import ConverterSettings
from zim_plugins.training.recipe import Recipe, Stage

TINY = ConverterSettings(
    CONVERTER_CONFIGS["tiny"],
    sampling=ConverterSampling(stl_share=0.25, stl_from=1000),
    loss=ConverterLossWeights(bce=1.0),
    guided_steps=100,
)
"""Without pretraining: starts from the mask itself, learns mattes first and restraint later."""

HIERA = ConverterSettings(CONVERTER_CONFIGS["hiera_bp"], gradient_checkpointing=True)
REDUCED_HIERA = ConverterConfig(
    HieraConfig(width=8, heads=1, depths=(1, 1, 2, 1), windows=(8, 4, 2, 2), global_blocks=(3,), position_grid=4),
    context_channels=16,
    decoder_channels=(16, 16, 16, 8, 8),
    shortcut_depth=2,
    head_channels=8,
)
"""Of the same build; a CPU trains it for a few steps in seconds."""

CONVERTER_RECIPES = {
    "converter_tiny": Recipe(
        "converter_tiny", TINY, stages=(Stage(128, 16, 1500), Stage(256, 8, 1000)), lr=1e-3, ema_decay=0.998
    ),
    "converter_tiny_dry_run": Recipe(
        "converter_tiny_dry_run",
        TINY,
        stages=(Stage(64, 2, 3), Stage(96, 2, 1)),
        lr=1e-3,
        warmup_steps=2,
        check_batches=1,
    ),
    "converter_hiera_bp": Recipe(
        "converter_hiera_bp",
        HIERA,
        stages=(Stage(1024, 16, 500_000),),
        lr=1e-3,
        warmup_steps=1000,
        weight_decay=0.01,
        betas=(0.9, 0.999),
        ema_decay=0.9999,
        save_every=1000,
        check_every=5000,
    ),
    "converter_hiera_bp_dry_run": Recipe(
        "converter_hiera_bp_dry_run",
        replace(HIERA, config=REDUCED_HIERA),
        stages=(Stage(64, 2, 3),),
        lr=1e-3,
        warmup_steps=2,
        check_batches=1,
    ),
}
"""What `zim train converter` knows. `converter_hiera_bp` has the paper's optimiser, rate, batch, steps and size."""
