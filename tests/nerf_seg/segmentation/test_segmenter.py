"""Whole runs on the analytic scene."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from nerf_seg.segmentation.contact_sheet import contact_sheet
from nerf_seg.segmentation.mask_grid import MaskGrid
from nerf_seg.segmentation.matting import OraclePredictor
from nerf_seg.segmentation.reference_prompt import ReferencePrompt
from nerf_seg.segmentation.segmenter import Segmenter, SegmenterConfig
from nerf_seg.segmentation.views import View
from tests.nerf_seg.analytic import AnalyticScene, mean_error
from zim_plugins.core import Prediction, Predictor, Prompt

SCENE = AnalyticScene(occluder=True)
REFERENCE = ReferencePrompt(view="view_04.png", points=((0.5, 0.5, 1),))


def oracle(scene: AnalyticScene = SCENE, **corrupted: str) -> OraclePredictor:
    return OraclePredictor(
        lambda name: scene.alpha(scene.names.index(name)), {f"{k}.png": v for k, v in corrupted.items()}
    )


def start(
    config: SegmenterConfig | None = None,
    predictor: Predictor | None = None,
    reference: ReferencePrompt = REFERENCE,
    scene: AnalyticScene = SCENE,
) -> Segmenter:
    config = config or SegmenterConfig()
    grid = MaskGrid(64, config.build_estimator(), scene.domain)
    return Segmenter(config, grid, predictor or oracle(scene), reference, scene.names)


def run(segmenter: Segmenter, scene: AnalyticScene = SCENE) -> Segmenter:
    while segmenter.done < len(segmenter.order):
        segmenter.visit(scene.view(segmenter.order[segmenter.done]))
    segmenter.refine(scene)
    return segmenter


POINTS = SegmenterConfig(prompting="points")


@pytest.fixture(scope="module")
def finished() -> Segmenter:
    return run(start(POINTS))


def test_one_click_becomes_the_exact_matte_of_every_view(finished: Segmenter) -> None:
    segmenter = finished
    assert segmenter.complete and all(record.accepted for record in segmenter.records)
    assert mean_error(segmenter.grid, SCENE) < 0.008
    gated = [np.abs(segmenter.matte_view(SCENE.view(i)) - SCENE.alpha(i)).mean() for i in range(SCENE.count)]
    assert np.mean(gated) < 0.001


def test_three_methods_make_a_predictor(finished: Segmenter) -> None:
    """A predictor that knows nothing but the protocol; it tells the views apart by their pixels."""

    class Own:
        def set_image(self, image: np.ndarray) -> None:
            (self.view,) = [i for i in range(SCENE.count) if np.array_equal(SCENE.view(i).image, image)]

        def predict(self, prompt: Prompt) -> Prediction:
            return Prediction(SCENE.alpha(self.view)[None], np.ones(1, np.float32))

        def predict_many(self, prompts: list[Prompt]) -> list[Prediction]:
            return [self.predict(prompt) for prompt in prompts]

    segmenter = run(start(POINTS, predictor=Own()))
    assert segmenter.complete and mean_error(segmenter.grid, SCENE) < 0.008


def test_matte_is_nearer_to_the_truth_than_sa3d_s_mask() -> None:
    matte = run(start(SegmenterConfig(sweeps=0)))
    sa3d = run(start(SegmenterConfig(estimator="sa3d", prompting="points", num_negatives=0)))
    masks = sa3d.grid.render(SCENE.view(4).samples)
    assert set(np.unique(masks)) == {0, 1}
    assert mean_error(matte.grid, SCENE) < 0.5 * mean_error(sa3d.grid, SCENE)


@pytest.mark.parametrize("prompting", ["points", "box"])
def test_corrupted_views_are_rejected_and_no_others(prompting: str) -> None:
    corrupted = {"view_02": "inverse", "view_06": "everything", "view_07": "nothing"}
    segmenter = run(start(replace(POINTS, prompting=prompting), oracle(**corrupted)))
    rejected = {name.removesuffix(".png"): record for name, record in segmenter.latest.items() if not record.accepted}
    assert rejected.keys() == corrupted.keys()
    assert "times the area" in rejected["view_06"].reason and "below 0.5" in rejected["view_07"].reason
    assert mean_error(segmenter.grid, SCENE) < 0.01


def test_prompts_lie_on_the_object_and_beside_it(finished: Segmenter) -> None:
    inside, outside = [], []
    for record in finished.records:
        alpha = SCENE.alpha(SCENE.names.index(record.view))
        for x, y, label in record.prompt["points"]:
            (inside if label == 1 else outside).append(alpha[int(y), int(x)])
    assert len(inside) > 80 and min(inside) > 0.5 and np.mean(np.array(inside) > 0.95) > 0.95
    assert len(outside) > 30 and max(outside) < 0.1


def test_a_view_rejected_in_the_first_pass_may_come_back() -> None:
    class FailsAtFirst(OraclePredictor):
        """Wrong about view_05 when it sees it first."""

        looks = 0

        def name_view(self, name: str) -> None:
            super().name_view(name)
            self.looks += name == "view_05.png"
            self._corrupted = {"view_05.png": "everything"} if self.looks == 1 else {}

    predictor = FailsAtFirst(lambda name: SCENE.alpha(SCENE.names.index(name)))
    segmenter = run(start(SegmenterConfig(sweeps=0), predictor))
    verdicts = [record.accepted for record in segmenter.records if record.view == "view_05.png"]
    assert verdicts == [False, True]


def test_the_second_pass_counts_alone() -> None:
    """What the first pass gathered prompts the second and is not added to it: the grid holds each view once."""
    segmenter = start(SegmenterConfig(sweeps=0, anchor_share=0.25))
    run(segmenter)
    once = MaskGrid(64, segmenter.grid.estimator, SCENE.domain)
    for index, name in enumerate(SCENE.names):
        alpha, iou = segmenter.alpha(name), segmenter.latest[name].soft_iou
        assert alpha is not None
        values = once.estimator.ray_values(once.flat(alpha), 0.25 * SCENE.count if iou is None else iou)
        once.estimator.fold(once.sums, once.scattered(SCENE.view(index).samples, values))
    torch.testing.assert_close(segmenter.grid.sums, once.sums, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("estimator", ["matte", "sa3d"])
@pytest.mark.parametrize("killed_after", [0, 1, 4, 5, 7, 10])
def test_a_killed_run_continues_exactly(estimator: str, killed_after: int) -> None:
    scene = AnalyticScene(size=(27, 36), count=5)
    config = SegmenterConfig(estimator=estimator, sweeps=2, prompting="points")
    reference = ReferencePrompt(view="view_02", points=((0.5, 0.5, 1),))
    whole = run(start(config, oracle(scene, view_01="inverse"), reference, scene), scene)
    first = start(config, oracle(scene, view_01="inverse"), reference, scene)
    for _ in range(killed_after):
        first.visit(scene.view(first.order[first.done]))
    stored = io.BytesIO()
    torch.save(first.state_dict(), stored)
    stored.seek(0)
    second = start(config, oracle(scene, view_01="inverse"), reference, scene)
    second.load_state_dict(torch.load(stored, weights_only=True))
    run(second, scene)
    assert torch.equal(second.grid.sums, whole.grid.sums)
    assert second.residuals == whole.residuals
    told = [[(r.view, r.pass_index, r.prompt, r.soft_iou, r.reason) for r in s.records] for s in (second, whole)]
    assert told[0] == told[1]


def test_a_run_with_other_options_is_not_continued() -> None:
    state = start().state_dict()
    with pytest.raises(ValueError, match="its options are"):
        start(SegmenterConfig(num_prompts=3)).load_state_dict(state)
    with pytest.raises(ValueError, match="its reference_indices are \\[4\\], here \\[3\\]"):
        start(reference=ReferencePrompt(view="view_03", points=((0.5, 0.5, 1),))).load_state_dict(state)
    with pytest.raises(ValueError, match="its names are"):
        start(scene=AnalyticScene(count=6)).load_state_dict(state)


def test_views_come_outwards_from_the_reference_and_in_turn(finished: Segmenter) -> None:
    segmenter = start()
    assert segmenter.order == [4, 5, 3, 6, 2, 7, 1, 8, 0] * 2
    with pytest.raises(ValueError, match=r"it is not the turn of view_00\.png: next is view_04\.png"):
        segmenter.visit(SCENE.view(0))
    with pytest.raises(ValueError, match="0 of 18 visits are made"):
        segmenter.refine(SCENE)
    with pytest.raises(ValueError, match="all visits are made"):
        finished.visit(SCENE.view(4))


def test_of_several_candidates_the_one_that_agrees_is_taken() -> None:
    """By score in the reference view, by soft IoU with the rendering from then on."""

    class Confident(OraclePredictor):
        def predict(self, prompt: Prompt) -> Prediction:
            truth = super().predict(prompt).alpha
            wrong_scores_more = 0.9 if self._view != "view_04.png" else 0.1
            scores = np.array([wrong_scores_more, 0.5], np.float32)
            return Prediction(np.stack([np.ones_like(truth), truth]), scores)

    predictor = Confident(lambda name: SCENE.alpha(SCENE.names.index(name)))
    segmenter = run(start(SegmenterConfig(sweeps=0, passes=1), predictor))
    assert all(record.accepted for record in segmenter.records)


def test_a_reference_that_cannot_work_raises_at_once() -> None:
    with pytest.raises(ValueError, match="no view is called 'IMG_1'"):
        start(reference=ReferencePrompt(view="IMG_1", points=((1, 1, 1),)))
    for predictor, reference, message in (
        (oracle(view_04="nothing"), REFERENCE, "yields an empty matte"),
        (oracle(), ReferencePrompt(view="view_04", points=((500, 5, 1),)), "outside the image"),
        (oracle(), ReferencePrompt(view="view_04", matte=np.ones((5, 5), np.float32)), "the mask is"),
    ):
        segmenter = start(predictor=predictor, reference=reference)
        with pytest.raises(ValueError, match=message):
            segmenter.visit(SCENE.view(4))
        assert segmenter.done == 0 and segmenter.grid.sums.abs().sum() == 0
    with pytest.raises(ValueError, match="the grid is made for MatteEstimator"):
        Segmenter(SegmenterConfig(estimator="sa3d"), MaskGrid(8), oracle(), REFERENCE, SCENE.names)
    with pytest.raises(ValueError, match="at least 1"):
        SegmenterConfig(passes=0)


def test_a_given_matte_is_the_reference_s() -> None:
    reference = ReferencePrompt(view="view_04", matte=SCENE.alpha(4))
    segmenter = start(SegmenterConfig(passes=1), oracle(view_04="everything"), reference)
    run(segmenter)
    assert mean_error(segmenter.grid, SCENE) < 0.008
    assert segmenter.records[0].prompt == {} and list(segmenter.records[1].prompt) == ["points", "box"]


def test_a_view_without_the_object_is_told() -> None:
    scene = AnalyticScene(count=3, arc_degrees=30)
    segmenter = start(scene=scene, reference=ReferencePrompt(view="view_01", points=((0.5, 0.5, 1),)))
    segmenter.visit(scene.view(1))
    seen = scene.view(2)
    nothing = torch.zeros_like(seen.samples.weights)
    samples = type(seen.samples)(seen.samples.positions, nothing, nothing[:, 0], seen.samples.depth, scene.size)
    record = segmenter.visit(View(seen.name, seen.image, samples))
    assert not record.accepted and "shows no object" in record.reason and record.soft_iou is None


def test_the_reference_may_have_its_own_lambda() -> None:
    sums = []
    for lamb in (None, 5.0):
        segmenter = start(SegmenterConfig(estimator="sa3d", reference_lamb=lamb))
        segmenter.visit(SCENE.view(4))
        sums.append(segmenter.grid.sums[..., 0])
    assert (sums[1] <= sums[0] + 1e-6).all() and sums[1].min() < 3 * sums[0].min()


def test_report_and_contact_sheet_tell_everything() -> None:
    segmenter = run(start(SegmenterConfig(sweeps=3), oracle(view_06="everything")))
    report = json.loads(json.dumps(segmenter.report()))
    assert report["views"] == 9 and report["accepted"] == 8 and report["reference_view"] == "view_04.png"
    assert len(report["visits"]) == 18 and len(report["refinement_residuals"]) == 3
    assert report["seconds"].keys() == {"accumulation", "matting", "prompting"}
    rows = segmenter.sheet(SCENE)
    assert [row.name for row in rows] == list(SCENE.names)
    assert rows[4].caption == "reference view" and "times the area" in rows[6].caption and not rows[6].accepted
    assert contact_sheet(rows).shape[2] == 3


def test_several_views_may_be_prompted_and_come_first() -> None:
    prompts = [ReferencePrompt(view=f"view_0{i}", points=((0.5, 0.5, 1),)) for i in (6, 8)]
    segmenter = run(start(SegmenterConfig(sweeps=0), reference=prompts))
    assert segmenter.order[:4] == [6, 8, 7, 5] and segmenter.complete
    prompted = ["view_06.png", "view_08.png"]
    assert segmenter.report()["prompted_views"] == prompted
    assert [record.view for record in segmenter.records if record.soft_iou is None][:2] == prompted
    assert mean_error(segmenter.grid, SCENE) < 0.02
    again = start(SegmenterConfig(sweeps=0), reference=prompts[::-1])
    with pytest.raises(ValueError, match="reference_indices"):
        again.load_state_dict(segmenter.state_dict())
    with pytest.raises(ValueError, match="given once"):
        start(reference=[prompts[0], prompts[0]])
    with pytest.raises(ValueError, match="at least one"):
        start(reference=[])


def test_the_prompt_stays_in_force_in_the_reference_views_own_output(finished: Segmenter) -> None:
    view = SCENE.view(4)
    assert np.array_equal(finished.matte_view(view), finished.alpha(view.name))  # pyright: ignore[reportArgumentType]


def test_the_reference_view_anchors_the_object_against_views_that_take_in_more() -> None:
    """Five of nine views answer with everything, and are believed: only what the reference does not see grows."""
    wrong = {f"view_0{i}": "everything" for i in (0, 1, 2, 6, 7)}
    grown = {}
    for share in (0.0, 0.6):
        config = SegmenterConfig(sweeps=0, passes=1, iou_threshold=0.0, max_area_ratio=1e9, anchor_share=share)
        segmenter = run(start(config, oracle(**wrong)))
        grown[share] = (segmenter.grid.render(SCENE.view(4).samples) > 0.5).sum() / (SCENE.alpha(4) > 0.5).sum()
    assert grown[0.6] < 1.1 and grown[0.0] > 1.3, grown


def test_a_click_that_a_model_takes_for_a_part_does_not_cut_the_object() -> None:
    """The box without the click is asked, too, and what agrees better with the object so far counts."""

    class Part(OraclePredictor):
        def predict(self, prompt: Prompt) -> Prediction:
            whole = super().predict(prompt)
            if prompt.box is None or prompt.points is None:
                return whole
            columns = np.nonzero(whole.alpha.max(axis=0) > 0.5)[0]
            part = whole.alphas.copy()
            part[..., : int(columns.mean()) + 1] = 0  # the half to the right
            return Prediction(part, whole.scores)

    predictor = Part(lambda name: SCENE.alpha(SCENE.names.index(name)))
    segmenter = run(start(SegmenterConfig(prompting="box"), predictor))
    assert all(record.accepted for record in segmenter.records)
    assert mean_error(segmenter.grid, SCENE) < 0.01
    assert all("points" not in record.prompt for record in segmenter.records if record.soft_iou is not None)
