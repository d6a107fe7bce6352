"""An object in a room, from mattes with errors: both fields are better than the mattes, and nothing grows."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from nerf_seg.field.gaussians.membership import GaussianMembership
from nerf_seg.segmentation.mask_grid import MaskGrid
from nerf_seg.segmentation.matting import Corruption, OraclePredictor
from nerf_seg.segmentation.reference_prompt import ReferencePrompt
from nerf_seg.segmentation.segmenter import Segmenter, SegmenterConfig
from nerf_seg.segmentation.views import View
from tests.nerf_seg.room_scene import AsField, RoomScene

ROOM = RoomScene()
FIELD = AsField(ROOM)
REFERENCE = 5
"""Its matte is right."""
WRONG: dict[str, Corruption] = {"view_01.png": "inverse", "view_06.png": "everything"}
"""A quarter of the nine, rounded down."""


class Views:
    """Views of one of the fields, each made once."""

    def __init__(self, kind: str) -> None:
        self.names = ROOM.names
        self.view = cache(ROOM.view if kind == "gaussians" else FIELD.view)


SOURCES = {kind: Views(kind) for kind in ("gaussians", "grid")}


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@cache
def result(kind: str, passes: int, wrong: bool) -> tuple[Segmenter, tuple[np.ndarray, ...]]:
    """The segmenter after its run, and the 3D matte of each view."""
    config = SegmenterConfig(passes=passes, sweeps=10 if kind == "refined grid" else 0)
    made: Any = (
        GaussianMembership(len(ROOM.gaussians), config.build_estimator())
        if kind == "gaussians"
        else MaskGrid(64, config.build_estimator(), FIELD.domain)
    )
    mattes = {name: ROOM.noisy(i) for i, name in enumerate(ROOM.names)}
    rows, columns = np.nonzero(mattes[ROOM.names[REFERENCE]] > 0.9)
    click = (float(np.median(columns)) + 0.5, float(np.median(rows)) + 0.5, 1)
    predictor = OraclePredictor(mattes.__getitem__, WRONG if wrong else {})
    reference = ReferencePrompt(view=ROOM.names[REFERENCE], points=(click,))
    segmenter = Segmenter(config, made, predictor, reference, ROOM.names)
    source = SOURCES["gaussians" if kind == "gaussians" else "grid"]
    segmenter.run(source)
    views: list[View] = [source.view(i) for i in range(ROOM.count)]
    return segmenter, tuple(made.render(view.samples) for view in views)


@pytest.mark.parametrize("wrong", [False, True], ids=["noisy", "a quarter wrong"])
@pytest.mark.parametrize("kind", ["gaussians", "grid", "refined grid"])
def test_the_object_is_better_than_its_mattes_and_does_not_grow(kind: str, wrong: bool) -> None:
    truths = [ROOM.alpha(i) > 0.5 for i in range(ROOM.count)]
    flat = np.mean([iou(ROOM.noisy(i) > 0.5, truth) for i, truth in enumerate(truths)])
    assert 0.7 < flat < 0.93  # there is something to mend
    sizes = []
    for passes in (1, 2, 3):
        segmenter, alphas = result(kind, passes, wrong)
        solid = np.mean([iou(alpha > 0.5, truth) for alpha, truth in zip(alphas, truths, strict=True)])
        assert solid >= flat, passes
        rejected = {name for name, record in segmenter.latest.items() if not record.accepted}
        assert rejected == (set(WRONG) if wrong else set())
        sizes.append(float(sum(alpha.sum() for alpha in alphas)))
    assert max(sizes[1:]) <= 1.02 * sizes[0]
    assert max(sizes) <= 1.1 * sum(ROOM.alpha(i).sum() for i in range(ROOM.count))
