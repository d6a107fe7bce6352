"""Batches out of scenes and prompts, in the arrays that a step needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zim_plugins.core.prompt import Prompt
from zim_plugins.core.tokens import PAD, prompt_tokens
from zim_plugins.core.transforms import PIXEL_MEAN, PIXEL_STD
from zim_plugins.training.samples.compositing import Scene


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one step; each is asked `m` times."""

    images: Float[Tensor, "b 3 f f"]
    """Standardised RGB, zero-padded at the right and at the bottom."""
    valid: Float[Tensor, "b f f"]
    """1 on the image, 0 on the padding."""
    targets: Float[Tensor, "b m f f"]
    """Mattes in [0, 1]."""
    coords: Float[Tensor, "b m n 2"]
    """Clicks and box corners, XY in frame pixels."""
    labels: Int[Tensor, "b m n"]
    """As in the prompt encoder; -1 is padding."""
    edge: Float[Tensor, " b"]
    """Trust in the mattes' edges."""
    numbers: Int[Tensor, " b"]
    """Of the rows, in the batch of all processes."""


def batch_of(
    asked: Sequence[tuple[Scene, Sequence[Prompt]]], frame_px: int, tokens: int, numbers: Sequence[int]
) -> Batch:
    """A batch of scenes, each asked equally often: the k-th prompt of a scene asks for its k-th matte, in turns.

    Args:
        asked: scenes that fit the frame, with prompts in their pixels.
        frame_px: side of the frame.
        tokens: to which every prompt is padded, so that all processes of a run pad alike.
        numbers: of the rows, in the batch of all processes.
    """
    count, times = len(asked), len(asked[0][1])
    images = np.zeros((count, 3, frame_px, frame_px), dtype=np.float32)
    valid = np.zeros((count, frame_px, frame_px), dtype=np.float32)
    targets = np.zeros((count, times, frame_px, frame_px), dtype=np.float32)
    coords = np.zeros((count, times, tokens, 2), dtype=np.float32)
    labels = np.full((count, times, tokens), PAD, dtype=np.int64)
    for i, (scene, prompts) in enumerate(asked):
        h, w = scene.rgb.shape[:2]
        images[i, :, :h, :w] = ((scene.rgb - np.array(PIXEL_MEAN)) / np.array(PIXEL_STD)).transpose(2, 0, 1)
        valid[i, :h, :w] = 1
        for k, prompt in enumerate(prompts):
            targets[i, k, :h, :w] = scene.alphas[k % len(scene.alphas)]
            xy, kinds = prompt_tokens(prompt)
            coords[i, k, : len(kinds)], labels[i, k, : len(kinds)] = xy, kinds
    return Batch(
        torch.from_numpy(images).contiguous(memory_format=torch.channels_last),
        torch.from_numpy(valid),
        torch.from_numpy(targets),
        torch.from_numpy(coords),
        torch.from_numpy(labels),
        torch.tensor([scene.edge for scene, _ in asked], dtype=torch.float32),
        torch.tensor(list(numbers)),
    )
