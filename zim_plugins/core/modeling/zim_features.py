"""One encoded image, as an encoder hands it to a decoder, ready for any number of prompts."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class ImageFeatures(NamedTuple):
    """An encoded image, ready for any number of prompts."""

    embedding: Float[Tensor, "b c g g"]
    """Stride 16."""
    details: list[Float[Tensor, "b _ _ _"]]
    """Strides 2, 4 and 8; empty with SAM's own pixel decoder."""
    projected: list[Float[Tensor, "b _ _ _"]] | None = None
    """What `prepare` made of them, once for all prompts: what the details add, or keys."""

    def repeated(self, times: int) -> "ImageFeatures":
        """Every image `times` times in a row: for several prompts on each image of a batch."""
        rows = torch.arange(len(self.embedding), device=self.embedding.device).repeat_interleave(times)
        projected = None if self.projected is None else [p[rows] for p in self.projected]
        return ImageFeatures(self.embedding[rows], [d[rows] for d in self.details], projected)
