"""Samples: scenes with prompts, in the arrays a step needs; the n-th sample of a seed is always the same."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from zim_plugins.core.prompt import Prompt
from zim_plugins.training.distributed import WHOLE, Share
from zim_plugins.training.samples.batches import Batch, batch_of
from zim_plugins.training.samples.compositing import Scene, SceneMix, make_scene
from zim_plugins.training.samples.library import Library
from zim_plugins.training.samples.prompts import PromptSampling, sample_prompt
from zim_plugins.training.samples.read_ahead import made_ahead


@dataclass(frozen=True, eq=False)
class SampleSource:
    """Batches by number: `batch(step)` depends on nothing but the settings and the step, so resuming is exact."""

    library: Library
    frame_px: int
    batch_size: int
    prompts_per_image: int = 2
    seed: int = 0
    mix: SceneMix = SceneMix()
    sampling: PromptSampling = PromptSampling()
    share: Share = WHOLE

    def batch(self, step: int) -> Batch:
        """This process's rows of the batch of one step."""
        rows = range(self.batch_size)[self.share.rows(self.batch_size)]
        asked = [self.asked(step, row) for row in rows]
        return batch_of(asked, self.frame_px, self.sampling.max_tokens, rows)

    def asked(self, step: int, row: int) -> tuple[Scene, list[Prompt]]:
        """Return the scene of one row, and what is asked of it."""
        rng = np.random.default_rng((self.seed, step, row))
        scene = make_scene(self.library, self.frame_px, self.mix, rng)
        how = self.sampling if scene.whole else replace(self.sampling, box_share=1.0)
        alphas = [scene.alphas[k % len(scene.alphas)] for k in range(self.prompts_per_image)]
        return scene, [sample_prompt(alpha, rng, how) for alpha in alphas]

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of steps `start` to `stop`, made by a thread that works ahead."""
        return made_ahead(self.batch, start, stop)
