"""Models that are compared: promptable ones, and baselines that need no learning."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core import Backend, ImagePredictor, Prediction, Predictor, Prompt, UnsupportedPrompt
from zim_plugins.evaluation import baselines as evaluation

from .prompt_modes import Pointing

BASELINES = {
    "box": "the box itself, filled",
    "grabcut": "GrabCut (Rother et al. 2004) from the box, by OpenCV, on at most 256 px",
}
"""Names that `--models` takes beside checkpoints; they answer boxes only."""
GRABCUT_SIDE_PX = 256
"""Larger pictures are cut at reduced size: on a grainy one of 512 px a cut took a minute and more."""
MAX_KEPT_FRAMES = 256
"""Embeddings that a volume's propagation may keep; deeper volumes are encoded again where it returns."""


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


@dataclass
class CountedBackend:
    """A backend that counts its encodings."""

    inner: Backend
    encodings: int = 0
    name: str = field(init=False)
    frame_px: int = field(init=False)
    activation: Any = field(init=False)
    supports_clicks_and_box: bool = field(init=False)
    supports_alpha: bool = field(init=False)

    def __post_init__(self) -> None:
        for known in ("name", "frame_px", "activation", "supports_clicks_and_box", "supports_alpha"):
            setattr(self, known, getattr(self.inner, known))

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> Any:
        """Encode, and count."""
        self.encodings += 1
        return self.inner.encode(image)

    def decode(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Decode."""
        return self.inner.decode(embedding, prompts, multimask=multimask)


class PromptedModel:
    """A promptable model: each frame is encoded once, all its prompts are decoded from that.

    Args:
        predictor: any; the encodings of an `ImagePredictor` are counted at its backend, others' at `set_image`.
        name: what the tables call it.
    """

    def __init__(self, predictor: Predictor, *, name: str) -> None:
        self.name = name
        self.effort = Effort()
        self._backend: CountedBackend | None = None
        if isinstance(predictor, ImagePredictor):
            self._backend = CountedBackend(predictor.backend)
            predictor = ImagePredictor(self._backend, zoom=predictor.zoom, refinement=predictor.refinement)
        self._predictor = predictor
        self._kept: OrderedDict[int, ImagePredictor] = OrderedDict()

    def show(self, frame: UInt8[np.ndarray, "h w 3"], key: int | None = None) -> None:
        """Encode an RGB frame, or take up the one that was shown under this key."""
        if key is not None and key in self._kept:
            self._kept.move_to_end(key)
            self._predictor = self._kept[key]
            return
        start = time.perf_counter()
        if isinstance(self._predictor, ImagePredictor) and key is not None:
            of = self._predictor
            self._predictor = ImagePredictor(of.backend, zoom=of.zoom, refinement=of.refinement)
            self._kept[key] = self._predictor
            if len(self._kept) > MAX_KEPT_FRAMES:
                self._kept.popitem(last=False)
        self._predictor.set_image(np.ascontiguousarray(frame))
        self.effort.encode_seconds += time.perf_counter() - start
        self.effort.frames += 1
        self.effort.encodings = self._backend.encodings if self._backend is not None else self.effort.frames

    def forget(self) -> None:
        """Drop the embeddings that are kept."""
        self._kept.clear()

    def answer(self, pointings: Sequence[Pointing], *, multimask: bool = False) -> list[Answer]:
        """Mattes of what each pointing names; several boxes of one pointing are joined by their maximum."""
        start = time.perf_counter()
        prompts = [prompt for pointing in pointings for prompt in pointing.prompts()]
        predictions = self._predict(prompts, multimask)
        answers, taken = [], 0
        for pointing in pointings:
            count = len(pointing.prompts())
            own = predictions[taken : taken + count]
            taken += count
            alphas = np.maximum.reduce([p.alphas for p in own])
            scores = np.stack([p.scores for p in own]).mean(axis=0, dtype=np.float32)
            answers.append(Answer(alphas, np.asarray(scores)))
        self.effort.prompt_seconds += time.perf_counter() - start
        self.effort.prompts += len(prompts)
        if self._backend is not None:
            self.effort.encodings = self._backend.encodings
        return answers

    def predict(self, prompt: Prompt) -> Prediction:
        """Matte of one prompt, of whatever kind the model takes, on the frame that is shown."""
        start = time.perf_counter()
        found = self._predictor.predict(prompt)
        self.effort.prompt_seconds += time.perf_counter() - start
        self.effort.prompts += 1
        return found

    def _predict(self, prompts: Sequence[Prompt], multimask: bool) -> list[Prediction]:
        if not multimask:
            return self._predictor.predict_many(prompts)
        if not isinstance(self._predictor, ImagePredictor):
            raise UnsupportedPrompt(f"{self.name} has one candidate only: leave --candidates at single")
        return self._predictor.predict_many(prompts, multimask=True)


class FilledBox:
    """The box itself: what a model has to beat."""

    name = "box"

    def __init__(self) -> None:
        self.effort = Effort()
        self._size = (1, 1)

    def show(self, frame: UInt8[np.ndarray, "h w 3"], key: int | None = None) -> None:
        """Take the frame's size."""
        self._size = frame.shape[0], frame.shape[1]
        self.effort.frames += 1

    def forget(self) -> None:
        """Nothing is kept."""

    def answer(self, pointings: Sequence[Pointing], *, multimask: bool = False) -> list[Answer]:
        """The boxes, filled."""
        _boxes_only(self.name, pointings, multimask)
        answers = []
        for pointing in pointings:
            alpha = np.zeros((1, *self._size), dtype=np.float32)
            for x1, y1, x2, y2 in pointing.boxes:
                alpha[0, y1 : y2 + 1, x1 : x2 + 1] = 1.0
            answers.append(Answer(alpha, np.ones(1, dtype=np.float32)))
        self.effort.prompts += sum(len(pointing.boxes) for pointing in pointings)
        return answers


class GrabCut:
    """GrabCut from the box: outside it is background, inside it five rounds decide."""

    name = "grabcut"

    def __init__(self) -> None:
        self.effort = Effort()
        self._inner = evaluation.GrabCut(GRABCUT_SIDE_PX)
        self._size = (1, 1)

    def show(self, frame: UInt8[np.ndarray, "h w 3"], key: int | None = None) -> None:
        """Take an RGB frame."""
        self._size = frame.shape[0], frame.shape[1]
        self._inner.set_image(frame)
        self.effort.frames += 1

    def forget(self) -> None:
        """Nothing is kept."""

    def answer(self, pointings: Sequence[Pointing], *, multimask: bool = False) -> list[Answer]:
        """One cut for each box, joined."""
        _boxes_only(self.name, pointings, multimask)
        start = time.perf_counter()
        answers = []
        for pointing in pointings:
            alpha = np.maximum.reduce([self._cut(box) for box in pointing.boxes])
            answers.append(Answer(alpha[None], np.ones(1, dtype=np.float32)))
        self.effort.prompts += sum(len(pointing.boxes) for pointing in pointings)
        self.effort.prompt_seconds += time.perf_counter() - start
        return answers

    def _cut(self, box: tuple[int, int, int, int]) -> Float32[np.ndarray, "h w"]:
        x1, y1, x2, y2 = box
        try:
            return self._inner.predict(Prompt.from_box(x1, y1, x2 + 1, y2 + 1)).alpha
        except ValueError:  # nothing to learn from: all one colour, or no background
            alpha = np.zeros(self._size, dtype=np.float32)
            alpha[y1 : y2 + 1, x1 : x2 + 1] = 1.0
            return alpha


def load_models(names: Sequence[str], *, runtime: str, device: str, zoom: bool, refine: str) -> list[FrameModel]:
    """Models and baselines by name.

    Raises:
        CheckpointError: a checkpoint is not on this machine; the message says how to bring it.
        ValueError: a name is given twice.
    """
    from zim_plugins.core import load_predictor

    if len(set(names)) < len(names):
        raise ValueError(f"a model is named twice: {', '.join(names)}")
    models: list[FrameModel] = []
    for name in names:
        if name == "box":
            models.append(FilledBox())
        elif name == "grabcut":
            models.append(GrabCut())
        else:
            predictor = load_predictor(name, runtime=runtime, device=device, zoom=zoom, refine=refine)  # type: ignore[arg-type]
            models.append(PromptedModel(predictor, name=predictor.name))
    return models


def _boxes_only(name: str, pointings: Sequence[Pointing], multimask: bool) -> None:
    if multimask or not all(pointing.boxes for pointing in pointings):
        raise UnsupportedPrompt(f"{name} takes boxes, one candidate each")
