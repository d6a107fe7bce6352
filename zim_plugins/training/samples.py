"""Samples: scenes with prompts, in the arrays a step needs; the n-th sample of a seed is always the same."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zim_plugins.core.tokens import PAD, prompt_tokens
from zim_plugins.core.transforms import PIXEL_MEAN, PIXEL_STD
from zim_plugins.training.library import Library
from zim_plugins.training.prompting import PromptSampling, sample_prompt
from zim_plugins.training.scenes import SceneMix, make_scene


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of one step; each is asked `m` times."""

    images: Float[Tensor, "b 3 f f"]
    """Standardised RGB, zero-padded at the right and at the bottom."""
    valid: Float[Tensor, "b f f"]
    """1 on the picture, 0 on the padding."""
    targets: Float[Tensor, "b m f f"]
    """Mattes in [0, 1]."""
    coords: Float[Tensor, "b m n 2"]
    """Clicks and box corners, XY in frame pixels."""
    labels: Int[Tensor, "b m n"]
    """As in the prompt encoder; -1 is padding."""
    edge: Float[Tensor, " b"]
    """Trust in the mattes' edges."""


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

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        frame, m = self.frame_px, self.prompts_per_image
        images = np.zeros((self.batch_size, 3, frame, frame), dtype=np.float32)
        valid = np.zeros((self.batch_size, frame, frame), dtype=np.float32)
        targets = np.zeros((self.batch_size, m, frame, frame), dtype=np.float32)
        tokens, edge = [], []
        for i in range(self.batch_size):
            rng = np.random.default_rng((self.seed, step, i))
            scene = make_scene(self.library, frame, self.mix, rng)
            h, w = scene.rgb.shape[:2]
            images[i, :, :h, :w] = ((scene.rgb - np.array(PIXEL_MEAN)) / np.array(PIXEL_STD)).transpose(2, 0, 1)
            valid[i, :h, :w] = 1
            edge.append(scene.edge)
            for k in range(m):
                alpha = scene.alphas[k % len(scene.alphas)]
                targets[i, k, :h, :w] = alpha
                tokens.append(prompt_tokens(sample_prompt(alpha, rng, self.sampling)))
        n = max(len(labels) for _, labels in tokens)
        coords = np.zeros((len(tokens), n, 2), dtype=np.float32)
        labels = np.full((len(tokens), n), PAD, dtype=np.int64)
        for row, (xy, kinds) in enumerate(tokens):
            coords[row, : len(kinds)], labels[row, : len(kinds)] = xy, kinds
        return Batch(
            torch.from_numpy(images).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(valid),
            torch.from_numpy(targets),
            torch.from_numpy(coords).reshape(self.batch_size, m, n, 2),
            torch.from_numpy(labels).reshape(self.batch_size, m, n),
            torch.tensor(edge, dtype=torch.float32),
        )

    def batches(self, start: int, stop: int, ahead: int = 3) -> Iterator[Batch]:
        """Batches of steps `start` to `stop`, made by a thread that works ahead."""
        made: queue.Queue[Batch | BaseException] = queue.Queue(ahead)
        stopped = threading.Event()

        def work() -> None:
            try:
                for step in range(start, stop):
                    if stopped.is_set():
                        return
                    made.put(self.batch(step))
            except BaseException as error:
                made.put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            for _ in range(start, stop):
                item = made.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            while thread.is_alive():
                try:
                    made.get(timeout=0.05)
                except queue.Empty:
                    continue
