"""Scores against SciPy's distances and OpenCV's erosion; resizing against Pillow."""

import numpy as np
import PIL.Image
import pytest
from scipy.spatial.distance import hamming, jaccard

from nerf_seg.nvos.metrics import score_views, upsampled


def blobs(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    small = rng.random((size[0] // 8, size[1] // 8)).astype(np.float32)
    soft = np.asarray(PIL.Image.fromarray(small).resize(size[::-1], PIL.Image.Resampling.BICUBIC))
    return soft > 0.5


def test_iou_and_accuracy_pool_all_views(rng):
    """SciPy's Jaccard and Hamming distances over the pixels of both views together."""
    sizes = [(64, 96), (48, 48)]
    answers, truths = [blobs(rng, s) for s in sizes], [blobs(rng, s) for s in sizes]
    answer, truth = (np.concatenate([m.ravel() for m in masks]) for masks in (answers, truths))
    scores = score_views(answers, truths)
    assert scores.iou == pytest.approx(1 - jaccard(answer, truth))
    assert scores.accuracy == pytest.approx(1 - hamming(answer, truth))
    each = [1 - jaccard(a.ravel(), t.ravel()) for a, t in zip(answers, truths, strict=True)]
    assert scores.iou != pytest.approx(np.mean(each))


def test_boundary_iou_as_the_field_computes_it(rng):
    """The usual recipe: pad, erode n times by 3x3, subtract; n is 0.02 of the diagonal; mean over views."""
    cv2 = pytest.importorskip("cv2")

    def band(mask: np.ndarray) -> np.ndarray:
        height, width = mask.shape
        steps = max(1, round(0.02 * np.hypot(height, width)))
        padded = np.pad(mask.astype(np.uint8), 1)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=steps, borderValue=0)
        return mask & (eroded[1:-1, 1:-1] == 0)

    sizes = [(120, 160), (200, 90)]
    answers, truths = [blobs(rng, s) for s in sizes], [blobs(rng, s) for s in sizes]
    expected = []
    for answer, truth in zip(answers, truths, strict=True):
        a, t = band(answer), band(truth)
        expected.append((a & t).sum() / (a | t).sum())
    assert score_views(answers, truths).boundary_iou == pytest.approx(np.mean(expected))


def test_perfect_empty_and_wrong(rng):
    truth = blobs(rng, (64, 64))
    assert score_views([truth], [truth]) == score_views([truth, truth], [truth, truth])
    assert score_views([truth], [truth]).iou == 1
    nothing = score_views([np.zeros_like(truth)], [truth])
    assert (nothing.iou, nothing.boundary_iou) == (0, 0)
    assert nothing.accuracy == pytest.approx(1 - truth.mean())
    with pytest.raises(ValueError, match="1 answers do not match 2"):
        score_views([truth], [truth, truth])


def test_enlarged_softly_then_thresholded():
    """An edge between pixel centres is found where the soft map crosses; nearest neighbours would find a staircase."""
    ramp = np.tile(np.linspace(-1, 1, 10, dtype=np.float32), (6, 1))
    large = upsampled(ramp, (24, 40))
    assert large.shape == (24, 40)
    assert (large > 0).mean() == pytest.approx(0.5)
    reference = np.asarray(PIL.Image.fromarray(ramp).resize((40, 24), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_allclose(large, reference, atol=1e-6)
