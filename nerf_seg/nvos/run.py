"""Task by task: open the scene's NeRF, segment with each model and seed, score; what is finished is not done again."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from zim_plugins.commands.session import EXPECTED_FAULTS, one_line
from zim_plugins.core import Predictor, write_image
from zim_plugins.evaluation.models import model_slug
from zim_plugins.evaluation.report import write_report as write_json

from ..estimators import Estimator
from ..mask_grid import Domain, MaskGrid
from ..matting import candidate_alphas
from ..reference import ReferencePrompt
from ..scene import BoxedViews, boxed, domain_around
from ..segmenter import Segmenter, SegmenterConfig
from ..view import View, ViewSource
from .datasets import LabelError, Scribbles, Task, read_mask
from .metrics import score_views, upsampled
from .pictures import Panel, draw_row
from .places import STRICT, MissingNerf, find_nerf, match_view, train_command
from .scribbles import check_shape, scribble_prompt

logger = logging.getLogger(__name__)

Row = dict[str, Any]


@runtime_checkable
class OpenScene(Protocol):
    """What is asked of `nerf_seg.scene.Scene`."""

    @property
    def source(self) -> ViewSource:
        """The training views."""
        ...

    @property
    def names(self) -> list[str]:
        """File names of all pictures, held-out ones too."""
        ...

    def view_of(self, name: str) -> View:
        """Any picture's view, its samples in the contracted cube."""
        ...

    def new_grid(self, estimator: Estimator, *, domain: Domain) -> MaskGrid:
        """An empty grid for one object."""
        ...


@dataclass(frozen=True)
class Plan:
    """What is asked for; a row is done again when any of it, its labels or its NeRF have changed."""

    tasks: tuple[Task, ...]
    models: dict[str, str | None]
    """Digests of checkpoints by name; None where a model has none."""
    seeds: tuple[int, ...]
    protocol: str
    segmenter: SegmenterConfig
    model_options: dict[str, Any]
    nerfs: Path
    captures: dict[str, Path | None]
    """Folders of the captures by name, where they are known."""
    out: Path
    pictures: bool = True


def run(
    plan: Plan,
    open_scene: Callable[[Path], OpenScene],
    load_model: Callable[[str], Predictor],
    tick: Callable[[], object],
) -> list[Row]:
    """Do what is left of a plan.

    Args:
        plan: what to do.
        open_scene: opens a NeRF by its config.yml.
        load_model: makes a predictor by name.
        tick: called for each row.

    Returns:
        A row for each task, model and seed, in this order; `failure` says why one has no scores.
    """
    rows: list[Row] = []
    predictors: dict[str, Predictor] = {}
    for capture in dict.fromkeys(task.capture for task in plan.tasks):
        scene: OpenScene | None = None
        for task in (task for task in plan.tasks if task.capture == capture):
            try:
                config = find_nerf(plan.nerfs, task, plan.protocol, plan.captures[capture])
                digest = _digest(plan, task, config)
            except EXPECTED_FAULTS as error:
                rows += [_failed(plan, task, model, seed, error, tick) for model, seed in _pairs(plan)]
                continue
            for model, seed in _pairs(plan):
                path = plan.out / "rows" / model_slug(model) / model_slug(task.name) / f"{plan.protocol}_{seed}.json"
                row = _finished(path, f"{digest}-{plan.models[model]}")
                try:
                    if row is None:
                        scene = open_scene(config) if scene is None else scene
                        predictor = predictors[model] if model in predictors else load_model(model)
                        predictors[model] = predictor
                        row = {"digest": f"{digest}-{plan.models[model]}", "nerf": str(config)}
                        row |= _named(plan, task, model, seed)
                        row |= segment(plan, task, scene, predictor, model, seed) | {"failure": None}
                        write_json(path, row)
                        logger.info("%s, %s, seed %d: IoU %.4f", task.name, model, seed, row["iou"])
                    tick()
                except EXPECTED_FAULTS as error:
                    row = _failed(plan, task, model, seed, error, tick)
                rows.append(row)
    return rows


def segment(plan: Plan, task: Task, scene: OpenScene, predictor: Predictor, model: str, seed: int) -> Row:
    """One object with one model and seed: from the prompt to scores and a picture.

    Raises:
        ZimError: a label or view is missing or does not fit, or the NeRF is the other protocol's.
    """
    start_s = time.perf_counter()
    names = list(scene.source.names)
    reference = match_view(task.reference, scene.names, plan.captures[task.capture])
    targets = [match_view(target.view, scene.names, plan.captures[task.capture]) for target in task.targets]
    check_protocol(plan, task, names, reference, targets)
    truths = [read_mask(target.mask) for target in task.targets]
    prompted = scene.view_of(reference)
    check_shape(task.targets[0].mask, truths[0].shape, prompted.samples.size)
    prompt = _prompt(task, reference, prompted.samples.size, seed)

    # The grid lies round the object, as in `ns-train sa3d-zim`.
    size = prompted.samples.size
    alpha = candidate_alphas(predictor, prompted, prompt.prompt(size))[0] if prompt.matte is None else prompt.matte
    domain = domain_around(prompted.samples, alpha)
    grid = scene.new_grid(plan.segmenter.build_estimator(), domain=domain)
    source = BoxedViews(scene.source, domain)
    segmenter = Segmenter(plan.segmenter, grid, predictor, prompt, names)
    seconds = {"views": 0.0}
    while segmenter.done < len(segmenter.order):
        before_s = time.perf_counter()
        view = source.view(segmenter.order[segmenter.done])
        seconds["views"] += time.perf_counter() - before_s
        for stage, spent_s in segmenter.visit(view).seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent_s
    before_s = time.perf_counter()
    segmenter.refine(source)
    seconds["refinement"] = time.perf_counter() - before_s

    clicks = prompt.prompt(size) if prompt.matte is None else None
    panels = [Panel(reference, prompted.image, grid.render(boxed(prompted.samples, domain)), prompt=clicks)]
    answers: list[Bool[np.ndarray, "_ _"]] = []
    for target, name, truth in zip(task.targets, targets, truths, strict=True):
        view = scene.view_of(name)
        check_shape(target.mask, truth.shape, view.samples.size)
        seen = grid.look(boxed(view.samples, domain))
        answers.append(upsampled(seen.score, (truth.shape[0], truth.shape[1])) > 0)
        panels.append(Panel(name, view.image, seen.alpha, truth=truth, answer=answers[-1]))
    row: Row = asdict(score_views(answers, truths))
    stem = f"{model_slug(model)}/{model_slug(task.name)}_{plan.protocol}_{seed}"
    row["masks"] = [f"masks/{stem}_{Path(name).stem}.png" for name in targets]
    for path, answer in zip(row["masks"], answers, strict=True):
        write_image(plan.out / path, answer * np.uint8(255))
    if plan.pictures:
        row["picture"] = f"pictures/{stem}.jpg"
        draw_row(plan.out / row["picture"], panels)
    return row | {
        "reference": reference,
        "targets": targets,
        "size": list(prompted.samples.size),
        "truth_size": list(truths[0].shape),
        "clicks": len(prompt.points),
        "visits": len(segmenter.records),
        "rejected": [[r.view, r.pass_index, r.reason] for r in segmenter.records if not r.accepted],
        "seconds": {k: round(v, 3) for k, v in (seconds | {"all": time.perf_counter() - start_s}).items()},
    }


def check_protocol(plan: Plan, task: Task, names: Sequence[str], reference: str, targets: Sequence[str]) -> None:
    """Raise MissingNerf where the NeRF has not seen what the protocol shows to it, or has seen what it hides."""
    hidden = set(targets) if plan.protocol == STRICT else set()
    again = train_command(plan.nerfs, task, plan.protocol, plan.captures[task.capture])
    if seen := sorted(hidden & set(names)):
        raise MissingNerf(f"the NeRF was trained on {', '.join(seen)}, which {STRICT} hides from it; {again}")
    if missing := sorted({reference, *targets} - hidden - set(names)):
        raise MissingNerf(f"the NeRF was not trained on {', '.join(missing)}; {again}")


def _prompt(task: Task, reference: str, size: tuple[int, int], seed: int) -> ReferencePrompt:
    if isinstance(task.prompt, Scribbles):
        clicks = scribble_prompt(task.prompt, size, seed).to_json()["points"]
        return ReferencePrompt(view=reference, points=tuple((x, y, label) for x, y, label in clicks))
    mask = read_mask(task.prompt)
    check_shape(task.prompt, mask.shape, size)
    return ReferencePrompt(view=reference, matte=upsampled(mask.astype(np.float32), size))


def _pairs(plan: Plan) -> Iterator[tuple[str, int]]:
    return ((model, seed) for model in plan.models for seed in plan.seeds)


def _named(plan: Plan, task: Task, model: str, seed: int) -> Row:
    return {"task": task.name, "model": model, "seed": seed, "protocol": plan.protocol}


def _failed(plan: Plan, task: Task, model: str, seed: int, error: Exception, tick: Callable[[], object]) -> Row:
    tick()
    return _named(plan, task, model, seed) | {"failure": {"kind": type(error).__name__, "message": one_line(error)}}


def _finished(path: Path, digest: str) -> Row | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and row.get("digest") == digest else None


def _digest(plan: Plan, task: Task, config: Path) -> str:
    """Of all that scores depend on beside model and seed; the NeRF's checkpoints by name and size."""
    told = json.dumps([asdict(plan.segmenter), plan.model_options, plan.protocol, task.name, task.reference])
    digest = hashlib.sha256(told.encode())
    for path in (*task.files(), config):
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise LabelError(f"{path} cannot be read: {error.strerror}") from error
    for path in sorted(config.parent.rglob("*.ckpt")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:16]
