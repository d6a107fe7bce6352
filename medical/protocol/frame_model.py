"""Frame models: anything that answers pointings on one frame after another, with its answers and its effort."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from .prompt_modes import Pointing
from .records import BEST_SCORE, ORACLE, SINGLE

THRESHOLD = 0.5
"""Opacity above which a matte's pixel counts as predicted."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Candidate mattes for one pointing, boxes joined."""

    alphas: Float32[np.ndarray, "c h w"]
    """Opacity in [0, 1]."""
    scores: Float32[np.ndarray, " c"]


@dataclass
class Effort:
    """Counts of a model's work."""

    encodings: int = 0
    """Runs of the image encoder."""
    frames: int = 0
    prompts: int = 0
    encode_seconds: float = 0.0
    prompt_seconds: float = 0.0


@runtime_checkable
class FrameModel(Protocol):
    """Answers pointings on one frame after another."""

    name: str
    effort: Effort
    origin: dict[str, Any]
    """Where it comes from: digest of a checkpoint, parameters of a rival. Part of what a run is."""

    def show(self, frame: UInt8[np.ndarray, "h w 3"], key: int | None = None) -> None:
        """Take an RGB frame for all pointings that follow; a frame shown again under its key costs nothing."""
        ...

    def forget(self) -> None:
        """Drop what is kept of the frames shown under a key."""
        ...

    def answer(self, pointings: Sequence[Pointing], *, multimask: bool = False) -> list[Answer]:
        """Mattes of what each pointing names.

        Raises:
            UnsupportedPrompt: this model does not take such prompts.
        """
        ...


def chosen_mask(answer: dict[str, Answer], candidate: str, reference: np.ndarray) -> Bool[np.ndarray, "h w"] | None:
    """Return the mask of a candidate: the single answer, the best scored, or the one nearest to the reference.

    None where the model has one answer only. Raises ValueError for an unknown candidate.
    """
    if candidate == SINGLE:
        return answer[SINGLE].alphas[0] > THRESHOLD
    if "all" not in answer:
        return None
    several = answer["all"]
    if candidate == BEST_SCORE:
        return several.alphas[int(several.scores.argmax())] > THRESHOLD
    if candidate != ORACLE:
        raise ValueError(f"no candidate {candidate!r} is known")
    masks = several.alphas > THRESHOLD
    shared, united = (masks & reference).sum((1, 2)), (masks | reference).sum((1, 2))
    return masks[int((shared / np.maximum(united, 1)).argmax())]
