"""Scores of a rendered object against masks, at the masks' resolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.evaluation import boundary_iou

SCORES = ("iou", "accuracy", "boundary_iou")
DEFINITIONS = {
    "iou": "TP / (TP + FP + FN) over the pixels of all scored views of a task together, as SA3D's evaluate.py sums",
    "accuracy": "(TP + TN) / all pixels, over all scored views together",
    "boundary_iou": "IoU of the bands inside the outlines, 0.02 of the image's diagonal wide (Cheng et al. 2021); "
    "mean over the scored views",
    "mean": "unweighted, over tasks; +- is the standard deviation (n - 1) over seeds",
}


@dataclass(frozen=True)
class Scores:
    """Scores of one task, in [0, 1]; higher is better. See `DEFINITIONS`."""

    iou: float
    accuracy: float
    boundary_iou: float


def upsampled(values: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "h2 w2"]:
    """Bilinear to (H, W), outer corners aligned: a soft map is resized first and thresholded then."""
    import torch

    grid = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return torch.nn.functional.interpolate(grid, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def score_views(answers: Sequence[Bool[np.ndarray, "_ _"]], truths: Sequence[Bool[np.ndarray, "_ _"]]) -> Scores:
    """Scores of the views of one task.

    Raises:
        ValueError: there is no view, or an answer is of another size than its truth.
    """
    if not truths or len(answers) != len(truths):
        raise ValueError(f"{len(answers)} answers do not match {len(truths)} truths")
    edges, both, either, right = [], 0, 0, 0
    for answer, truth in zip(answers, truths, strict=True):
        edges.append(boundary_iou(answer, truth))
        both += np.count_nonzero(answer & truth)
        either += np.count_nonzero(answer | truth)
        right += np.count_nonzero(answer == truth)
    pixels = sum(truth.size for truth in truths)
    return Scores(iou=both / either if either else 1.0, accuracy=right / pixels, boundary_iou=float(np.mean(edges)))
