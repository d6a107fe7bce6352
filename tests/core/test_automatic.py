"""A scene of known disks is found whole, each once; choosing is checked against slow twins."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from zim_plugins.core import automatic
from zim_plugins.core.automatic import (
    SCORE,
    SMALL_SCORE,
    EverythingConfig,
    level_boxes,
    matte_everything,
    point_grid,
    stability,
    suppress,
)
from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.load import load_predictor
from zim_plugins.core.modeling.image_encoder import ViTConfig
from zim_plugins.core.modeling.zim import Zim, sam_config
from zim_plugins.core.prediction import Prediction
from zim_plugins.core.predictor import ImagePredictor, support_box
from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging.image import read_image

DISKS = [((40.0, 50.0), 22.0, 0.97), ((120.0, 45.0), 18.0, 0.93), ((100.0, 110.0), 25.0, 0.99)]
"""Centre XY [px], radius [px], score; on an image of 160 x 200 px (H, W)."""
SIZE = (160, 200)


def disk(size: tuple[int, int], centre: tuple[float, float], radius_px: float, soft_px: float) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    distance = np.hypot(xs - centre[0], ys - centre[1])
    return np.clip((radius_px - distance) / soft_px + 0.5, 0, 1).astype(np.float32)


class Scene:
    """A Predictor that knows the disks at any scale; a click beside them finds a haze, unstable and badly scored."""

    def __init__(self, haze_score: float = 0.3, soft_px: float = 2.0) -> None:
        self.haze_score = haze_score
        self.soft_px = soft_px
        self.sizes: list[tuple[int, int]] = []
        self.batches: list[int] = []

    def set_image(self, image: np.ndarray) -> None:
        self.sizes.append(image.shape[:2])

    def predict(self, prompt: Prompt) -> Prediction:
        size = self.sizes[-1]
        scale = size[1] / SIZE[1]
        x, y = prompt.points[0]
        for (cx, cy), radius, score in DISKS:
            if np.hypot(x - cx * scale, y - cy * scale) < radius * scale:
                alpha = disk(size, (cx * scale, cy * scale), radius * scale, self.soft_px * scale)
                return Prediction(alphas=alpha[None], scores=np.array([score], dtype=np.float32))
        haze = np.full((1, *size), 0.55, dtype=np.float32)
        return Prediction(alphas=haze, scores=np.array([self.haze_score], dtype=np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        self.batches.append(len(prompts))
        return [self.predict(p) for p in prompts]


@pytest.fixture
def image() -> np.ndarray:
    return np.zeros((*SIZE, 3), dtype=np.uint8)


def test_each_object_is_found_once_best_first(image):
    scene = Scene()
    objects = matte_everything(scene, image, EverythingConfig(points_per_side=12, points_per_batch=50))
    assert [round(o.score, 2) for o in objects] == [0.99, 0.97, 0.93]
    for found, (centre, radius, _) in zip(objects, [DISKS[2], DISKS[0], DISKS[1]], strict=True):
        expected = disk(SIZE, centre, radius, 2.0)
        np.testing.assert_allclose(found.full(), expected, atol=1 / 255)
        assert found.area_px == pytest.approx(np.pi * radius**2, rel=0.01)
        assert found.alpha.shape == (found.box[3] - found.box[1], found.box[2] - found.box[0])
        assert np.hypot(found.point[0] - centre[0], found.point[1] - centre[1]) < radius
    assert max(scene.batches) == 50
    assert sum(scene.batches) == 144
    assert scene.sizes == [SIZE]


@pytest.mark.parametrize(("clicks_kept", "asked"), [(49, 147), (50, 145), (144, 144)])
def test_answers_that_memory_does_not_hold_are_asked_again(image, monkeypatch, clicks_kept, asked):
    config = EverythingConfig(points_per_side=12, points_per_batch=50)
    everything_kept = matte_everything(Scene(), image, config)
    monkeypatch.setattr(automatic, "MAX_KEPT", clicks_kept * SIZE[0] * SIZE[1])
    scene = Scene()
    found = matte_everything(scene, image, config)
    assert sum(scene.batches) == asked
    assert [one.point for one in found] == [one.point for one in everything_kept]
    for one, other in zip(found, everything_kept, strict=True):
        np.testing.assert_array_equal(one.full(), other.full())


def test_large_images_are_ranked_small_and_rendered_large():
    scene = Scene()
    image = np.zeros((4 * SIZE[0], 4 * SIZE[1], 3), dtype=np.uint8)
    objects = matte_everything(scene, image, EverythingConfig(points_per_side=12, ranking_px=200))
    assert scene.sizes == [SIZE, (4 * SIZE[0], 4 * SIZE[1])]
    assert len(objects) == 3
    np.testing.assert_allclose(objects[0].full(), disk(image.shape[:2], (400, 440), 100, 8), atol=1 / 255)


def test_filters_refuse_what_they_name(image):
    def count(scene: Scene, **changes: float) -> int:
        return len(matte_everything(scene, image, EverythingConfig(points_per_side=8, **changes)))

    assert count(Scene(haze_score=0.99)) == 3  # well scored, yet unstable
    assert count(Scene(haze_score=0.99), min_stability=0.0) == 4
    assert count(Scene(), min_score=0.95) == 2
    assert count(Scene(), min_area=np.pi * 20**2 / (160 * 200)) == 2
    assert count(Scene(), min_score=1.1) == 0
    assert count(Scene(soft_px=30.0)) == 0  # edges as wide as the object


def test_stability_of_known_mattes():
    hard = disk(SIZE, (80, 80), 30, 1e-6)
    ramp = np.tile(np.linspace(0, 1, 1001, dtype=np.float32), (3, 1))
    assert stability(hard[None], low=0.4, high=0.6)[0] == 1.0
    assert stability(ramp[None], low=0.4, high=0.6)[0] == pytest.approx(0.4 / 0.6, abs=2e-3)
    assert stability(np.zeros((1, 4, 4), np.float32), low=0.4, high=0.6)[0] == 0.0


def test_suppression_is_greedy_suppression(rng):
    low = rng.uniform(0, 80, (60, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (60, 2))], axis=1)
    scores = rng.permutation(60) / 60.0
    kept = suppress(boxes, scores, max_iou=0.4)

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
        return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)

    expected: list[int] = []
    for i in np.argsort(-scores):
        if all(iou(boxes[i], boxes[j]) <= 0.4 for j in expected):
            expected.append(i)
    assert kept.tolist() == expected
    assert 1 < len(kept) < 60
    assert suppress(np.zeros((0, 4)), np.zeros(0), max_iou=0.5).tolist() == []


def test_grid_is_sams(segment_anything):
    from segment_anything.utils.amg import build_point_grid

    np.testing.assert_allclose(point_grid(7), build_point_grid(7))


def test_box_and_stability_are_sams(segment_anything, rng):
    from segment_anything.utils.amg import batched_mask_to_box, calculate_stability_score

    logits = torch.from_numpy(rng.normal(size=(5, 20, 30)) * 3 - 4).float()
    boxes = [support_box(alpha, 0.5) for alpha in logits.sigmoid().numpy()]
    theirs = batched_mask_to_box(logits > 0) + torch.tensor([0, 0, 1, 1])  # SAM's far edges are the last pixels
    assert [list(b) for b in boxes] == theirs.tolist()
    theirs = calculate_stability_score(logits, 0.0, 1.0)
    np.testing.assert_allclose(stability(logits.numpy(), low=-1.0, high=1.0), theirs, atol=1e-6)
    opacities = stability(logits.sigmoid().numpy(), low=0.5 - 0.2310586, high=0.5 + 0.2310586)
    np.testing.assert_allclose(opacities, theirs, atol=1e-3)


def test_boxes_of_small_maps_are_those_of_the_enlarged_maps(rng):
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(rng.normal(size=(40, 1, 4, 5))).float(), (24, 30), mode="bicubic"
    )
    smooth[0] -= 10  # nothing is above the level
    maps = smooth[:, 0].numpy() - 0.5
    enlarged = torch.nn.functional.interpolate(smooth, (480, 600), mode="bilinear", align_corners=False)
    large = enlarged[:, 0].numpy() - 0.5
    expected = [support_box(alpha, 0.0) for alpha in large]
    found = level_boxes(maps, 0.0)
    assert any(box is None for box in expected)
    for box, ours in zip(expected, found, strict=True):
        if box is None:
            assert np.isnan(ours).all()
        else:
            np.testing.assert_allclose(ours * [600, 480, 600, 480], box, atol=3)  # a cell has 20 px


@pytest.mark.parametrize("changes", [{"points_per_side": 0}, {"points_per_batch": 0}, {"stability_offset": 0.5}])
def test_senseless_settings_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        EverythingConfig(**changes)


def test_finds_what_sams_generator_finds(segment_anything, public_sam):
    """The same random SAM answers with the same masks, scores and, but for the enlargement, stabilities."""
    torch.manual_seed(1)
    encoder = ViTConfig(dim=32, depth=2, heads=2, global_blocks=(1,), frame_px=256)
    ours = Zim(replace(sam_config("vit_b"), encoder=encoder, frame_px=256, mlp_dim=64)).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for layer in (ours.mask_decoder.output_upscaling[0], ours.mask_decoder.output_upscaling[3]):
            layer.weight.copy_(layer.weight.mean((2, 3), keepdim=True))  # masks of cells, not of noise within them
    theirs = public_sam(encoder, mlp_dim=64)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ys, xs = np.mgrid[:192, :256] / 256
    image = (127 + 120 * np.sin(np.stack([9 * xs, 7 * ys, 5 * xs * ys], axis=-1))).astype(np.uint8)
    found = segment_anything.SamAutomaticMaskGenerator(
        theirs, points_per_side=4, pred_iou_thresh=-1e9, stability_score_thresh=-1.0, box_nms_thresh=1.0
    ).generate(image)
    found = [record for record in found if record["area"] > 0]
    config = EverythingConfig(
        points_per_side=4, min_score=-1e9, min_stability=0.0, stability_offset=0.2310586, max_box_iou=1.0
    )
    objects = matte_everything(ImagePredictor(ZimTorchBackend(ours, name="random")), image, config)
    assert len(objects) == len(found) > 40  # random masks have boxes alike: none is suppressed here
    for one, record in zip(objects, sorted(found, key=lambda r: -r["predicted_iou"]), strict=True):
        assert one.score == pytest.approx(record["predicted_iou"], abs=1e-4)
        assert (one.full() != record["segmentation"]).mean() < 1e-3
        assert np.allclose(one.point, record["point_coords"][0])
        assert one.stability == pytest.approx(record["stability_score"], abs=0.05)


def test_small_models_are_asked_for_less_by_default():
    """zim_tiny's scores stay below 0.88 even where its mattes are right."""
    image = read_image("sample:coins").rgb
    predictor = load_predictor("zim_tiny", device="cpu", zoom=False, refine="none")
    found = matte_everything(predictor, image, EverythingConfig(points_per_side=10))
    assert len(found) > 15
    assert all(SMALL_SCORE <= one.score < SCORE for one in found)
