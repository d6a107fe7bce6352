"""Task by task: open the scene's NeRF, segment with each model and seed, score; finished rows are not done again."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import PIL.Image
from jaxtyping import Bool

from zim_plugins.cli.runtime import EXPECTED_FAULTS, one_line
from zim_plugins.core import Predictor, write_image
from zim_plugins.evaluation.models import model_slug
from zim_plugins.evaluation.results import Record, ResultStore, Row

from ..field.scene import BoxedViews, boxed, domain_around
from ..segmentation.estimators import Estimator
from ..segmentation.mask_grid import Domain, MaskGrid
from ..segmentation.predictors import reference_alpha
from ..segmentation.reference_prompt import ReferencePrompt
from ..segmentation.segmenter import Segmenter, SegmenterConfig
from ..segmentation.views import View, ViewSource
from .datasets import LabelError, Scribbles, Task, read_mask
from .metrics import score_views, upsampled
from .pictures import Panel, draw_row
from .scene_lookup import STRICT, MissingNerf, find_nerf, match_view, train_command
from .scribbles import check_shape, scribble_prompt

logger = logging.getLogger(__name__)


@runtime_checkable
class OpenScene(Protocol):
    """Methods of `nerf_seg.field.scene.Scene` that a run needs."""

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
    """Work of a run; a row is done again when its labels or its NeRF have changed."""

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

    def store(self, model: str) -> ResultStore:
        """Return the place of one model's rows, each a file by task and seed."""
        names = ("task", "model", "seed", "failure", "iou")
        return ResultStore(self.out, model_slug(model), "a label or the NeRF", names)

    def signature(self, model: str) -> dict[str, Any]:
        """Return all that scores depend on besides seed, protocol, labels and NeRF."""
        how = {name: value for name, value in self.model_options.items() if name != "device"}
        how |= asdict(self.segmenter) | {"pictures": self.pictures}
        return {"model": model, "sha256": self.models[model], **how}


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
    open_scene = lru_cache(maxsize=1)(open_scene)
    load_model = lru_cache(maxsize=None)(load_model)
    rows = []
    for task, model, seed in product(plan.tasks, plan.models, plan.seeds):
        row: Row = {"task": task.name, "model": model, "seed": seed, "protocol": plan.protocol, "failure": None}
        try:
            config = find_nerf(plan.nerfs, task, plan.protocol, plan.captures[task.capture])
            row |= {"nerf": str(config), "digest": _digest(task, config)}
            store, unit = plan.store(model), f"{model_slug(task.name)}/{plan.protocol}_{seed}"
            _, finished = store.find(unit, row["digest"])
            if finished is not None:
                (row,) = finished.rows
            else:
                row |= segment(plan, task, open_scene(config), load_model(model), model, seed)
                store.write(unit, Record.of([row], row["digest"]))
                logger.info("%s, %s, seed %d: IoU %.4f", task.name, model, seed, row["iou"])
        except EXPECTED_FAULTS as error:
            row["failure"] = {"kind": type(error).__name__, "message": one_line(error)}
        rows.append(row)
        tick()
    return rows


def segment(plan: Plan, task: Task, scene: OpenScene, predictor: Predictor, model: str, seed: int) -> Row:
    """One object with one model and seed: from the prompt to scores, masks and a picture.

    Raises:
        ZimError: a label or view is missing or does not fit, or the NeRF is the other protocol's.
    """
    start_s = time.perf_counter()
    reference = match_view(task.reference, scene.names, plan.captures[task.capture])
    targets = [match_view(target.view, scene.names, plan.captures[task.capture]) for target in task.targets]
    check_protocol(plan, task, scene.source.names, reference, targets)
    truths = [read_mask(target.mask) for target in task.targets]
    prompted = scene.view_of(reference)
    for target, truth in zip(task.targets, truths, strict=True):
        check_shape(target.mask, truth.shape, prompted.samples.size)
    prompt = _prompt(task, reference, prompted.samples.size, seed)

    # The grid lies round the object, as in `ns-train sa3d-zim`.
    domain = domain_around(prompted.samples, reference_alpha(predictor, prompt, reference, prompted.image))
    grid = scene.new_grid(plan.segmenter.build_estimator(), domain=domain)
    source = BoxedViews(scene.source, domain)
    segmenter = Segmenter(plan.segmenter, grid, predictor, prompt, source.names)
    seconds = segmenter.run(source)

    clicks = prompt.prompt(prompted.samples.size) if prompt.matte is None else None
    panels = [Panel(reference, prompted.image, grid.render(boxed(prompted.samples, domain)), prompt=clicks)]
    answers: list[Bool[np.ndarray, "_ _"]] = []
    for name, truth in zip(targets, truths, strict=True):
        view = scene.view_of(name)
        seen = grid.look(boxed(view.samples, domain))
        answers.append(upsampled(seen.score, (truth.shape[0], truth.shape[1])) > 0)
        panels.append(Panel(name, view.image, seen.alpha, truth=truth, answer=answers[-1]))
    stem = f"{model_slug(model)}/{model_slug(task.name)}_{plan.protocol}_{seed}"
    row: Row = asdict(score_views(answers, truths))
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
        "visits": segmenter.done,
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
    shares = PIL.Image.fromarray(mask.astype(np.float32)).resize((size[1], size[0]), PIL.Image.Resampling.BOX)
    return ReferencePrompt(view=reference, matte=np.array(shares).clip(0, 1))


def _digest(task: Task, config: Path) -> str:
    """Return a digest of the labels and the NeRF; checkpoints count by name, size and time."""
    digest = hashlib.sha256(json.dumps(task.reference).encode())
    for path in (*task.files(), config):
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise LabelError(f"{path} cannot be read: {error.strerror}") from error
    for path in sorted(config.parent.rglob("*.ckpt")):
        digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()[:16]
