"""Segmenter: visits views one by one and fills the grid with the object that the reference view names."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from zim_plugins.core import Predictor, Prompt
from zim_plugins.imaging import from_unit, unit_values

from .agreement import agreement, soft_iou
from .contact_sheet import SheetRow
from .estimators import Estimator, MatteEstimator, Sa3dEstimator
from .mask_grid import MaskGrid
from .matting import alphas_by_prompt, candidate_alphas, matte_through_gate
from .object_field import ObjectField
from .reference_prompt import ReferencePrompt
from .refinement import MattedView, refine
from .rendering import Rendering
from .self_prompting import self_prompt, without_click
from .views import View, ViewSource


@dataclass(frozen=True)
class SegmenterConfig:
    """Options of carrying an object from the reference view into 3D.

    >>> SegmenterConfig(passes=1).estimator
    'matte'
    """

    estimator: Literal["matte", "sa3d"] = "matte"
    """matte: bounded and order-free; sa3d: the paper's linear loss."""
    lamb: float = 1.0
    """sa3d: weight of the loss outside the matte; 1.0 is the authors' default, 0.15 the paper's."""
    reference_lamb: float | None = None
    """sa3d: the same in the reference view, where the authors' code has 5.0; `lamb` by default."""
    iou_threshold: float = 0.5
    """Soft IoU of matte and rendering below which a view is rejected."""
    max_area_ratio: float = 3.0
    """Area of the matte over that of the rendering above which a view is rejected."""
    passes: int = 2
    """How often all views are visited; each pass after the first prompts from what the one before it gathered."""
    prompting: Literal["points", "box"] = "box"
    """What is shown to the 2D model in views other than the reference: the rendering's box with a click in the middle
    of its largest part, or SA3D's clicks."""
    num_prompts: int = 10
    """Positive clicks per view at most."""
    num_negatives: int = 3
    """Negative clicks per view at most, beside positive ones; 0 in the paper."""
    anchor_share: float = 0.25
    """matte: weight of the reference view as a share of the number of views, at least that of one view. What it shows
    is certain; without that weight a few views that take in more than the object outvote it, and the object grows."""
    sweeps: int = 10
    """matte: sweeps of the refinement at the end; 0 leaves it out."""

    def __post_init__(self) -> None:
        if self.passes < 1 or self.num_prompts < 1 or min(self.num_negatives, self.sweeps, self.anchor_share) < 0:
            raise ValueError(
                f"passes and num_prompts are at least 1, num_negatives, sweeps and anchor_share at least 0: {self}"
            )

    def build_estimator(self) -> Estimator:
        """The estimator that the grid is made with."""
        return MatteEstimator() if self.estimator == "matte" else Sa3dEstimator(self.lamb)


@dataclass(frozen=True)
class VisitRecord:
    """Record of one view in one pass; all of it goes into the report."""

    view: str
    pass_index: int
    """1 for the first pass."""
    prompt: dict[str, Any]
    """As `Prompt.to_json` writes it; empty where there was none, or a matte was given."""
    soft_iou: float | None
    """Of matte and rendering; None in the reference view and where there was no matte."""
    accepted: bool
    reason: str
    """Why the view was rejected; empty where it was accepted."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: matting, prompting, accumulation."""


class Segmenter:
    """One object, one visit at a time.

    >>> from nerf_seg.segmentation.matting import OraclePredictor
    >>> from nerf_seg.segmentation.views import ViewSamples
    >>> ys, xs = torch.meshgrid((torch.arange(8) + 0.5) / 8, (torch.arange(8) + 0.5) / 8, indexing="ij")
    >>> wall, ones = torch.stack([xs, ys, torch.full_like(xs, 0.5)], dim=-1).reshape(64, 1, 3), torch.ones(64, 1)
    >>> view = View("a", np.zeros((8, 8, 3), np.uint8), ViewSamples(wall, ones, ones[:, 0], ones[:, 0], (8, 8)))
    >>> left = OraclePredictor(lambda name: np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 8, axis=0).astype(np.float32))
    >>> click = ReferencePrompt(points=((2, 4, 1),))
    >>> segmenter = Segmenter(SegmenterConfig(passes=1, sweeps=0), MaskGrid(9), left, click, ["a"])
    >>> segmenter.visit(view).accepted
    True
    >>> segmenter.grid.render(view.samples)[4].round().astype(int).tolist()
    [1, 1, 1, 1, 0, 0, 0, 0]

    Args:
        config: options.
        grid: field of the object, filled in place; made with `config.build_estimator()`.
        predictor: mattes the images.
        reference: what the user points at: in one view, or in several, each named.
        names: the views' names in capture order.

    Raises:
        ValueError: the reference view is none of `names`, or the grid has another estimator.
    """

    def __init__(
        self,
        config: SegmenterConfig,
        grid: ObjectField,
        predictor: Predictor,
        reference: ReferencePrompt | Sequence[ReferencePrompt],
        names: Sequence[str],
    ) -> None:
        if grid.estimator != config.build_estimator():
            raise ValueError(f"the grid is made for {grid.estimator}, the options ask for {config.build_estimator()}")
        self.config = config
        self.grid = grid
        self.predictor = predictor
        self.names = list(names)
        prompted = [reference] if isinstance(reference, ReferencePrompt) else list(reference)
        self.references = {one.index(self.names): one for one in prompted}
        if not prompted or len(self.references) < len(prompted):
            raise ValueError("each prompted view is given once, and at least one is given")
        self.records: list[VisitRecord] = []
        self.residuals: list[float] | None = None
        self._reference_index = next(iter(self.references))
        self._alphas: dict[str, UInt8[np.ndarray, "h w"]] = {}
        self._next_sums: torch.Tensor | None = None

    @property
    def order(self) -> list[int]:
        """Indices of the views in visiting order, all passes: the prompted ones, then their neighbours outwards."""
        others = [index for index in range(len(self.names)) if index not in self.references]
        others.sort(key=lambda i: (min(abs(i - prompted) for prompted in self.references), -i))
        return [*self.references, *others] * self.config.passes

    @property
    def done(self) -> int:
        """Visits made; the next is of view `order[done]`."""
        return len(self.records)

    @property
    def complete(self) -> bool:
        """Return whether all visits are made and the grid is refined, if it is to be."""
        to_refine = self.config.estimator == "matte" and self.config.sweeps > 0
        return self.done == len(self.order) and not (to_refine and self.residuals is None)

    @property
    def latest(self) -> dict[str, VisitRecord]:
        """Each visited view's record in its latest pass."""
        return {record.view: record for record in self.records}

    def alpha(self, name: str) -> Float32[np.ndarray, "h w"] | None:
        """The 2D matte of a view's latest visit, to 8 bits; None where the view had none."""
        stored = self._alphas.get(name)
        return None if stored is None else unit_values(stored)

    def visit(self, view: View) -> VisitRecord:
        """Matte the next view and accumulate it, or say why not.

        Raises:
            ValueError: it is not this view's turn; or it is the reference view and its prompt does not fit, or yields
                an empty matte.
        """
        if self.done >= len(self.order) or view.name != self.names[self.order[self.done]]:
            turn = self.names[self.order[self.done]] if self.done < len(self.order) else "nobody, all visits are made"
            raise ValueError(f"it is not the turn of {view.name}: next is {turn}")
        in_pass = self.done % len(self.names)
        if in_pass == 0 and self.done > 0 and self.config.estimator == "matte":
            self._next_sums = torch.zeros_like(self.grid.sums)
        prompted = self.references.get(self.names.index(view.name))
        record = self._visit_other(view) if prompted is None else self._visit_reference(view, prompted)
        self.records.append(record)
        if in_pass == len(self.names) - 1 and self._next_sums is not None:
            self.grid.sums.copy_(self._next_sums)
            self._next_sums = None
        return record

    def run(self, source: ViewSource) -> dict[str, float]:
        """Make all visits that are left, and refine.

        Returns:
            Seconds by stage; `views` is what rendering them, or reading them, took.
        """
        seconds: defaultdict[str, float] = defaultdict(float)
        for index in self.order[self.done :]:
            with _timed(seconds, "views"):
                view = source.view(index)
            for stage, spent_s in self.visit(view).seconds.items():
                seconds[stage] += spent_s
        with _timed(seconds, "refinement"):
            self.refine(source)
        return dict(seconds)

    def refine(self, source: ViewSource) -> None:
        """Refine the grid once all visits are made; does nothing where the options leave it out, or it is done."""
        if self.done < len(self.order):
            raise ValueError(f"{self.done} of {len(self.order)} visits are made: the grid is refined after the last")
        if self.complete:
            return
        if not isinstance(self.grid, MaskGrid):
            raise ValueError("only a mask grid is refined: set sweeps to 0")
        views = (
            MattedView(
                samples=source.view(self.names.index(record.view)).samples,
                alpha=unit_values(self._alphas[record.view]),
                weight=1.0 if record.soft_iou is None else record.soft_iou,
                certain=record.soft_iou is None,
            )
            for record in self.latest.values()
            if record.accepted
        )
        self.residuals = refine(self.grid, views, sweeps=self.config.sweeps)

    def matte_view(self, view: View) -> Float32[np.ndarray, "h w"]:
        """Return an output view's matte by the 2D model under the 3D gate; of a prompted view the prompt's own matte.

        Zeros where the 3D matte shows no object.
        """
        own = self.alpha(view.name) if view.name in self.names else None
        if own is not None and self.names.index(view.name) in self.references:
            return own
        rendering = self.grid.look(view.samples)
        prompt = self._prompt(view, rendering)
        if prompt is None:
            return np.zeros_like(rendering.alpha)
        return matte_through_gate(self.predictor, view, rendering.alpha, prompt)

    def sheet(self, source: ViewSource) -> list[SheetRow]:
        """The visited views in capture order, with their latest prompts and mattes, for `contact_sheet`."""
        rows = []
        for index, name in enumerate(self.names):
            if name not in self.latest:
                continue
            view, record = source.view(index), self.latest[name]
            agreed = "reference view" if record.soft_iou is None else f"soft IoU {record.soft_iou:.2f}"
            rows.append(
                SheetRow(
                    name=name,
                    image=view.image,
                    prompt=record.prompt,
                    alpha_2d=self.alpha(name),
                    alpha_3d=self.grid.render(view.samples),
                    accepted=record.accepted,
                    caption=agreed if record.accepted else record.reason,
                )
            )
        return rows

    def report(self) -> dict[str, Any]:
        """Options, visits and times, ready for JSON."""
        stages = sorted({stage for record in self.records for stage in record.seconds})
        accepted = [record for record in self.latest.values() if record.accepted]
        return {
            "options": asdict(self.config),
            "reference_view": self.names[self._reference_index],
            "prompted_views": [self.names[index] for index in self.references],
            "views": len(self.names),
            "accepted": len(accepted),
            "seconds": {stage: sum(record.seconds.get(stage, 0.0) for record in self.records) for stage in stages},
            "refinement_residuals": self.residuals,
            "visits": [asdict(record) for record in self.records],
        }

    def state_dict(self) -> dict[str, Any]:
        """All that a killed run needs to continue exactly: tensors, texts and numbers only."""
        return {
            "options": asdict(self.config),
            "names": list(self.names),
            "reference_indices": list(self.references),
            "sums": self.grid.sums,
            "next_sums": self._next_sums,
            "records": [asdict(record) for record in self.records],
            "residuals": self.residuals,
            "alphas": {name: torch.from_numpy(alpha) for name, alpha in self._alphas.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: it was taken with other options, other views or another reference view.
        """
        here = self.state_dict()
        for key in ("options", "names", "reference_indices"):
            if state.get(key) != here[key]:
                raise ValueError(f"the stored run is another: its {key} are {state.get(key)}, here {here[key]}")
        self.grid.sums.copy_(state["sums"])
        self._next_sums = None if state["next_sums"] is None else state["next_sums"].to(self.grid.sums, copy=True)
        self.records = [VisitRecord(**record) for record in state["records"]]
        self.residuals = state["residuals"]
        self._alphas = {name: alpha.cpu().numpy().copy() for name, alpha in state["alphas"].items()}

    def _visit_reference(self, view: View, reference: ReferencePrompt) -> VisitRecord:
        seconds: dict[str, float] = {}
        given = reference.matte
        reference.check(view.samples.size)
        prompt = reference.prompt(view.samples.size) if given is None else None
        with _timed(seconds, "matting"):
            if view.name not in self._alphas:  # in a later pass it is known
                alpha = given if prompt is None else candidate_alphas(self.predictor, view, prompt)[0]
                if alpha is None or alpha.max() <= 0.5:
                    raise ValueError(f"the prompt in {view.name} yields an empty matte: point elsewhere")
                self._keep(view.name, alpha)
        estimator = self.grid.estimator
        if isinstance(estimator, Sa3dEstimator) and self.config.reference_lamb is not None:
            estimator = replace(estimator, lamb=self.config.reference_lamb)
        with _timed(seconds, "accumulation"):
            share = self.config.anchor_share * len(self.names) / len(self.references)
            self._accumulate(view, max(1.0, share), estimator)
        return self._record(view, prompt, None, "", seconds)

    def _visit_other(self, view: View) -> VisitRecord:
        seconds: dict[str, float] = {}
        self._alphas.pop(view.name, None)
        with _timed(seconds, "prompting"):
            rendering = self.grid.look(view.samples)
            prompt = self._prompt(view, rendering)
        if prompt is None:
            return self._record(view, None, None, "the rendering shows no object to prompt for", seconds)
        with _timed(seconds, "matting"):
            found_by = [prompt, *without_click(prompt)]
            by_prompt = alphas_by_prompt(self.predictor, view, found_by)
            alphas = np.concatenate(by_prompt)
        with _timed(seconds, "prompting"):
            # SA3D compares masks: there the rendering is one.
            judged = (alphas > 0.5).astype(np.float32) if self.config.estimator == "sa3d" else alphas
            best = int(np.argmax([soft_iou(a, rendering.alpha, rendering.observed) for a in judged]))
            prompt = [one for one, own in zip(found_by, by_prompt, strict=True) for _ in own][best]
            found = agreement(judged[best], rendering)
            fault = found.fault(self.config.iou_threshold, self.config.max_area_ratio)
        self._keep(view.name, alphas[best])
        if not fault:
            with _timed(seconds, "accumulation"):
                self._accumulate(view, found.soft_iou, self.grid.estimator)
        return self._record(view, prompt, found.soft_iou, fault, seconds)

    def _prompt(self, view: View, rendering: Rendering) -> Prompt | None:
        depth = view.samples.depth.reshape(view.samples.size).to("cpu", torch.float32).numpy()
        return self_prompt(
            rendering,
            depth,
            prompting=self.config.prompting,
            num_prompts=self.config.num_prompts,
            num_negatives=self.config.num_negatives,
            centred=self.config.estimator == "matte",
        )

    def _keep(self, name: str, alpha: Float32[np.ndarray, "h w"]) -> None:
        """Remember a matte, to 8 bits: that is what is accumulated, shown, refined with and stored."""
        self._alphas[name] = from_unit(alpha, halves_up=True)

    def _accumulate(self, view: View, weight: float, estimator: Estimator) -> None:
        alpha = self.alpha(view.name)
        assert alpha is not None
        sums = self.grid.sums if self._next_sums is None else self._next_sums
        estimator.fold(sums, self.grid.scattered(view.samples, estimator.ray_values(self.grid.flat(alpha), weight)))

    def _record(
        self, view: View, prompt: Prompt | None, iou: float | None, reason: str, seconds: dict[str, float]
    ) -> VisitRecord:
        return VisitRecord(
            view=view.name,
            pass_index=1 + self.done // len(self.names),
            prompt={} if prompt is None else prompt.to_json(),
            soft_iou=iou,
            accepted=not reason,
            reason=reason,
            seconds=seconds,
        )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add what the block takes to the stage's seconds."""
    start_s = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start_s
