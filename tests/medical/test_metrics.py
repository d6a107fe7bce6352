"""Figures against goldens of real volumes, other libraries and the table of empty masks."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from medical.io.nifti import read_volume
from medical.metrics.overlap import overlap
from medical.metrics.statistics import clicks_needed, compare, p_text, rank_biserial, summarise
from medical.metrics.surface import surface_agreement
from tests.medical.conftest import blob
from zim_plugins.evaluation.statistics import MIN_P, holm


@pytest.mark.slow
def test_goldens_in_three_dimensions(medical_data: Path) -> None:
    for key, golden in json.loads((medical_data / "GOLDEN.json").read_text())["metrics"].items():
        prediction, reference = key.removesuffix(" [WRONG: spacing ignored]").split(" vs ")
        one, affine, _ = read_volume(medical_data / prediction)
        other, _, _ = read_volume(medical_data / reference)
        spacing = np.linalg.norm(affine[:3, :3], axis=0) if "WRONG" not in key else np.ones(3)
        counted = overlap(one > 0, other > 0)
        assert (counted.predicted, counted.reference) == (golden["n_pred"], golden["n_ref"])
        assert counted.dice == pytest.approx(golden["dice"], abs=1e-6)
        assert counted.iou == pytest.approx(golden["iou"], abs=1e-6)
        ours = surface_agreement(one > 0, other > 0, spacing=golden["spacing"], tolerance=1.0)
        assert ours.hd95 == pytest.approx(golden["hd95_max_of_directed"], abs=1e-6)
        assert ours.nsd == pytest.approx(golden["nsd_1.0_edgecount"], abs=1e-6)
        assert spacing == pytest.approx(golden["spacing"], abs=1e-3)


def plain_surface(one: np.ndarray, other: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> tuple:
    """By comparing every pair of edge pixels; an edge pixel has a neighbour (by side) outside."""
    from scipy.ndimage import binary_erosion

    edges = [np.argwhere(m & ~binary_erosion(m)) * np.array(spacing) for m in (one, other)]
    apart = np.linalg.norm(edges[0][:, None] - edges[1][None], axis=-1)
    there, back = apart.min(1), apart.min(0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return hd95, ((there <= tolerance).sum() + (back <= tolerance).sum()) / (len(there) + len(back))


@pytest.mark.slow
def test_surfaces_against_all_pairs_also_at_the_border(rng: np.random.Generator) -> None:
    for size, spacing in [((17, 23), (0.5, 2.0)), ((6, 9, 8), (3.0, 1.0, 0.7))] * 8:
        one, other = blob(size[-2:], rng), blob(size[-2:], rng)
        if len(size) == 3:
            one, other = (np.stack([np.roll(m, k, 0) for k in range(size[0])]) for m in (one, other))
        ours = surface_agreement(one, other, spacing=spacing, tolerance=1.5)
        assert (ours.hd95, ours.nsd) == pytest.approx(plain_surface(one, other, spacing, 1.5), abs=1e-5)
        turned = surface_agreement(one.T.copy(), other.T.copy(), spacing=spacing[::-1], tolerance=1.5)
        assert (turned.hd95, turned.nsd) == pytest.approx((ours.hd95, ours.nsd), abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_surfaces_are_monais(rng: np.random.Generator) -> None:
    metrics = pytest.importorskip("monai.metrics")
    import torch

    for size, spacing in [((20, 31), (0.5, 2.0)), ((7, 12, 9), (3.0, 1.0, 0.7))] * 6:
        one, other = (np.stack([blob(size[-2:], rng)] * size[0]) if len(size) == 3 else blob(size, rng) for _ in "ab")
        ours = surface_agreement(one, other, spacing=spacing, tolerance=1.5)
        pair = [torch.from_numpy(mask)[None, None] for mask in (one, other)]
        hd95 = metrics.compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
        nsd = metrics.compute_surface_dice(*pair, class_thresholds=[1.5], include_background=True, spacing=spacing)
        assert (ours.hd95, ours.nsd) == pytest.approx((float(hd95), float(nsd)), abs=1e-4)


def test_the_table_of_empty_masks() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    for prediction in (empty, full):
        counted = overlap(prediction, empty)
        agreed = surface_agreement(prediction, empty, spacing=(1, 1), tolerance=1)
        assert math.isnan(counted.dice) and math.isnan(counted.iou)
        assert math.isnan(agreed.hd95) and math.isnan(agreed.nsd)
    counted, agreed = overlap(empty, full), surface_agreement(empty, full, spacing=(1, 1), tolerance=1)
    assert counted.dice == counted.iou == agreed.nsd == 0 and math.isnan(agreed.hd95)
    assert overlap(full, full).dice == overlap(full, full).iou == 1


def test_overlap_by_hand_and_its_identity(rng: np.random.Generator) -> None:
    one = np.array([[1, 1, 0], [0, 1, 0]], bool)
    other = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert overlap(one, other).dice == pytest.approx(2 / 3) and overlap(one, other).iou == 0.5
    for _ in range(20):
        found = overlap(blob((9, 9), rng), blob((9, 9), rng))
        assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))


def test_small_and_broken_samples() -> None:
    assert math.isnan(summarise([0.5] * 5).interval[0]) and summarise([0.5] * 6).interval == (0.5, 0.5)
    one = summarise([0.5])
    assert one.n == 1 and one.mean == 0.5 and math.isnan(one.sd) and math.isnan(one.interval[0])
    assert summarise([0.5, float("nan"), 0.7]).n == 2
    assert summarise([]).n == 0 and math.isnan(summarise([float("nan")]).mean)


def test_no_claim_below_six_cases() -> None:
    five = compare([0.9] * 5, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert five.n == 5 and math.isnan(five.p) and math.isnan(five.interval[0]) and five.effect == 1.0
    six = compare([0.9] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert six.p == pytest.approx(2 / 2**6) and six.difference == pytest.approx(0.55)
    same = compare([0.5] * 8, [0.5] * 8)
    assert same.p == 1.0 and same.ties == 8 and same.effect == 0.0
    assert compare([0.5] * 7 + [float("nan")], [0.4] * 8).n == 7


def test_wilcoxon_is_scipys_and_the_effect_has_its_sign(rng: np.random.Generator) -> None:
    from scipy.stats import wilcoxon

    one, other = rng.random(30), rng.random(30) + 0.1
    ours = compare(one.tolist(), other.tolist())
    assert ours.p == pytest.approx(float(wilcoxon(one, other, method="exact").pvalue))
    assert ours.effect < 0 and ours.effect == pytest.approx(-compare(other.tolist(), one.tolist()).effect)
    assert rank_biserial(np.array([3.0, -1.0, -2.0])) == pytest.approx(0.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    corrected = holm([0.02, float("nan"), 0.01])
    assert corrected[0] == pytest.approx(0.02) and math.isnan(corrected[1]) and corrected[2] == pytest.approx(0.02)


def test_number_of_clicks() -> None:
    assert clicks_needed([0.5, 0.86, 0.7], 0.85) == 2 and clicks_needed([0.1] * 9, 0.85) == 9


def test_no_p_value_is_nothing() -> None:
    rng = np.random.default_rng(0)
    found = compare(rng.normal(0.5, 0.01, 40000).tolist(), [0.0] * 40000)
    assert found.p == MIN_P and p_text(found.p) == "< 1e-300" and p_text(2.5e-11) == "2.5e-11"
    assert holm([found.p, 0.5])[0] > 0
