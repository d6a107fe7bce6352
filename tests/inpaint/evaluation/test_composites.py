"""Composites: the truth is exact, and the same sources give the same images."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.evaluation.composites import half_of, list_composites, make_composite, plan_composites
from zim_plugins.core import ImageError


def plan(sources: Path, **how):
    cutouts, photos = (sorted(map(str, (sources / name).iterdir())) for name in ("cutouts", "photos"))
    return plan_composites(cutouts, photos, **how)


def test_the_image_is_the_equation_and_outside_the_object_the_truth(sources: Path) -> None:
    case = make_composite(plan(sources)[0])
    assert case.clean is not None and case.foreground is not None
    alpha = case.alpha[..., None]
    expected = alpha * case.foreground * 255 + (1 - alpha) * case.clean
    assert np.abs(case.image - expected).max() <= 0.51
    outside = case.alpha == 0
    assert outside.any() and np.array_equal(case.image[outside], case.clean[outside])
    assert ((case.alpha > 0.05) & (case.alpha < 0.95)).any() and case.alpha.max() > 0.99


def test_the_same_sources_give_the_same_composites(sources: Path) -> None:
    first, second = (make_composite(plan(sources)[3]) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    keys = [recipe.key for recipe in plan(sources)]
    assert len(set(keys)) == len(keys) == 14


def test_halves_share_neither_cutouts_nor_backgrounds() -> None:
    names = [f"c{k}" for k in range(30)], [f"p{k}" for k in range(30)]
    for half in ("choose", "report"):
        recipes = plan_composites(*names, per_cutout=3, halves=(half,))
        assert {half_of(r.cutout) for r in recipes} == {half_of(r.background) for r in recipes} == {half}


def test_the_half_goes_by_the_name_alone() -> None:
    assert half_of("/a/b/cat.png") == half_of("elsewhere/cat.webp")


def test_large_backgrounds_are_reduced(sources: Path) -> None:
    case = make_composite(plan(sources)[0], max_side_px=60)
    assert max(case.image.shape) == 60


def test_a_cutout_that_is_cut_off_stands_at_the_edge(sources: Path) -> None:
    target = next((sources / "cutouts").iterdir())
    rgba = np.full((30, 30, 4), 255, np.uint8)
    rgba[:10, :, 3] = 0
    rgba[:, :5, 3] = rgba[:, -5:, 3] = 0
    PIL.Image.fromarray(rgba).save(target)
    recipe = next(r for r in plan(sources) if r.cutout == str(target))
    alpha = make_composite(recipe).alpha
    assert alpha[-1].max() > 0.5 and alpha[0].max() == 0
    assert alpha[:, 0].max() == 0 and alpha[:, -1].max() == 0


def test_what_cannot_work_is_refused(sources: Path) -> None:
    photo = str(next((sources / "photos").iterdir()))
    with pytest.raises(ValueError, match="at least one"):
        plan(sources, per_cutout=0)
    with pytest.raises(ValueError, match="no pair"):
        plan(sources, halves=("choose",))
    opaque = [r for r in plan_composites([photo], [photo])]
    with pytest.raises(ImageError, match="alpha channel"):
        list_composites(opaque)[0].read()
