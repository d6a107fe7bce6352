"""The run: images are read ahead of the model and scored behind it; the rows of each are one file."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.prediction import Prediction
from zim_plugins.core.predictor import Predictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.data.sample import Sample
from zim_plugins.errors import ImageError, UnsupportedPrompt, ZimError
from zim_plugins.evaluation.matting.datasets import EvaluationImage, find_trimap
from zim_plugins.evaluation.matting.scoring import draw_result, read_unknown, score_answer
from zim_plugins.evaluation.models import ModelOptions, model_slug
from zim_plugins.evaluation.prompting import PromptPlan, draw_prompt
from zim_plugins.evaluation.results import Record, ResultStore, Row, files_digest

READ_AHEAD = 3
"""Images read before the model asks for them."""
PROMPTS_AT_ONCE = 16
"""Prompts decoded together at most."""
ROW_NAMES = ("picture", "object", "subset", "model", "prompt", "given", "failure")

Tick = Callable[[], object]
"""Called for each image whose rows are written."""


@dataclass(frozen=True)
class Job:
    """Work of one model; the same for all its worker processes."""

    model: str
    """Its name in the results."""
    model_sha256: str | None
    out: Path
    """Folder of the run."""
    plan: PromptPlan
    options: ModelOptions = ModelOptions()
    profiles: tuple[str, ...] = ("zim",)
    prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Saved prompts that are taken instead of drawn ones, by object and kind."""
    trimaps: Path | None = None
    """Folder of trimaps, for `dim_unknown`."""
    draw: bool = True
    """Whether each result is drawn."""
    scorers: int = 2
    """Threads that score."""

    @property
    def store(self) -> ResultStore:
        """Return the place of the model's rows: of one image, all objects and prompts are one file.

        A row holds image, object, subset, model, prompt, given, and its scores or a failure.
        """
        return ResultStore(self.out, model_slug(self.model), "its image, a matte or a trimap", ROW_NAMES)

    def result_image(self, image: EvaluationImage, number: int, kind: str) -> Path:
        """Return the path of one result's image."""
        return self.out / "pictures" / model_slug(self.model) / f"{image.slug}-{number}-{kind}.jpg"

    def signature(self) -> dict[str, Any]:
        """Return all that rows depend on besides the files of their images."""
        how = {name: value for name, value in asdict(self.options).items() if name != "device"}
        saved = json.dumps(self.prompts, sort_keys=True)
        digest = hashlib.sha256(saved.encode()).hexdigest() if self.prompts else None
        return {
            "model": self.model,
            "sha256": self.model_sha256,
            **how,
            "prompts": asdict(self.plan),
            "prompts_from": digest,
            "profiles": self.profiles,
            "trimaps": self.trimaps,
            "pictures": self.draw,
        }

    def inputs(self, image: EvaluationImage) -> str:
        """Return a digest of all files that the rows of an image depend on."""
        files = list(image.files)
        if self.trimaps is not None:
            files += [path for sample in image.samples if (path := find_trimap(self.trimaps, sample)) is not None]
        return files_digest(files, image.key, image.object_keys)


@dataclass
class Clock:
    """Time that a run spent, by stage."""

    images: int = 0
    model_s: float = 0.0
    """Inside the model's calls [s]."""
    wall_s: float = 0.0

    @property
    def share_outside(self) -> float:
        """Share of the wall time that the model did not work."""
        return 1 - self.model_s / self.wall_s if self.wall_s else 0.0


@dataclass(eq=False)
class _Asked:
    """One object with one prompt, or the reason why it cannot be asked."""

    row: Row
    number: int
    truth: Float32[np.ndarray, "h w"] | None = None
    prompt: Prompt | None = None
    answer: Prediction | None = None
    sample: Sample | None = None


@dataclass(eq=False)
class _Loaded:
    image: EvaluationImage
    rgb: UInt8[np.ndarray, "h w 3"] | None
    asked: list[_Asked]


class _Failed(ValueError):
    """A row cannot be scored."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def evaluate_images(
    predictor: Predictor, images: Sequence[EvaluationImage], job: Job, tick: Tick | None = None
) -> Clock:
    """Ask one model about all objects of the images and write their rows.

    Args:
        images: what is not yet done.
        tick: called for each image whose rows are written.
    """
    clock, start = Clock(), time.perf_counter()
    scoring: deque[Future[EvaluationImage]] = deque()
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(job.scorers, "score") as scorers:
        try:
            for loaded in _read_ahead(reader, images, job):
                clock.model_s += _answer(predictor, loaded)
                scoring.append(scorers.submit(_score, loaded, job))
                while len(scoring) > 2 * job.scorers or (scoring and scoring[0].done()):
                    _finish(scoring.popleft(), clock, tick)
            while scoring:
                _finish(scoring.popleft(), clock, tick)
        finally:
            for future in scoring:
                future.cancel()
    clock.wall_s = time.perf_counter() - start
    return clock


def _finish(future: "Future[EvaluationImage]", clock: Clock, tick: Tick | None) -> None:
    future.result()
    clock.images += 1
    if tick is not None:
        tick()


def _read_ahead(reader: ThreadPoolExecutor, images: Sequence[EvaluationImage], job: Job) -> Iterator[_Loaded]:
    waiting: deque[Future[_Loaded]] = deque()
    for image in images:
        waiting.append(reader.submit(_load, image, job))
        if len(waiting) > READ_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _load(image: EvaluationImage, job: Job) -> _Loaded:
    rgb, unreadable = None, None
    try:
        rgb = image.samples[0].read_image()
    except ImageError as error:
        unreadable = _Failed("unreadable image", str(error))
    asked = []
    for number, (sample, key) in enumerate(zip(image.samples, image.object_keys, strict=True)):
        truth, failed = None, unreadable
        if rgb is not None:
            try:
                truth = _read_truth(sample, (rgb.shape[0], rgb.shape[1]))
            except _Failed as error:
                failed = error
        for kind in job.plan.kinds:
            row: Row = {"picture": image.key, "object": key, "subset": sample.subset, "model": job.model}
            row |= {"prompt": kind, "given": None, "failure": None}
            one = _Asked(row, number, truth, sample=sample)
            if failed is not None or truth is None:
                _note(one, failed or _Failed("unreadable image", "no pixels"))
            else:
                _prompt(one, kind, key, sample, truth, job)
            asked.append(one)
    return _Loaded(image, rgb, asked)


def _read_truth(sample: Sample, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    try:
        truth = sample.read_alpha()
    except ZimError as error:
        raise _Failed("unreadable matte", str(error)) from error
    if truth.shape != size:
        height, width = truth.shape
        raise _Failed("size mismatch", f"the matte is {width}x{height} px, its image {size[1]}x{size[0]} px")
    if truth.max() < 1 / 255:
        raise _Failed("empty matte", "it is 0 throughout")
    return truth


def _prompt(asked: _Asked, kind: str, key: str, sample: Sample, truth: Float32[np.ndarray, "h w"], job: Job) -> None:
    try:
        if job.prompts:
            saved = job.prompts.get(key, {}).get(kind)
            if saved is None:
                raise _Failed("no saved prompt", f"the prompts given hold no {kind} for {key}")
            prompt = Prompt.from_json(saved)
        else:
            prompt = draw_prompt(job.plan, kind, key, sample, truth)
        asked.row["given"] = prompt.to_json()
    except _Failed as error:
        _note(asked, error)
        return
    except ValueError as error:
        _note(asked, _Failed("broken prompt", str(error)))
        return
    try:
        prompt.check_inside((truth.shape[0], truth.shape[1]))
    except ValueError as error:
        _note(asked, _Failed("prompt outside the image", str(error)))
        return
    asked.prompt = prompt


def _answer(predictor: Predictor, loaded: _Loaded) -> float:
    """Let the model answer; answers with the time that it took [s]."""
    ready = [one for one in loaded.asked if one.prompt is not None]
    if loaded.rgb is None or not ready:
        return 0.0
    start = time.perf_counter()
    try:
        predictor.set_image(loaded.rgb)
    except (ZimError, ValueError, RuntimeError, MemoryError) as error:
        for one in ready:
            _note(one, _Failed("model failed", str(error)))
        return time.perf_counter() - start
    for first in range(0, len(ready), PROMPTS_AT_ONCE):
        _answer_some(predictor, ready[first : first + PROMPTS_AT_ONCE])
    return time.perf_counter() - start


def _answer_some(predictor: Predictor, asked: list[_Asked]) -> None:
    try:
        answers = predictor.predict_many([one.prompt for one in asked if one.prompt is not None])
        for one, answer in zip(asked, answers, strict=True):
            one.answer = answer
    except (ZimError, ValueError, RuntimeError, MemoryError) as error:
        if len(asked) > 1:  # find out whose fault it was
            for one in asked:
                _answer_some(predictor, [one])
        else:
            kind = "unsupported prompt" if isinstance(error, UnsupportedPrompt) else "model failed"
            _note(asked[0], _Failed(kind, str(error)))


def _score(loaded: _Loaded, job: Job) -> EvaluationImage:
    image = loaded.image
    for one in loaded.asked:
        if one.answer is not None and one.truth is not None and one.prompt is not None and loaded.rgb is not None:
            alpha = one.answer.alpha
            if alpha.shape != one.truth.shape:
                _note(one, _Failed("answer of another size", f"{alpha.shape} for an image of {one.truth.shape}"))
                continue
            try:
                unknown = _unknown(job, one, (alpha.shape[0], alpha.shape[1]))
            except (_Failed, ZimError, ValueError) as error:
                _note(one, _Failed("unreadable trimap", str(error)))
                continue
            one.row |= score_answer(alpha, one.truth, job.profiles, unknown)
            if job.draw:
                path = job.result_image(image, one.number, one.row["prompt"])
                draw_result(path, loaded.rgb, one.truth, alpha, one.prompt)
                one.row["drawn"] = path.relative_to(job.out).as_posix()
    job.store.write(image.slug, Record.of([one.row for one in loaded.asked], job.inputs(image)))
    return image


def _unknown(job: Job, asked: _Asked, size: tuple[int, int]) -> Any:
    if "dim_unknown" not in job.profiles or asked.sample is None:
        return None
    path = None if job.trimaps is None else find_trimap(job.trimaps, asked.sample)
    if path is None:
        raise _Failed("unreadable trimap", f"there is none in {job.trimaps}")
    return read_unknown(path, size)


def _note(asked: _Asked, failed: _Failed) -> None:
    asked.prompt = None
    asked.row["failure"] = {"kind": failed.kind, "message": " ".join(str(failed).split())}
