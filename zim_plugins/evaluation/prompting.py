"""The prompts that models are scored with: the data set's own or simulated, seeded, and saved for the next model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from zim_plugins.core.prompt import Prompt
from zim_plugins.data.faults import DataError
from zim_plugins.data.sample import Sample
from zim_plugins.imaging import atomic_write
from zim_plugins.training.samples.prompts import deepest_point, tight_box

KINDS = ("point", "box", "clicks")
"""point: the data set's clicks, or one at the deepest point. box: its box, or the tight one. clicks: simulated ones."""
OBJECT_OPACITY = 0.5
SURELY_BACKGROUND = 0.05
NEGATIVE_ROOM = 0.3
"""Background clicks fall within the tight box enlarged by this share of its sides."""

SavedPrompts = Mapping[str, Mapping[str, Any]]
"""Of each object's key and each kind, the prompt as JSON."""


@dataclass(frozen=True)
class PromptPlan:
    """Prompts that each object is given."""

    kinds: tuple[str, ...] = ("point", "box")
    """Of `KINDS`."""
    source: Literal["dataset", "simulated"] = "dataset"
    """Take the data set's prompts where it has any, or simulate all."""
    positive: int = 3
    """Foreground clicks of `clicks`: the deepest point, the others anywhere on the object."""
    negative: int = 2
    """Background clicks of `clicks`, near the object."""
    seed: int = 3407

    def __post_init__(self) -> None:
        unknown = [k for k in self.kinds if k not in KINDS]
        if unknown or not self.kinds:
            raise ValueError(f"prompts are {', '.join(KINDS)}, got {', '.join(unknown) or 'none'}")
        if self.positive < 1 or self.negative < 0:
            raise ValueError(f"clicks need a foreground click, got {self.positive} and {self.negative} background ones")


def draw_prompt(plan: PromptPlan, kind: str, key: str, sample: Sample, truth: Float32[np.ndarray, "h w"]) -> Prompt:
    """The prompt of one kind for one object; the same for the same seed and key, whoever asks.

    Raises:
        ValueError: the data set's prompt is malformed, or the object is empty.
    """
    if plan.source == "dataset" and kind == "box" and sample.extra.get("box"):
        return Prompt.from_box(*sample.extra["box"])
    if plan.source == "dataset" and kind == "point" and sample.extra.get("points"):
        return Prompt.from_points(sample.extra["points"])
    mask = object_mask(truth)
    if kind == "box":
        return Prompt(box=tight_box(mask))
    if kind == "point":
        return Prompt.from_point(*deepest_point(mask))
    digest = hashlib.sha256(f"{plan.seed} {key}".encode()).digest()
    rng = np.random.default_rng(list(digest[:8]))
    inside = _pick(mask, plan.positive - 1, rng)
    outside = _pick(_near(mask) & (truth < SURELY_BACKGROUND), plan.negative, rng)
    points = np.concatenate([[deepest_point(mask)], inside, outside])
    labels = np.r_[np.ones(1 + len(inside)), np.zeros(len(outside))].astype(np.int64)
    return Prompt(points=points, labels=labels)


def object_mask(truth: Float32[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels above 0.5, or above half the highest opacity of a matte that stays below.

    Raises:
        ValueError: the matte is empty.
    """
    highest = float(truth.max())
    if highest < 1 / 255:
        raise ValueError("the matte is 0 throughout")
    return truth > (OBJECT_OPACITY if highest > OBJECT_OPACITY else highest / 2)


def write_prompts(path: Path, dataset: str, plan: PromptPlan, prompts: SavedPrompts) -> None:
    """Save the prompts of a run, whole or not at all."""
    record = {"dataset": dataset, "seed": plan.seed, "source": plan.source, "prompts": prompts}
    with atomic_write(path, durable=True) as stream:
        stream.write((json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def read_prompts(path: Path) -> SavedPrompts:
    """Read prompts that an earlier run saved.

    Raises:
        DataError: the file is not such a one.
    """
    try:
        prompts = json.loads(path.read_text(encoding="utf-8"))["prompts"]
        return {str(key): dict(kinds) for key, kinds in prompts.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no prompts.json of an evaluation: {error}") from error


def _near(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    x1, y1, x2, y2 = tight_box(mask)
    room_x, room_y = NEGATIVE_ROOM * (x2 - x1), NEGATIVE_ROOM * (y2 - y1)
    near = np.zeros_like(mask)
    near[max(0, int(y1 - room_y)) : int(y2 + room_y) + 1, max(0, int(x1 - room_x)) : int(x2 + room_x) + 1] = True
    return near


def _pick(mask: Bool[np.ndarray, "h w"], count: int, rng: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    """Centres of `count` pixels of the mask, XY [px]; none where it is empty."""
    pixels = np.argwhere(mask)
    if len(pixels) == 0 or count == 0:
        return np.zeros((0, 2))
    return pixels[rng.integers(len(pixels), size=count)][:, ::-1] + 0.5
