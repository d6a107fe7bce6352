"""What tests of whole runs share: a backend that counts, a small configuration, and tables read back."""

import csv
import dataclasses
from pathlib import Path

import numpy as np

from medical.protocol.evaluate_scan import TrialConfig
from medical.protocol.prompt_modes import MODES
from medical.protocol.records import Measure
from medical.run import DatasetSpec, RunConfig

SQUARE = np.array([-6, -6, 6, 6])
OVERLAP_ONLY = Measure(surfaces=False)


class CountingBackend:
    """A backend that answers with the box, or a square round the first click, and counts."""

    name, frame_px, activation = "counted", 64, "step"
    supports_clicks_and_box = supports_alpha = False

    def __init__(self) -> None:
        self.encoded = self.decoded = 0

    def encode(self, image: np.ndarray) -> int:
        self.encoded += 1
        return self.encoded

    def decode(self, embedding: int, prompts: list, *, multimask: bool) -> tuple[np.ndarray, np.ndarray]:
        assert embedding == self.encoded, "the frame's own embedding"
        self.decoded += len(prompts)
        logits = np.full((len(prompts), 3 if multimask else 1, 64, 64), -5, np.float32)
        for i, prompt in enumerate(prompts):
            x1, y1, x2, y2 = prompt.box if prompt.box is not None else np.tile(prompt.points[0], 2) + SQUARE
            logits[i, :, max(0, int(y1)) : int(y2), max(0, int(x1)) : int(x2)] = 5
        if multimask:
            logits[:, 1] = -5
        return logits, np.tile(np.array([[0.2, 0.9, 0.5][: logits.shape[1]]], np.float32), (len(prompts), 1))


class AnyOrder(CountingBackend):
    """The same, asked about frames in any order."""

    def decode(self, embedding: int, prompts: list, *, multimask: bool) -> tuple[np.ndarray, np.ndarray]:
        self.encoded, kept = embedding, self.encoded
        answer = super().decode(embedding, prompts, multimask=multimask)
        self.encoded = kept
        return answer


def config_of(data: Path, out: Path, *, prompts: tuple[str, ...] = (*MODES, "clicks"), **changes: object) -> RunConfig:
    trial = TrialConfig(prompts=prompts, max_clicks=4, measure=OVERLAP_ONLY)
    base = RunConfig(data, out, (DatasetSpec("plain", "folder", ""),), trial)
    return dataclasses.replace(base, **changes)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
