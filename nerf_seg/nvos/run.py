"""Task by task: open the scene's field, segment with each model and seed, score; finished rows are not done again."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float32

from zim_plugins.cli.runtime import EXPECTED_FAULTS, one_line
from zim_plugins.core import Predictor, write_image
from zim_plugins.evaluation import Record, ResultStore, Row, model_slug

from ..field.gaussians.scene import SplatScene
from ..segmentation.estimators import Estimator
from ..segmentation.object_field import ObjectInScene
from ..segmentation.predictors import reference_alpha
from ..segmentation.reference_prompt import ReferencePrompt
from ..segmentation.segmenter import Segmenter, SegmenterConfig
from ..segmentation.views import View, ViewSource
from .datasets import LabelError, Scribbles, Task, read_mask
from .metrics import score_views, upsampled
from .panel_images import Panel, draw_row
from .scene_lookup import STRICT, Found, MissingNerf, find_field, match_view, train_command
from .scribbles import check_shape, scribble_prompt

logger = logging.getLogger(__name__)


@runtime_checkable
class OpenScene(Protocol):
    """A trained field with its views, as far as a run needs it: a NeRF's `Scene` or a `SplatScene`."""

    @property
    def kind(self) -> str:
        """One of `published.FIELDS`."""
        ...

    @property
    def source(self) -> ViewSource:
        """The training views."""
        ...

    @property
    def names(self) -> list[str]:
        """File names of all images, held-out ones too."""
        ...

    def view_of(self, name: str) -> View:
        """Any image's view."""
        ...

    def new_object(self, estimator: Estimator, view: View, alpha: Float32[np.ndarray, "h w"]) -> ObjectInScene:
        """An empty field for the object that a matte of the reference view covers."""
        ...


@dataclass(frozen=True)
class Plan:
    """Work of a run; a row is done again when its labels or its field have changed."""

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
    draw: bool = True
    field: str = "auto"
    """One of `scene_lookup.CHOICES`."""
    splat_size: int = 480
    """Longer side that photographs of splats are worked at [px]."""

    def store(self, model: str) -> ResultStore:
        """Return the place of one model's rows, each a file by task and seed."""
        names = ("task", "model", "seed", "failure", "iou")
        return ResultStore(self.out, model_slug(model), "a label or the field", names)

    def signature(self, model: str) -> dict[str, Any]:
        """Return all that scores depend on besides seed, protocol, labels and NeRF."""
        how = {name: value for name, value in self.model_options.items() if name != "device"}
        how |= asdict(self.segmenter) | {"pictures": self.draw}
        return {"model": model, "sha256": self.models[model], **how}


def run(
    plan: Plan,
    open_scene: Callable[[Found], OpenScene],
    load_model: Callable[[str], Predictor],
    tick: Callable[[], object],
) -> list[Row]:
    """Do what is left of a plan; `tick` is called for each row.

    Returns:
        A row for each task, model and seed, in this order; `failure` says why one has no scores.
    """
    open_scene = lru_cache(maxsize=1)(open_scene)
    load_model = lru_cache(maxsize=None)(load_model)
    rows = []
    for task, model, seed in product(plan.tasks, plan.models, plan.seeds):
        row: Row = {"task": task.name, "model": model, "seed": seed, "protocol": plan.protocol, "failure": None}
        try:
            place = find_field(plan.nerfs, task, plan.protocol, plan.captures[task.capture], plan.field)
            row |= {"scene": str(place.path), "digest": _digest(plan, task, place)}
            store, unit = plan.store(model), f"{model_slug(task.name)}/{plan.protocol}_{seed}"
            _, finished = store.find(unit, row["digest"])
            if finished is not None:
                (row,) = finished.rows
            else:
                row |= segment(plan, task, open_scene(place), load_model(model), model, seed)
                store.write(unit, Record.of([row], row["digest"]))
                logger.info("%s, %s, seed %d: IoU %.4f", task.name, model, seed, row["iou"])
        except EXPECTED_FAULTS as error:
            row["failure"] = {"kind": type(error).__name__, "message": one_line(error)}
        rows.append(row)
        tick()
    return rows


def segment(plan: Plan, task: Task, scene: OpenScene, predictor: Predictor, model: str, seed: int) -> Row:
    """One object with one model and seed: from the prompt to scores, masks and an image.

    Raises:
        ZimError: a label or view is missing or does not fit, or the field is the other protocol's.
    """
    start_s = time.perf_counter()
    capture = plan.captures[task.capture]
    reference = match_view(task.reference, scene.names, capture, scene.kind)
    targets = [match_view(target.view, scene.names, capture, scene.kind) for target in task.targets]
    if isinstance(scene, SplatScene):
        check_splat(plan, scene, reference, targets)
        scene = scene.hiding(targets) if plan.protocol == STRICT else scene
    else:
        check_protocol(plan, task, scene.source.names, reference, targets)
    truths = [read_mask(target.mask) for target in task.targets]
    prompted = scene.view_of(reference)
    for target, truth in zip(task.targets, truths, strict=True):
        check_shape(target.mask, truth.shape, prompted.samples.size)
    prompt = _prompt(task, reference, prompted.samples.size, seed)

    # A grid lies round the object, as in `ns-train sa3d-zim`; its refinement is not for Gaussians, as in `zim-splat`.
    config = plan.segmenter if scene.kind == "NeRF" else replace(plan.segmenter, sweeps=0)
    alpha = reference_alpha(predictor, prompt, reference, prompted.image)
    found = scene.new_object(config.build_estimator(), prompted, alpha)
    segmenter = Segmenter(config, found.field, predictor, prompt, found.source.names)
    seconds = segmenter.run(found.source)

    clicks = prompt.prompt(prompted.samples.size) if prompt.matte is None else None
    panels = [Panel(reference, prompted.image, found.field.render(found.placed(prompted).samples), prompt=clicks)]
    answers: list[Bool[np.ndarray, "_ _"]] = []
    for name, truth in zip(targets, truths, strict=True):
        view = scene.view_of(name)
        seen = found.field.look(found.placed(view).samples)
        answers.append(upsampled(seen.score, (truth.shape[0], truth.shape[1])) > 0)
        panels.append(Panel(name, view.image, seen.alpha, truth=truth, answer=answers[-1]))
    stem = f"{model_slug(model)}/{model_slug(task.name)}_{plan.protocol}_{seed}"
    row: Row = asdict(score_views(answers, truths))
    row["masks"] = [f"masks/{stem}_{Path(name).stem}.png" for name in targets]
    for path, answer in zip(row["masks"], answers, strict=True):
        write_image(plan.out / path, answer * np.uint8(255))
    if plan.draw:
        row["picture"] = f"pictures/{stem}.jpg"
        draw_row(plan.out / row["picture"], panels)
    if isinstance(scene, SplatScene):
        row["psnr_db"] = round(float(np.median(list(scene.psnr.values()))), 2)
    return row | {
        "field": scene.kind,
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


def check_splat(plan: Plan, scene: SplatScene, reference: str, targets: Sequence[str]) -> None:
    """Raise MissingNerf where a splat's capture lacks what the protocol shows, or trained on what it hides."""
    shown = set(scene.source.names)
    wanted = {reference} if plan.protocol == STRICT else {reference, *targets}
    if missing := sorted(wanted - shown):
        why = "was not trained on" if set(missing) & scene.hidden else "has no photograph of"
        raise MissingNerf(f"the splat {why} {', '.join(missing)}, which protocol {plan.protocol} shows to it")
    if plan.protocol == STRICT and scene.trains_on and (seen := sorted(set(targets) & shown)):
        raise MissingNerf(f"the splat was trained on {', '.join(seen)}, which {STRICT} hides from it: hold them out")


def _prompt(task: Task, reference: str, size: tuple[int, int], seed: int) -> ReferencePrompt:
    if isinstance(task.prompt, Scribbles):
        clicks = scribble_prompt(task.prompt, size, seed).to_json()["points"]
        return ReferencePrompt(view=reference, points=tuple((x, y, label) for x, y, label in clicks))
    mask = read_mask(task.prompt)
    check_shape(task.prompt, mask.shape, size)
    shares = PIL.Image.fromarray(mask.astype(np.float32)).resize((size[1], size[0]), PIL.Image.Resampling.BOX)
    return ReferencePrompt(view=reference, matte=np.array(shares).clip(0, 1))


def _digest(plan: Plan, task: Task, place: Found) -> str:
    """Return a digest of the labels and the field; checkpoints and photographs count by name, size and time."""
    digest = hashlib.sha256(json.dumps(task.reference).encode())
    fields = [place.path] if place.splat is None else place.splat.files()
    for path in (*task.files(), *fields):
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise LabelError(f"{path} cannot be read: {error.strerror}") from error
    if place.splat is None:
        others = sorted(place.path.parent.rglob("*.ckpt"))
    else:
        digest.update(f"{plan.splat_size}".encode())
        others = sorted(path for path in place.splat.images.rglob("*") if path.is_file())
    for path in others:
        digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()[:16]
