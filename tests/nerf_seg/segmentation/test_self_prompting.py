import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter

from nerf_seg.segmentation.mask_grid import Rendering
from nerf_seg.segmentation.self_prompting import decayed_clicks, self_prompt
from tests.conftest import soft_disk


def rendering(alpha: np.ndarray, observed: np.ndarray | None = None) -> Rendering:
    return Rendering(alpha, alpha - 0.5, np.ones_like(alpha) if observed is None else observed)


def blobs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unbounded scores like SA3D's, and a depth."""
    score = gaussian_filter(rng.normal(size=(60, 80)), 6)
    depth = gaussian_filter(rng.normal(size=(60, 80)), 10)
    return (200 * (score - 0.3 * score.max())).astype(np.float32), depth.astype(np.float32)


def authors_clicks(score: np.ndarray, depth: np.ndarray, count: int) -> list[tuple[int, int]]:
    """`mask_to_prompt` as published, one decoding per click, with a 2D model whose answer is the score's mask."""
    height, width = score.shape
    ys, xs = np.mgrid[1 : height + 1, 1 : width + 1]
    spread = (depth - depth.min()) / (depth.max() - depth.min())
    index = np.stack([ys / height, xs / width, spread], axis=-1)
    half = max(int(np.sqrt(np.clip(score, 0, 1).sum() / np.pi)) // 2, 2)
    left, accumulated = score.astype(np.float64).copy(), None
    chosen = [np.unravel_index(score.argmax(), score.shape)]
    for _ in range(count - 1):
        answer = maximum_filter((score > 0).astype(np.uint8), size=25)
        scale = score[answer > 0].max()
        y, x = chosen[-1]
        left[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1] = -1e5
        distance = np.linalg.norm(index - index[y, x], axis=-1)
        distance = (distance - distance.min()) / (distance.max() - distance.min())
        current = left - distance * max(scale, 0)
        accumulated = current if accumulated is None else np.maximum(accumulated, current)
        accumulated[left == -1e5] = -1e5
        best = np.unravel_index(accumulated.argmax(), score.shape)
        if accumulated[best] <= 0:
            break
        chosen.append(best)
    return [(int(y), int(x)) for y, x in chosen]


@pytest.mark.parametrize("seed", range(6))
def test_clicks_are_sa3d_s_without_its_decodings(seed: int) -> None:
    score, depth = blobs(np.random.default_rng(seed))
    ours = decayed_clicks(score, depth, 10, float(np.clip(score, 0, 1).sum()))
    theirs = authors_clicks(score, depth, 10)
    assert len(theirs) > 2 and [tuple(p) for p in ours.tolist()] == theirs


def test_positive_clicks_fall_well_inside_and_negative_ones_just_outside() -> None:
    alpha = np.maximum(soft_disk((90, 120), (50, 45), 25, soft_px=8), soft_disk((90, 120), (85, 30), 6, soft_px=4))
    observed = np.ones_like(alpha)
    observed[:, :20] = 0
    prompt = self_prompt(rendering(alpha, observed), np.ones_like(alpha), num_prompts=12, num_negatives=4)
    assert prompt is not None and prompt.points is not None and prompt.labels is not None
    x, y = prompt.points.astype(int).T
    positive = prompt.labels == 1
    assert positive.sum() >= 5 and (~positive).sum() == 4
    assert (alpha[y, x][positive] >= 0.9).all() and (alpha[y, x][~positive] < 0.05).all()
    assert np.hypot(x[0] - 50, y[0] - 45) < 8, "the first click is in the middle, not at the saturated rim"
    assert (observed[y, x] == 1).all()
    assert (alpha[y, x][~positive] < 0.05).all() and (np.hypot(x - 50, y - 45)[~positive] < 60).all()


def test_a_thin_object_still_gets_a_click() -> None:
    alpha = np.zeros((40, 60), dtype=np.float32)
    alpha[20, 5:55] = 0.9
    prompt = self_prompt(rendering(alpha), np.ones_like(alpha), num_negatives=0)
    assert prompt is not None and prompt.points is not None
    assert (prompt.points[:, 1] == 20.5).all()


def test_the_box_is_tight_with_a_click_in_the_middle() -> None:
    alpha = np.zeros((50, 80), dtype=np.float32)
    alpha[10:30, 20:60] = 1
    alpha[5:45, 70:] = 0.4
    prompt = self_prompt(rendering(alpha), np.ones_like(alpha), prompting="box")
    assert prompt is not None and prompt.points is not None and prompt.box is not None
    assert prompt.box.tolist() == [20, 10, 60, 30]
    assert prompt.labels.tolist() == [1] and prompt.points[0, 1] in (19.5, 20.5) and 29 < prompt.points[0, 0] < 51
    alpha[:] = 1
    prompt = self_prompt(rendering(alpha), np.ones_like(alpha), prompting="box")
    assert prompt is not None and prompt.box is not None and prompt.box.tolist() == [0, 0, 80, 50]


@pytest.mark.parametrize("prompting", ["points", "box"])
def test_no_object_no_prompt(prompting: str) -> None:
    alpha = np.full((20, 20), 0.4, dtype=np.float32)
    assert self_prompt(rendering(alpha), np.ones_like(alpha), prompting=prompting) is None


def test_flat_depth_and_full_image() -> None:
    alpha = np.ones((20, 20), dtype=np.float32)
    prompt = self_prompt(rendering(alpha), np.ones_like(alpha))
    assert prompt is not None and prompt.labels is not None and prompt.labels.all()


def test_stray_pixels_stretch_no_box_and_a_cut_object_keeps_both_parts() -> None:
    alpha = np.zeros((60, 90), dtype=np.float32)
    alpha[20:40, 20:60] = 1
    alpha[2, 2] = alpha[55:58, 80:84] = 0.9  # specks
    prompt = self_prompt(rendering(alpha), np.ones_like(alpha), prompting="box")
    assert prompt is not None and prompt.box is not None and prompt.box.tolist() == [20, 20, 60, 40]
    alpha[:, 34:38] = 0  # a pole before it
    prompt = self_prompt(rendering(alpha), np.ones_like(alpha), prompting="box")
    assert prompt is not None and prompt.box is not None and prompt.box.tolist() == [20, 20, 60, 40]
    assert prompt.points is not None and prompt.points[0, 0] > 38  # in the larger part
