"""Models of a run: promptable ones by name, file or function, and the classical rivals beside them."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from zim_plugins.core import CheckpointError, EncodedImage, Prediction, Predictor, Prompt, encoding_predictor

from .for_scans import ForScans
from .prompt_modes import PixelPrompt
from .records import BEST_SCORE, ORACLE, SINGLE
from .rivals import RIVALS, FilledBox, GrabCut, InscribedEllipse, RandomWalker

THRESHOLD = 0.5
"""Opacity above which a matte's pixel counts as predicted."""

MAX_KEPT_FRAMES = 256
"""Embeddings that a volume's propagation may keep; deeper volumes are encoded again where it returns."""


@dataclass
class Effort:
    """Counts of a model's work."""

    encodings: int = 0
    """Runs of the image encoder."""
    frames: int = 0
    prompts: int = 0
    encode_seconds: float = 0.0
    prompt_seconds: float = 0.0


class PromptedModel:
    """A predictor over the frames of a scan, its work counted: each frame is encoded once, for all its prompts.

    Args:
        predictor: any; see `zim_plugins.core.encoding_predictor`.
        name: what the tables call it.
        origin: where it comes from, for the record.
        encodes: whether it has an image encoder whose runs are counted; the classical rivals have none.
    """

    def __init__(
        self, predictor: Predictor, *, name: str, origin: dict[str, Any] | None = None, encodes: bool = True
    ) -> None:
        self.name = name
        self.origin = origin or {}
        self.encodes = encodes
        self.effort = Effort()
        self._predictor = encoding_predictor(predictor)
        self._encodings_before = self._predictor.encodings
        self._shown: EncodedImage | None = None
        self._kept: OrderedDict[int, EncodedImage] = OrderedDict()

    def show(self, frame: UInt8[np.ndarray, "h w 3"], key: int | None = None) -> None:
        """Encode an RGB frame, or take up the one that was shown under this key."""
        if key is not None and key in self._kept:
            self._kept.move_to_end(key)
            self._shown = self._kept[key]
            return
        start = time.perf_counter()
        self._shown = self._predictor.encode(frame)
        if key is not None:
            self._kept[key] = self._shown
            if len(self._kept) > MAX_KEPT_FRAMES:
                self._kept.popitem(last=False)
        self.effort.encode_seconds += time.perf_counter() - start
        self.effort.frames += 1
        self._count()

    def forget(self) -> None:
        """Drop the embeddings that are kept."""
        self._kept.clear()

    def answer(self, prompts: Sequence[PixelPrompt], *, multimask: bool = False) -> list[Prediction]:
        """Mattes of what each prompt names; several boxes of one prompt are joined by their maximum.

        Raises:
            UnsupportedPrompt: the model does not take such prompts, or has one candidate only.
        """
        start = time.perf_counter()
        split = [prompt.prompts() for prompt in prompts]
        asked = [one for parts in split for one in parts]
        predictions = iter(self._predictor.predict_many(asked, multimask=multimask, encoded=self._shown))
        answers = []
        for parts in split:
            own = [next(predictions) for _ in parts]
            alphas = np.maximum.reduce([p.alphas for p in own])
            scores = np.stack([p.scores for p in own]).mean(axis=0, dtype=np.float32)
            answers.append(Prediction.owning(alphas, np.asarray(scores)))
        self.effort.prompt_seconds += time.perf_counter() - start
        self.effort.prompts += len(asked)
        self._count()
        return answers

    def predict(self, prompt: Prompt) -> Prediction:
        """Matte of one prompt, of whatever kind the model takes, on the frame that is shown."""
        start = time.perf_counter()
        found = self._predictor.predict(prompt, encoded=self._shown)
        self.effort.prompt_seconds += time.perf_counter() - start
        self.effort.prompts += 1
        return found

    def _count(self) -> None:
        if self.encodes:
            self.effort.encodings = self._predictor.encodings - self._encodings_before


def chosen_mask(
    answer: Mapping[str, Prediction], candidate: str, reference: np.ndarray
) -> Bool[np.ndarray, "h w"] | None:
    """Return the mask of a candidate: the single answer, the best scored, or the one nearest to the reference.

    None where the model has one answer only. Raises ValueError for an unknown candidate.
    """
    if candidate == SINGLE:
        return answer[SINGLE].alphas[0] > THRESHOLD
    if "all" not in answer:
        return None
    several = answer["all"]
    if candidate == BEST_SCORE:
        return several.mask(THRESHOLD)
    if candidate != ORACLE:
        raise ValueError(f"no candidate {candidate!r} is known")
    masks = several.alphas > THRESHOLD
    shared, united = (masks & reference).sum((1, 2)), (masks | reference).sum((1, 2))
    return masks[int((shared / np.maximum(united, 1)).argmax())]


def load_models(
    names: Sequence[str], *, runtime: str, device: str, zoom: bool, refine: str, scans: ForScans | None = None
) -> list[PromptedModel]:
    """Build models and rivals.

    Args:
        names: checkpoints by name or path, rivals (`RIVALS`), or FILE.py:FUNCTION and MODULE:FUNCTION that make a
            `Predictor`, as `zim evaluate` takes them.
        runtime: what runs checkpoints.
        device: what they run on; a function that takes one argument is given it.
        zoom: whether checkpoints look at each object's crop again.
        refine: how checkpoints' mattes are judged again.
        scans: what checkpoints do otherwise on scans; None for nothing.

    Raises:
        CheckpointError: a checkpoint is not on this machine, or a function cannot be taken; the message says which.
        ValueError: a model is given twice, or two call themselves alike.
    """
    names = [name.strip() for name in names]
    if "" in names:
        raise ValueError("--model holds an empty name: part names by single commas")
    if len(set(names)) < len(names):
        raise ValueError(f"a model is named twice: {', '.join(names)}")
    models = [
        load_rival(name)
        if name in RIVALS
        else _load_predictor(name, runtime, device, zoom, refine, scans or ForScans())
        for name in names
    ]
    called = [model.name for model in models]
    if twice := sorted({name for name in called if called.count(name) > 1}):
        raise ValueError(f"two models call themselves {', '.join(twice)}: give their predictors different names")
    return models


def load_rival(name: str) -> PromptedModel:
    """Build the classical rival of that name, of `RIVALS`.

    >>> load_rival("box").origin
    {'rival': 'the box itself, filled'}

    Raises:
        MissingExtra: what it stands on is not installed.
    """
    rivals = {"box": FilledBox, "ellipse": InscribedEllipse, "grabcut": GrabCut, "random-walker": RandomWalker}
    rival = rivals[name]()
    return PromptedModel(rival, name=name, origin=rival.origin, encodes=False)


def _load_predictor(spec: str, runtime: str, device: str, zoom: bool, refine: str, scans: ForScans) -> PromptedModel:
    from zim_plugins.core import load_predictor
    from zim_plugins.evaluation import ModelOptions, describe_model, is_outside, load_model

    if is_outside(spec):
        predictor = load_model(spec, ModelOptions(device=device))
        place, _, function = spec.rpartition(":")
        own = getattr(predictor, "name", None) or f"{Path(place).stem}.{function}"
        origin = {"model": f"{Path(place).name}:{function}", "sha256": describe_model(spec)["sha256"]}
        return PromptedModel(predictor, name=str(own), origin=origin)
    predictor = load_predictor(spec, runtime=runtime, device=device, zoom=zoom, refine=refine)  # type: ignore[arg-type]
    try:
        digest = describe_model(predictor.name if spec == "auto" else spec)["sha256"]
    except CheckpointError:  # of a family whose weights lie elsewhere
        digest = None
    adapted, adaptations = scans.adapted(predictor)
    origin = {
        "model": predictor.name,
        "sha256": digest,
        "runtime": runtime,
        "device": device,
        "zoom": zoom,
        "refine": refine,
        **adaptations,
    }
    return PromptedModel(adapted, name=predictor.name, origin=origin)
