"""Frame models: anything that answers pointings on one frame after another, with its answers and its effort."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from .prompt_modes import Pointing


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
