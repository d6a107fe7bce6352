"""Segmenter: visits views one by one and fills the grid with the object that the reference view names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from zim_plugins.core import Predictor

from .mask_grid import MaskGrid
from .reference import ReferencePrompt
from .view import View


@dataclass(frozen=True)
class SegmenterConfig:
    """How an object is carried from the reference view into 3D."""

    estimator: Literal["matte", "sa3d"] = "matte"
    lamb: float = 1.0
    iou_threshold: float = 0.5
    passes: int = 2
    num_prompts: int = 10
    num_negatives: int = 3
    prompting: Literal["points", "box"] = "points"


@dataclass(frozen=True)
class VisitRecord:
    """What happened to one view in one pass; all of it goes into the report."""

    view: str
    pass_index: int
    """1 for the first pass."""
    prompt: dict[str, Any]
    """As `Prompt.to_json` writes it."""
    soft_iou: float | None
    """Of matte and rendering; None in the reference view and where there was no matte."""
    accepted: bool
    reason: str
    """Why the view was rejected; empty where it was accepted."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: matting, prompting, accumulation."""


class Segmenter:
    """One object, one visit at a time.

    Args:
        config: options.
        grid: filled in place.
        predictor: mattes the pictures.
        reference: what the user points at.
        names: the views' names in capture order.

    Raises:
        ValueError: the reference view is none of `names`.
    """

    def __init__(
        self,
        config: SegmenterConfig,
        grid: MaskGrid,
        predictor: Predictor,
        reference: ReferencePrompt,
        names: Sequence[str],
    ) -> None:
        self.config = config
        self.grid = grid
        self.predictor = predictor
        self.reference = reference
        self.names = list(names)
        self.records: list[VisitRecord] = []

    @property
    def order(self) -> list[int]:
        """Indices of the views in visiting order, all passes: the reference first, then its neighbours outwards."""
        raise NotImplementedError

    @property
    def done(self) -> int:
        """Visits made; the next is of view `order[done]`."""
        return len(self.records)

    def visit(self, view: View) -> VisitRecord:
        """Matte the next view and accumulate it, or say why not."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """All that a killed run needs to continue exactly: tensors, texts and numbers only."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        raise NotImplementedError
