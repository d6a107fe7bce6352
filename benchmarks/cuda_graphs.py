"""Decoding recorded as a CUDA graph: one launch replays the hundreds of small kernels of a click.

Recordings hold fixed shapes in fixed memory: what is asked is copied in, what is answered is copied out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zim_plugins.core.modeling.zim import ImageFeatures

WARM_UP = 3
"""Runs before a recording, in which libraries choose their kernels and set up their workspaces."""

Answer = tuple[Tensor, Tensor]
Decode = Callable[..., Answer]


@dataclass(frozen=True)
class Recording:
    """Work of fixed shapes, ready to be repeated."""

    inputs: list[Tensor]
    """Where the next question is put."""
    replay: Callable[[], Any]
    answer: Answer
    """Where the answer to the last question lies."""


def record_cuda(run: Callable[[], Answer]) -> tuple[Callable[[], Any], Answer]:
    """Capture what `run` does on the current GPU: how to repeat it, and where its answer comes to lie."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = run()
    return graph.replay, answer


class GraphedDecode:
    """`Zim.decode`, recorded at its first call with each shape for the prompt counts that are named.

    Args:
        decode: what is recorded; its weights must stay where they are.
        counts: numbers of prompts that are recorded; others are decoded as ever.
        record: how; see `record_cuda`.
    """

    def __init__(
        self,
        decode: Decode,
        counts: Sequence[int],
        record: Callable[[Callable[[], Answer]], tuple[Callable[[], Any], Answer]] = record_cuda,
    ) -> None:
        self.decode = decode
        self.counts = frozenset(counts)
        self._record = record
        self._recordings: dict[tuple[Any, ...], Recording] = {}

    def __call__(
        self,
        features: ImageFeatures,
        coords: Float[Tensor, "b n 2"],
        labels: Int[Tensor, "b n"],
        alpha: Float[Tensor, "b 1 f f"] | None = None,
    ) -> Answer:
        """Decode as `Zim.decode` does."""
        if len(coords) not in self.counts:
            return self.decode(features, coords, labels, alpha)
        given = [features.embedding, *features.details, *(features.projected or []), coords, labels]
        given += [] if alpha is None else [alpha]
        key = (len(features.details), *((tuple(t.shape), t.dtype) for t in given))
        if key not in self._recordings:
            inputs = [t.clone() for t in given]
            asked = _question(features, inputs)
            self._recordings[key] = Recording(inputs, *self._record(lambda: self.decode(*asked)))
        recording = self._recordings[key]
        for place, tensor in zip(recording.inputs, given, strict=True):
            place.copy_(tensor)
        recording.replay()
        logits, scores = recording.answer
        return logits.clone(), scores.clone()


def _question(features: ImageFeatures, inputs: Sequence[Tensor]) -> tuple[Any, ...]:
    """Arguments of `Zim.decode` made of the inputs in their order; `features` say how many there are of each kind."""
    left = iter(inputs)
    embedding, details = next(left), [next(left) for _ in features.details]
    projected = None if features.projected is None else [next(left) for _ in features.projected]
    return ImageFeatures(embedding, details, projected), *left
