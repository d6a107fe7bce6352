"""From mattes to Gaussians, on a scene whose truth is known for each of them."""

import numpy as np
import pytest

from nerf_seg.field.gaussians.membership import GaussianMembership
from nerf_seg.field.gaussians.views import SplatViews
from nerf_seg.segmentation.matting import OraclePredictor
from nerf_seg.segmentation.reference_prompt import ReferencePrompt
from nerf_seg.segmentation.segmenter import Segmenter, SegmenterConfig
from tests.nerf_seg.splat_scene import SplatScene, membership_iou

SCENE = SplatScene()
BEHIND = "view_03.png"
"""Here the object is behind the other blob, and but a sliver of it is seen."""


@pytest.fixture(scope="module")
def views() -> SplatViews:
    return SplatViews(SCENE.gaussians, SCENE.photographs(), memory_limit=1 << 30)


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    return {camera.name: SCENE.alpha(i) for i, camera in enumerate(SCENE.cameras)}


def click(alpha: np.ndarray) -> tuple[float, float, int]:
    row, column = np.unravel_index(int(alpha.argmax()), alpha.shape)
    return (column + 0.5, row + 0.5, 1)


def rejected(segmenter: Segmenter) -> set[str]:
    return {name for name, record in segmenter.latest.items() if not record.accepted}


def found(views: SplatViews, truth: dict[str, np.ndarray], wrong: dict[str, str]) -> tuple[Segmenter, np.ndarray]:
    config = SegmenterConfig(sweeps=0)
    field = GaussianMembership(len(SCENE.gaussians), config.build_estimator())
    reference = ReferencePrompt(view="view_00.png", points=(click(truth["view_00.png"]),))
    segmenter = Segmenter(config, field, OraclePredictor(truth.__getitem__, wrong), reference, views.names)
    views.order = segmenter.order
    segmenter.run(views)
    return segmenter, field.membership(SCENE.gaussians.means)[0]


def test_true_mattes_give_the_true_gaussians(views: SplatViews, truth: dict[str, np.ndarray]) -> None:
    segmenter, membership = found(views, truth, {})
    assert rejected(segmenter) <= {BEHIND}
    assert membership_iou(membership > 0.5, SCENE.truth) >= 0.99


@pytest.mark.parametrize("kind", ["inverse", "everything", "nothing"])
def test_a_quarter_of_the_views_wrong_costs_little(views: SplatViews, truth: dict[str, np.ndarray], kind: str) -> None:
    wrong = [f"view_{i:02d}.png" for i in (2, 6, 10)]
    segmenter, membership = found(views, truth, dict.fromkeys(wrong, kind))
    assert membership_iou(membership > 0.5, SCENE.truth) >= 0.95
    assert rejected(segmenter) - {BEHIND} == set(wrong)


def test_gaussians_that_no_view_sees_follow_their_neighbours(views: SplatViews, truth: dict[str, np.ndarray]) -> None:
    field = GaussianMembership(len(SCENE.gaussians))
    assert field.membership(SCENE.gaussians.means)[0].max() == 0  # nobody has seen anything
    _, _ = found(views, truth, {})
    field.sums[:] = 1.0
    field.sums[: SCENE.count // 2] = 0
    membership, seen = field.membership(SCENE.gaussians.means)
    assert not seen[: SCENE.count // 2].any() and membership.min() == 1


def test_views_beyond_the_memory_limit_are_made_anew_and_equal(views: SplatViews) -> None:
    tight = SplatViews(SCENE.gaussians, SCENE.photographs(), memory_limit=0)
    tight.order = [0, 1, 2]
    for index in (0, 1, 2, 0):
        assert (tight.view(index).samples.weights != views.view(index).samples.weights).nnz == 0
    assert not tight._kept
    tight.close()


def test_the_scene_drawn_from_its_own_cameras_is_its_photographs(views: SplatViews) -> None:
    assert views.psnr(4) > 45
