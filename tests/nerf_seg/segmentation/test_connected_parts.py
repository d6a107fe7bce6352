"""Specks and large parts."""

import numpy as np

from nerf_seg.segmentation.connected_parts import without_specks


def test_specks_are_left_out_and_large_parts_stay() -> None:
    rng = np.random.default_rng(0)
    ball, other = rng.normal(0, 0.1, (500, 3)), rng.normal(0, 0.1, (200, 3)) + 3
    specks = np.array([[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
    kept = without_specks(np.concatenate([ball, other, specks]))
    assert not kept[-3:].any() and kept[:700].mean() > 0.98


def test_few_points_all_stay() -> None:
    assert without_specks(np.random.default_rng(0).normal(0, 1, (5, 3))).all()
    assert len(without_specks(np.zeros((0, 3)))) == 0
