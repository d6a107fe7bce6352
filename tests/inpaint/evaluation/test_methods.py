"""The ways of removal that are compared."""

import numpy as np
import pytest

from inpaint import remove
from inpaint.evaluation.methods import METHODS, dilated, run_methods
from inpaint.pixels.hole import EmptyMatte, matte_hole
from inpaint.tasks.removal import predicted_grow_px, repaint
from zim_plugins.core import Prompt


class Green:
    """A filler that paints green and counts how often it is asked."""

    name = "green"
    work_side_px = None

    def __init__(self) -> None:
        self.asked = 0

    def fill(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.where(hole[..., None], np.array([0, 255, 0], np.uint8), image)


def test_dilation_is_opencvs(rng: np.random.Generator) -> None:
    cv2 = pytest.importorskip("cv2")
    mask = rng.random((60, 80)) > 0.995
    expected = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15), np.uint8), iterations=1) > 0
    assert np.array_equal(dilated(mask), expected)


@pytest.mark.parametrize("fills", ["shared", "own"])
def test_every_method_repaints_its_own_hole_and_nothing_else(scene, fills: str) -> None:
    results = run_methods(scene.image, scene.alpha, list(METHODS), Green(), fills)
    expected = {
        "ours": matte_hole(scene.alpha),
        "grown": matte_hole(scene.alpha, grow_px=predicted_grow_px(scene.alpha)),
        "support": matte_hole(scene.alpha),
        "alpha": matte_hole(scene.alpha),
        "hard": scene.alpha > 0.5,
        "hard15": dilated(scene.alpha > 0.5),
        "ia": dilated(np.floor(scene.alpha * 255) > 0),
    }
    for name, (result, hole, _) in results.items():
        assert np.array_equal(hole, expected[name]), name
        assert np.array_equal(result[~hole], scene.image[~hole]), name
    for name in ("grown", "support", "hard", "hard15", "ia"):
        result, hole, _ = results[name]
        painted = (result[hole] != scene.image[hole]).any(axis=1)
        assert painted.mean() > 0.95, name  # the fill's colours are shifted until they meet the scene's at the rim


def test_alpha_compositing_is_lama_cleaners_formula(scene) -> None:
    result, hole, _ = run_methods(scene.image, scene.alpha, ["alpha"], Green(), "own")["alpha"]
    fill = np.asarray(repaint(scene.image, hole, Green().fill, work_side_px=Green.work_side_px, finish=True))
    mixed = scene.alpha[..., None] * fill + (1 - scene.alpha[..., None]) * scene.image
    assert np.abs(result[hole].astype(float) - mixed[hole]).max() <= 0.51


def test_on_a_hard_mask_inpaint_anything_is_the_dilated_mask(scene) -> None:
    hard = (scene.alpha > 0.5).astype(np.float32)
    results = run_methods(scene.image, hard, ["ia", "hard15"], Green(), "own")
    assert np.array_equal(results["ia"][1], results["hard15"][1])


def test_a_shared_fill_is_made_once_and_own_ones_once_a_hole(scene) -> None:
    green = Green()
    run_methods(scene.image, scene.alpha, list(METHODS), green, "shared")
    assert green.asked == 1
    run_methods(scene.image, scene.alpha, ["ours", "support", "alpha", "hard"], green, "own")
    assert green.asked == 3


def test_what_is_scored_is_what_ships(scene, fake_predictor) -> None:
    for name, target in (("ours", scene.alpha), ("grown", Prompt.from_point(80, 64))):
        shipped = remove(scene.image, target, predictor=fake_predictor, inpainter=Green())
        made = run_methods(scene.image, shipped.alpha, [name], Green(), "own")[name]
        assert np.array_equal(made.result, shipped.image) and np.array_equal(made.hole, shipped.hole)


def test_an_empty_matte_is_refused(scene) -> None:
    with pytest.raises(EmptyMatte):
        run_methods(scene.image, np.zeros_like(scene.alpha), ["ours"], Green(), "own")
