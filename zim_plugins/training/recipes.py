"""Recipes of ZIM by name; `dataclasses.replace` makes the variants."""

from zim_plugins.core.modeling.zim import ZIM_CONFIGS
from zim_plugins.training.losses import LossWeights
from zim_plugins.training.schedule import Recipe, Stage
from zim_plugins.training.zim_task import ZimSettings

FROM_SCRATCH = LossWeights(l1=1.0, grad=10.0, bce=1.0, dice=1.0)
"""The paper's loss, and two terms that get a network without pretraining off the ground."""
COARSE = LossWeights(l1=1.0, grad=2.0, bce=1.0, dice=1.0)
"""While the network does not know yet where the object is, ten times the gradient asks for blur."""
TINY = ZimSettings(ZIM_CONFIGS["tiny"], loss=FROM_SCRATCH, coarse_loss=COARSE, second_look=0.3)

RECIPES = {
    "zim_tiny": Recipe(
        "zim_tiny",
        TINY,
        stages=(Stage(128, 24, 1800), Stage(192, 16, 1000), Stage(256, 12, 450)),
        lr=1.5e-3,
    ),
    "zim_tiny_dry_run": Recipe("zim_tiny_dry_run", TINY, (Stage(64, 4, 4), Stage(96, 2, 2)), lr=1e-3, warmup_steps=2),
}
"""What `zim train` knows; costs are in the model card."""
